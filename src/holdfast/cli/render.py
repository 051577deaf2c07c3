"""Rendering: results of the workspace as tables for people, and as JSON for programs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from holdfast.kernel.errors import DefinitionError, HoldfastError, Problem
from holdfast.kernel.ids import short
from holdfast.kernel.time import MINUTE, format_duration, format_instant

if TYPE_CHECKING:
    from holdfast.app.outcomes import History, ListedVersion, Trained
    from holdfast.app.workspace import Workspace
    from holdfast.events.report import IngestReport
    from holdfast.monitoring.performance import Performance
    from holdfast.project.plan import Action, Change, Plan
    from holdfast.registry.register import Outcome
    from holdfast.serving.predict import PredictReport
    from holdfast.training.forecast import AtHorizon
    from holdfast.training.leakage import Suspicion
    from holdfast.training.metric import Interval

_SHOWN_HORIZONS = (1, 2, 3, 7, 14, 21, 28)


def to_json(value: Any) -> Any:
    """Return a result as JSON values; derived properties that matter are included, NaN is null."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
        for name in ("adds_up", "is_empty", "is_equal", "passed", "name"):
            if isinstance(getattr(type(value), name, None), property):
                found[name] = to_json(getattr(value, name))
        return found
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)


def error_json(error: HoldfastError) -> dict[str, Any]:
    """Return an error as the JSON object a program reads in place of the result."""
    found = {f.name: to_json(getattr(error.problem, f.name)) for f in fields(error.problem)}
    if isinstance(error, DefinitionError):
        found["problems"] = to_json(error.problems)
    return {"error": found}


def table(
    rows: Iterable[Sequence[str]], *, head: Sequence[str] = (), right: Sequence[int] = (), indent: str = ""
) -> str:
    """Return rows as aligned columns; `right` lists the columns aligned to the right."""
    whole = [list(row) for row in ((head, *rows) if head else rows)]
    if not whole:
        return ""
    widths = [max(len(row[i]) for row in whole if i < len(row)) for i in range(max(map(len, whole)))]
    lines = []
    for row in whole:
        cells = (c.rjust(widths[i]) if i in right else c.ljust(widths[i]) for i, c in enumerate(row))
        lines.append(f"{indent}{'  '.join(cells)}".rstrip())
    return "\n".join(lines)


