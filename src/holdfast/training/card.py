"""Model cards: what a person should know before relying on a model, written from the record alone.

The sections follow Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.datasets.label import Label
from holdfast.datasets.snapshot import Snapshot
from holdfast.kernel.expr import to_text
from holdfast.kernel.time import format_duration, format_instant
from holdfast.training.gate import GateResult
from holdfast.training.metric import Interval, get_metric
from holdfast.training.model import Model
from holdfast.training.policy import Bands
from holdfast.training.run import Run

TOP = 10
"""Features named by their importance."""


def write_card(run: Run, model: Model, snapshot: Snapshot, policy: Bands | None) -> str:
    """Return the card of a run as Markdown; equal arguments give equal text."""
    sections = (
        ("Intended use", _use(run, model, policy)),
        ("Data", _data(run, snapshot)),
        ("Results", _results(run)),
        ("Features", _features(run, snapshot)),
        *((("Leakage", _leakage(run)),) if run.alone else ()),
        ("Limits", _limits(run, model, snapshot)),
        ("Origin", _origin(run)),
    )
    lines = [f"# Model card: {run.model}"]
    for title, body in sections:
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def _use(run: Run, model: Model, policy: Bands | None) -> Iterator[str]:
    answer = (
        "the probability that the label is 1" if run.task == "binary" else "the expected value of the label"
    )
    yield f"A score for each row of `{model.features}`: {answer}."
    yield f"The label: {describe_label(model.label)}."
    if model.forecast is not None:
        steps = model.forecast.horizons
        yield (
            f"A row is an origin and one of {len(steps)} horizons, {steps[0]} to {steps[-1]} steps of the "
            "spine; its label is that of the step it is about, its features are what was known at the origin."
        )
    if policy is not None:
        yield ""
        yield from _table(
            ("recommendation", "lowest score"), [(name, f"{floor:g}") for name, floor in policy.bands]
        )
    if model.cost is not None:
        missed = f"`{model.cost.missed}`" if isinstance(model.cost.missed, str) else f"{model.cost.missed:g}"
        yield ""
        yield f"Declared costs: a false alarm {model.cost.false_alarm:g}, a missed positive {missed}."


def describe_label(label: Label) -> str:
    """Return the definition of a label in words."""
    if label.window is not None:
        text = f"{label.window.describe()} of `{label.source}`, after the row"
    else:
        value = "1" if label.value is None else to_text(label.value)
        text = f"{value} where `{label.source}` has an event of the same `{label.key}`"
        text += "" if label.absent is None else f", {label.absent:g} where it has none"
    text += f", as known {format_duration(label.horizon)} after the row"
    return text + ("" if label.censored_by is None else f"; rows answered `{label.censored_by}` are left out")


def _data(run: Run, snapshot: Snapshot) -> Iterator[str]:
    recipe = snapshot.recipe
    edges, rows = recipe.boundaries, run.rows
    yield (
        f"Dataset `{snapshot.id}`, as known at {format_instant(recipe.as_of)}, "
        f"from {', '.join(f'{table}@{version}' for table, version in sorted(recipe.tables.items()))}."
    )
    yield ""
    yield from _table(
        ("part", "from", "to", "rows"),
        [
            ("train", format_instant(edges.start), format_instant(edges.train_end), f"{rows['train']:,}"),
            (
                "validation",
                format_instant(edges.train_end),
                format_instant(edges.validation_end),
                f"{rows['validation']:,}",
            ),
            ("test", format_instant(edges.test_start), format_instant(edges.end), f"{rows['test']:,}"),
        ],
    )
    fates = {name: count for name, count in sorted(recipe.counts.items()) if name not in (*rows, "gap")}
    if fates:
        yield ""
        yield f"Rows by fate: {', '.join(f'{name} {count:,}' for name, count in fates.items())}."
    if snapshot.profile.label_mean is not None:
        yield ""
        yield f"Mean label of the training part: {snapshot.profile.label_mean:.4g}."


def _results(run: Run) -> Iterator[str]:
    columns = ["metric", "candidate", "95 % interval", "baseline"]
    if run.champion is not None:
        columns.append(run.champion_name or "champion")
    rows = []
    for name, found in run.metrics.items():
        row = [name, _number(found.value), _bounds(found), _number(run.baseline.get(name))]
        rows.append(row + ([] if run.champion is None else [_number(run.champion.get(name))]))
    yield from _table(columns, rows)
    yield ""
    yield from (f"- `{name}`: {get_metric(name).doc}." for name in run.metrics)
    if run.by_horizon:
        yield ""
        yield from _table(
            ("horizon", "rows", "wape", "baseline", "rmsse", "baseline"),
            [
                (
                    at.horizon,
                    f"{at.rows:,}",
                    *(
                        _number(part.get(name))
                        for name in ("wape", "rmsse")
                        for part in (at.metrics, at.baseline)
                    ),
                )
                for at in run.by_horizon
            ],
        )
    if run.gates:
        yield ""
        yield from _table(
            ("gate", "outcome", "found", "limit"),
            [
                (result.gate.describe(), _outcome(result), _number(result.found), _number(result.limit))
                for result in run.gates
            ],
        )
    if run.reliability:
        yield ""
        yield from _table(
            ("scores from", "to", "rows", "mean score", "mean label"),
            [
                (
                    f"{bin.low:.4g}",
                    f"{bin.high:.4g}",
                    f"{bin.weight:,.6g}",
                    f"{bin.score:.4g}",
                    f"{bin.share:.4g}",
                )
                for bin in run.reliability
            ],
        )


def _features(run: Run, snapshot: Snapshot) -> Iterator[str]:
    plan = snapshot.recipe.plan
    rows = [
        (f"`{feature.name}`", feature.kind, f"`{to_text(feature.expr)}`")
        for feature in plan.features.features
    ]
    yield from _table(("feature", "kind", "definition"), rows)
    for view in plan.views:
        yield ""
        yield f"View `{view.version}`, per {view.entity.name}:"
        yield ""
        yield from (f"- `{measure.name}`: {measure.describe()}" for measure in view.measures)
    top = sorted(run.importance.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    if top:
        yield ""
        yield f"Greatest gain: {', '.join(f'`{name}` {gain:.4g}' for name, gain in top)}."


def _leakage(run: Run) -> Iterator[str]:
    strongest = sorted(run.alone.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    yield f"AUC of single features on the training part: {', '.join(f'`{n}` {v:.3f}' for n, v in strongest)}."
    yield ""
    if not run.suspicions:
        yield "No single feature stands out. A feature corrected afterwards need not stand out."
    for found in run.suspicions:
        vouched = f" Vetted: {found.vetted}" if found.vetted else " Nobody vouches for it."
        yield f"- `{found.feature}`: {found.evidence}.{vouched}".replace("?.", "?")


def _limits(run: Run, model: Model, snapshot: Snapshot) -> Iterator[str]:
    if snapshot.recipe.forecast is None:
        yield "- Intervals resample rows; dependence between rows of one day or entity is not part of them."
    else:
        yield "- Intervals resample series; what happens to all series on one day is not part of them."
    for source, by_basis in sorted(snapshot.recipe.arrival_basis.items()):
        if by_basis.get("assumed"):
            share = by_basis["assumed"] / max(1, sum(by_basis.values()))
            yield f"- Arrival times of `{source}` are assumed for {share:.0%} of its rows, not observed."
    if model.label.censored_by is not None:
        yield f"- Outcomes of rows answered `{model.label.censored_by}` are not observed."
    undefined = [name for name, found in run.metrics.items() if found.value is None]
    if undefined:
        yield f"- Not defined on this test part: {', '.join(undefined)}."


def _origin(run: Run) -> Iterator[str]:
    yield f"- run `{run.id}` by {run.author}, {format_instant(run.started_us)}, seed {run.seed}"
    params = ", ".join(f"{name}={value!r}" for name, value in sorted(run.params.items()))
    yield f"- parameters: {params or 'none'}"
    yield f"- project `{run.project}`, code `{run.code}`"
    yield f"- environment `{run.environment}`: {', '.join(f'{k} {v}' for k, v in sorted(run.facts.items()))}"


def _outcome(result: GateResult) -> str:
    return f"{result.outcome}: {result.reason}" if result.reason else result.outcome


def describe_gates(results: Sequence[GateResult]) -> str:
    """Return how many gates had which outcome, ``5 passed, 1 not applicable``."""
    outcomes = [result.outcome for result in results]
    counted = [(outcomes.count(name), name) for name in ("passed", "failed", "not applicable")]
    return ", ".join(f"{count} {name}" for count, name in counted if count) or "no gates"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    for row in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _bounds(found: Interval) -> str:
    return "-" if found.low is None or found.high is None else f"{found.low:.4g} to {found.high:.4g}"