def count(n: int, noun: str) -> str:
    """Return ``1 source`` or ``2 sources``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def number(value: float | None) -> str:
    """Return a number with the digits a person reads."""
    if value is None or math.isnan(value):
        return "missing"
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"


def metric(value: float | None) -> str:
    """Return a metric, with three decimals and no leading zero."""
    if value is None or math.isnan(value):
        return "n/a"
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def interval(value: Interval | None) -> str:
    """Return a metric with its 95 % interval."""
    if value is None or value.value is None:
        return "n/a"
    if value.low is None or value.high is None:
        return metric(value.value)
    return f"{metric(value.value)} [{metric(value.low)}, {metric(value.high)}]"


def short_code(code: str) -> str:
    """Return the fingerprint of the source with every hash in it shortened: ``git:1a2b3c4d+5e6f7a8b``."""
    return re.sub(r"[0-9a-f]{16,}", lambda found: short(found[0], 8), code)


def day(us: int) -> str:
    """Return the day of an instant, UTC."""
    return format_instant(us)[:10]


def second(us: int) -> str:
    """Return an instant to the second."""
    return f"{format_instant(us)[:19]}Z"


# --- definition ---------------------------------------------------------------------------------------


_PARTS = ("sources", "tables", "views", "grids", "feature_sets", "models", "releases")


def problems(found: Sequence[Problem], workspace: Workspace) -> str:
    """Return all problems and a verdict."""
    errors, warnings = _by_severity(found)
    parts = [p.render() for p in errors] + [f"warning: {p.render()}" for p in warnings]
    if errors:
        parts.append(f"{count(len(errors), 'error')}, {count(len(warnings), 'warning')}")
    else:
        p = workspace.project
        sizes = (
            count(len(p.sources), "source"),
            count(len(p.views), "view"),
            count(len(p.feature_sets), "feature set"),
            count(len(p.models), "model"),
            f"fingerprint {short(p.fingerprint)}",
            count(len(warnings), "warning"),
        )
        parts.append(f"{p.name} is valid: {', '.join(sizes)}")
    return "\n\n".join(parts)


def problems_data(found: Sequence[Problem], workspace: Workspace) -> dict[str, Any]:
    """Return all problems and the verdict for programs; what is valid also says what it holds, by name."""
    errors, warnings = _by_severity(found)
    project = None if errors else workspace.project
    return {
        "is_valid": not errors,
        "project": project and project.name,
        "fingerprint": project and project.fingerprint,
        "holds": project and {part: list(getattr(project, part)) for part in _PARTS},
        "errors": len(errors),
        "warnings": len(warnings),
        "problems": to_json(found),
    }


def _by_severity(found: Sequence[Problem]) -> tuple[list[Problem], list[Problem]]:
    errors = [p for p in found if p.severity == "error"]
    return errors, [p for p in found if p.severity == "warning"]


_MARK = {"add": "+", "change": "~", "remove": "-"}


def _changes(changes: Sequence[Change]) -> str:
    rows = []
    for change in changes:
        first, *rest = change.notes or ("",)
        rows.append((f"  {_MARK[change.action]} {change.kind}", change.name, first))
        rows += [("", "", note) for note in rest]
    return table(rows)


def plan(found: Plan) -> str:
    """Return the plan as one line per node."""
    text = _plan(found, ("to add", "to change", "to remove"), "")
    for name in found.refused:
        text += f"\n`holdfast apply` will refuse this: source `{name}` holds rows that do not fit  [HF404]"
    return _warned(text, found)


def applied(found: Plan) -> str:
    """Return what was applied."""
    return _warned(
        _plan(found, ("added", "changed", "removed"), f", recorded as {short(found.after)}"), found
    )


def _warned(text: str, found: Plan) -> str:
    return "\n\n".join([text, *(f"warning: {problem.render()}" for problem in found.warnings)])


def _plan(found: Plan, words: tuple[str, str, str], rest: str) -> str:
    if found.is_empty:
        return f"{found.project}: nothing to do"
    actions: tuple[Action, ...] = ("add", "change", "remove")
    counts = ", ".join(f"{found.count(a)} {word}" for a, word in zip(actions, words, strict=True))
    return f"{found.project}: {counts}{rest}\n{_changes(found.changes)}"


# --- events -------------------------------------------------------------------------------------------


def ingest(found: IngestReport) -> str:
    """Return the accounting of rows."""
    lines = list(found.lines())
    lines.append(f"arrival {found.basis}" + ("; nothing was stored (dry run)" if found.dry_run else ""))
    if not found.adds_up:
        lines.append("rows do NOT add up")
    return "\n".join(lines)


def quarantine(found: Sequence[dict[str, Any]]) -> str:
    """Return quarantined rows with reason and origin."""
    if not found:
        return "quarantine is empty"
    return "\n".join(
        f"{row['source']}  {row['origin']}  {row['reason']}  [{row['code']}]\n    {row['raw']}"
        for row in found
    )


# --- training and registry ----------------------------------------------------------------------------


def trained(found: Trained) -> str:
    """Return the metrics table, the gates and what comes next."""
    run, dataset = found.run, found.dataset
    parts = ", ".join(f"{name} {n:,}" for name, n in run.rows.items())
    declared = (name for name in ("earlier", "untested") if dataset[name])
    left_out = ", ".join(f"{name} {dataset[name]:,}" for name in ("immature", "gap", "censored", *declared))
    lines = [
        f"dataset {short(run.dataset, 10)}  {dataset['rows']:,} rows x {len(run.importance) or '?'}, "
        f"known as of {format_instant(dataset['as_of'])}",
        f"        {parts}; left out: {left_out}",
        "",
    ]
    champion = run.champion or {}
    body = [
        (
            name.replace("_", " "),
            metric(run.baseline.get(name)),
            interval(value),
            metric(champion.get(name)) if champion else "-",
        )
        for name, value in run.metrics.items()
    ]
    head = ("", "baseline", "candidate [95 %]", run.champion_name or "champion")
    lines += [table(body, head=head, right=(1,)), ""]
    lines += _horizons(run.by_horizon)
    for result in run.gates:
        shown = f"found {metric(result.found)}" if result.found is not None else "no value"
        outcome = "FAILED" if result.outcome == "failed" else result.outcome
        why = f": {result.reason}" if result.reason else ""
        lines.append(f"gate    {result.gate.describe()}: {outcome} ({shown}){why}")
    lines += _suspicions(run.suspicions)
    seconds = run.duration_us / 1e6
    lines.append(
        f"run     {short(run.id, 10)}, seed {run.seed}, {seconds:.1f} s, code {short_code(run.code)}"
    )
    lines.append(found.message)
    if found.version is not None:
        model, n = found.version.model, found.version.number
        if found.approvers:
            command = f'holdfast approve {model} {n} --by {found.approvers[0]} --reason "..."'
            who = " or ".join(found.approvers)
            lines.append(f"{found.version.name} waits for approval by {who}: {command}")
        else:
            lines.append(f"next: holdfast deploy {model} {n}")
    return "\n".join(lines)


def _horizons(found: Sequence[AtHorizon]) -> list[str]:
    """Return the relative errors at some horizons, beside the baseline's."""
    if not found:
        return []
    shown = [at for at in found if at.horizon in _SHOWN_HORIZONS or at is found[-1]]
    names = ("wape", "rmsse")
    rows = [
        (str(at.horizon), *(metric(part.get(name)) for name in names for part in (at.baseline, at.metrics)))
        for at in shown
    ]
    head = ("by horizon", *(word for name in names for word in ("baseline", name)))
    return [table(rows, head=head, right=range(1, 5)), ""]


def _suspicions(found: Sequence[Suspicion]) -> list[str]:
    """Return the features that look as if they knew the outcome, with the evidence."""
    lines = [
        f"leak?   {each.feature}: {each.evidence}" + (f" (vetted: {each.vetted})" if each.vetted else "")
        for each in found
    ]
    if any(not each.vetted for each in found):
        lines.append(
            "        if it is known only afterwards, leave it out and mark its column "
            "hf.field(known_later=True);"
        )
        lines.append("        if it is right all the same, say vetted={...} with the model")
    return lines


def models(found: Sequence[ListedVersion]) -> str:
    """Return all versions, one line each."""
    if not found:
        return "no version is registered; holdfast train MODEL makes one"
    rows = []
    for item in found:
        v = item.version
        first = next(iter(item.metrics), "")
        name = next((name for name in ("average_precision", "wape") if name in item.metrics), first)
        rows.append(
            (
                v.name,
                ", ".join(item.aliases) or "-",
                v.state,
                short(v.dataset, 10),
                v.author,
                "; ".join(item.approvals) or "-",
                f"{name.replace('_', ' ')} {metric(item.metrics[name])}" if name else "-",
                second(v.created_us),
                short(v.bundle, 10),
            )
        )
    head = (
        "version",
        "alias",
        "state",
        "dataset",
        "author",
        "approved by",
        "metric",
        "registered",
        "bundle",
    )
    return table(rows, head=head)


def history(found: History) -> str:
    """Return the last entries and the verdict on the chain."""
    rows = [
        (
            str(e.sequence),
            second(e.at_us),
            e.actor,
            e.action,
            e.subject if len(e.subject) < 24 else short(e.subject, 10),
            e.reason,
        )
        for e in found.entries
    ]
    text = table(rows, head=("", "when", "who", "what", "subject", "reason"), right=(0,))
    verdict = "chain verified" if found.broken is None else found.broken.render()
    total = f"{found.total} entr{'y' if found.total == 1 else 'ies'}, {verdict}"
    if len(found.entries) < found.total:
        total = f"the last {len(found.entries)} of {total}; --limit {found.total} shows all"
    set_back = [str(e.sequence) for before, e in pairwise(found.entries) if e.at_us < before.at_us - MINUTE]
    if set_back:
        total += (
            f"\nthe project's clock was set back before entry {', '.join(set_back)}; entries are in order"
        )
    return f"{text if rows else 'nothing has happened yet'}\n{total}"


def outcome(found: Outcome) -> str:
    """Return the one sentence of a change."""
    return found.message


# --- inference ----------------------------------------------------------------------------------------


def predicted(found: PredictReport) -> str:
    """Return what a batch job did, and where to look next."""
    now = f"{found.predicted:,} predicted"
    if found.dry_run:
        now = f"{found.rows - found.repeated:,} would be predicted (dry run)"
    counts = f"{found.rows:,} rows, {now}, {found.repeated:,} answered before"
    lines = [f"{found.model}@{found.version}: {counts}"]
    if found.span is not None:
        first, last = map(day, found.span)
        lines.append(f"  the interval holds none of the rows, which are of {first} to {last}")
    if found.decisions:
        lines.append("  " + ", ".join(f"{name} {n:,}" for name, n in found.decisions.items()))
    if found.highest_id is not None:
        lines.append(f"  highest score {number(found.highest_score)}: holdfast why {found.highest_id}")
    return "\n".join(lines)


def score_line(answer: dict[str, Any], name: str = "risk_score") -> str:
    """Return ``risk_score 0.92 -> block``."""
    decision = f" -> {answer['decision']}" if answer["decision"] else ""
    return f"{name} {answer['score']:.2f}{decision}"


def _unmeasured(found: Performance) -> list[str]:
    """Return what is left out of the measured values, and why."""
    after = format_duration(found.horizon)
    lines = []
    if found.waiting:
        since = "its row" if found.task == "binary" else "what its row is about"
        lines.append(
            f"  {count(found.waiting, 'row')} wait: a label is fixed {after} after {since}, "
            f"and known is what arrived up to {second(found.as_of)}"
        )
    if found.censored:
        lines.append(f"  {count(found.censored, 'row')} not counted: the decision prevented the outcome")
    if found.late:
        lines.append(
            f"  {count(found.late, 'outcome')} arrived more than {after} later and changed no label; "
            "the rows are counted with the label they had"
        )
    return lines


def _measured_horizons(found: Performance) -> str:
    """Return the relative errors at every horizon, beside the baseline's and what was expected."""
    names = ("wape", "rmsse")
    head = ("horizon", "mature", *(word for name in names for word in ("baseline", name, "expected")))
    rows = []
    for at in found.horizons:
        values = (part.get(name) for name in names for part in (at.baseline, at.metrics, at.expected))
        rows.append((str(at.horizon), f"{at.mature:,}", *map(metric, values)))
    return table(rows, head=head, right=range(1, len(head)))


def performance(found: Performance, by: str | None = None) -> str:
    """Return measured beside expected metrics, and the same by ``day`` or ``horizon`` if asked."""
    is_binary = found.task == "binary"
    lines = [
        f"{found.model}@{found.version}  {day(found.since)} to {day(found.until)}: "
        f"{count(found.predictions, 'prediction')}, {found.mature:,} with mature labels"
        + (f", {found.positives / found.mature:.2%} positive" if is_binary and found.mature else ""),
    ]
    lines += _unmeasured(found)
    if not found.mature:
        if found.waiting:
            lines.append("no label has matured yet; if nothing more came until a later time, --as-of says so")
        else:
            lines.append("no row has a label")
        return "\n".join(lines)
    naive = found.baseline
    rows = [
        (
            name.replace("_", " "),
            *([metric(naive.get(name))] if naive else []),
            interval(value),
            interval(found.expected.get(name)),
        )
        for name, value in found.metrics.items()
    ]
    if found.learnt_from:
        lines.append(
            f"{found.learnt_from:,} of these rows are older than the end of what it learnt from, so the "
            "measured values flatter it; leave them out with --since"
        )
    head = ("", *(["baseline"] if naive else []), "measured [95 %]", "expected [95 %]")
    lines.append(table(rows, head=head, right=(1,) if naive else ()))
    for name, (n, positive) in found.by_decision.items():
        if is_binary:
            lines.append(f"  {name}: {count(n, 'row')}, {positive:,} positive ({positive / n:.1%})")
        elif name != "none":
            lines.append(f"  {name}: {count(n, 'row')}")
    if by == "horizon":
        lines += ["", _measured_horizons(found)]
    if by == "day":
        head = (
            "day",
            "mature",
            *(["positive"] if is_binary else []),
            *(name.replace("_", " ") for name in found.metrics),
        )
        shown = []
        for each in found.days:
            values = (metric(each.metrics.get(name)) for name in found.metrics)
            counts = (each.mature, each.positives) if is_binary else (each.mature,)
            shown.append((day(each.start), *(f"{n:,}" for n in counts), *values))
        lines += ["", table(shown, head=head, right=range(1, len(head)))]
    return "\n".join(lines)
