"""Rendering: results of the workspace as tables for people, and as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from holdfast.kernel.errors import Problem
from holdfast.kernel.ids import short
from holdfast.kernel.time import format_instant

if TYPE_CHECKING:
    from holdfast.app.outcomes import Explanation, History, ListedVersion, Trained
    from holdfast.app.workspace import Workspace
    from holdfast.events.ingest import IngestReport
    from holdfast.monitoring.performance import Performance
    from holdfast.project.plan import Change, Plan
    from holdfast.registry.register import Outcome
    from holdfast.serving.predict import PredictReport
    from holdfast.training.metric import Interval

_SHOWN_FEATURES = 12


def to_json(value: Any) -> Any:
    """Return a result as JSON values; derived properties that matter are included, NaN is null."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
        for name in ("adds_up", "is_empty", "is_equal", "passed", "name"):
            if isinstance(getattr(type(value), name, None), property):
                found[name] = to_json(getattr(value, name))
        return found
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if hasattr(value, "items"):
        return to_json(dict(value))
    return str(value)


def table(rows: Iterable[Sequence[str]], *, head: Sequence[str] = (), right: Sequence[int] = (), indent: str = "") -> str:
    """Return rows as aligned columns; `right` lists the columns aligned to the right."""
    lines = [list(row) for row in rows]
    whole = [list(head), *lines] if head else lines
    if not whole:
        return ""
    widths = [max(len(row[i]) for row in whole if i < len(row)) for i in range(max(map(len, whole)))]
    return "\n".join(
        (indent + "  ".join(c.rjust(widths[i]) if i in right else c.ljust(widths[i]) for i, c in enumerate(row))).rstrip()
        for row in whole
    )


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


# --- definition ---------------------------------------------------------------------------------------


def problems(found: Sequence[Problem], workspace: Workspace) -> str:
    """Return all problems and a verdict."""
    errors = [p for p in found if p.severity == "error"]
    warnings = [p for p in found if p.severity == "warning"]
    parts = [p.render() for p in errors] + [f"warning: {p.render()}" for p in warnings]
    if errors:
        parts.append(f"{len(errors)} error{'s' * (len(errors) != 1)}, {len(warnings)} warning{'s' * (len(warnings) != 1)}")
    else:
        p = workspace.project
        parts.append(
            f"{p.name} is valid: {len(p.sources)} sources, {len(p.views)} views, {len(p.feature_sets)} feature sets, "
            f"{len(p.models)} models, fingerprint {short(p.fingerprint)}, {len(warnings)} warnings"
        )
    return "\n\n".join(parts)


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
    if found.is_empty:
        return f"{found.project}: nothing to do"
    counts = f"{found.count('add')} to add, {found.count('change')} to change, {found.count('remove')} to remove"
    return f"{found.project}: {counts}\n{_changes(found.changes)}"


def applied(found: Plan) -> str:
    """Return what was applied."""
    if found.is_empty:
        return f"{found.project}: nothing to do"
    counts = f"{found.count('add')} added, {found.count('change')} changed, {found.count('remove')} removed"
    return f"{found.project}: {counts}, recorded as {short(found.after)}\n{_changes(found.changes)}"


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
    return "\n".join(f"{row['source']}  {row['origin']}  {row['reason']}  [{row['code']}]\n    {row['raw']}" for row in found)


# --- training and registry ----------------------------------------------------------------------------


def trained(found: Trained) -> str:
    """Return the metrics table, the gates and what comes next."""
    run, dataset = found.run, found.dataset
    rows = dataset["rows"]
    lines = [
        f"dataset {short(run.dataset, 10)}  {rows:,} rows x {len(run.importance) or '?'}, known as of {format_instant(dataset['as_of'])}",
        "        " + ", ".join(f"{name} {run.rows[name]:,}" for name in run.rows)
        + f"; left out: immature {dataset['immature']:,}, gap {dataset['gap']:,}, censored {dataset['censored']:,}",
        "",
    ]
    body = [
        (name.replace("_", " "), metric(run.baseline.get(name)), interval(value),
         "-" if run.champion is None else metric(run.champion.get(name)))
        for name, value in run.metrics.items()
    ]  # fmt: skip
    lines.append(table(body, head=("", "baseline", "candidate [95 %]", run.champion_name or "champion"), right=(1,)))
    lines.append("")
    marks = {"passed": "passed", "failed": "FAILED", "not applicable": "not applicable"}
    for result in run.gates:
        shown = f"found {metric(result.found)}" if result.found is not None else "no value"
        lines.append(f"gate    {result.gate.describe()}: {marks[result.outcome]} ({shown})")
    lines.append(f"run     {short(run.id, 10)}, seed {run.seed}, {run.duration_us / 1e6:.1f} s, code {run.code}")
    lines.append(found.message)
    if found.version is not None:
        who = " or ".join(found.approvers)
        name, model, n = found.version.name, found.version.model, found.version.number
        if who:
            lines.append(f"{name} waits for approval by {who}: holdfast approve {model} {n} --by {found.approvers[0]} --reason \"...\"")
        else:
            lines.append(f"next: holdfast deploy {model} {n}")
    return "\n".join(lines)


def models(found: Sequence[ListedVersion]) -> str:
    """Return all versions, one line each."""
    if not found:
        return "no version is registered; holdfast train MODEL makes one"
    rows = []
    for item in found:
        v = item.version
        name = "average_precision" if "average_precision" in item.metrics else next(iter(item.metrics), "")
        rows.append((
            v.name, ", ".join(item.aliases) or "-", v.state, short(v.dataset, 10), v.author,
            "; ".join(item.approvals) or "-", f"{name.replace('_', ' ')} {metric(item.metrics.get(name))}" if name else "-",
            format_instant(v.created_us)[:19] + "Z", short(v.bundle, 10),
        ))  # fmt: skip
    return table(rows, head=("version", "alias", "state", "dataset", "author", "approved by", "metric", "registered", "bundle"))


def history(found: History, limit: int) -> str:
    """Return the last entries and the verdict on the chain."""
    rows = [
        (str(e.sequence), format_instant(e.at_us)[:19] + "Z", e.actor, e.action, e.subject if len(e.subject) < 24 else short(e.subject, 10), e.reason)
        for e in found.entries[-limit:]
    ]
    text = table(rows, head=("", "when", "who", "what", "subject", "reason"), right=(0,)) if rows else "nothing has happened yet"
    verdict = "chain verified" if found.broken is None else found.broken.render()
    return f"{text}\n{len(found.entries)} entries, {verdict}"


def outcome(found: Outcome) -> str:
    """Return the one sentence of a change."""
    return found.message


# --- inference ----------------------------------------------------------------------------------------


def predicted(found: PredictReport) -> str:
    """Return what a batch job did, and where to look next."""
    lines = [f"{found.model}@{found.version}: {found.rows:,} rows, {found.predicted:,} predicted, {found.repeated:,} answered before"]
    if found.decisions:
        lines.append("  " + ", ".join(f"{name} {count:,}" for name, count in found.decisions.items()))
    if found.highest_id is not None:
        lines.append(f"  highest score {number(found.highest_score)}: holdfast why {found.highest_id}")
    return "\n".join(lines)


def score_line(answer: dict[str, Any]) -> str:
    """Return ``risk_score 0.92 -> block``."""
    decision = f" -> {answer['decision']}" if answer["decision"] else ""
    return f"risk_score {answer['score']:.2f}{decision}"


def why(found: Explanation) -> str:
    """Return the walk from the answer back to the events."""
    a, v = found.answer, found.version
    lines = [
        f"{v['name']} answered {score_line(a)} for {a['prediction_id']}",
        f"  row time    {format_instant(a['t_us'])}, known at {format_instant(a['known_at_us'])}, batches up to {a['known_batch'][0] if a['known_batch'] else '-'}",
        f"  request     {', '.join(f'{k} {_value(k, x)}' for k, x in found.request.items())}",
        f"  answered    {format_instant(a['answered_us'])}, step {a['step']}, {a['exposure']}, runtime {a['runtime']}",
        "",
    ]  # fmt: skip
    ranked = sorted(found.features, key=lambda f: -abs(f.contribution or 0.0))
    rows = []
    for f in ranked[:_SHOWN_FEATURES]:
        stored = f.text if f.text is not None else number(f.stored)
        again = number(f.recomputed) if f.text is None else ("same code" if f.is_equal else f"code {f.recomputed:g}")
        rows.append((f"  {f.name}", stored, again, "equal" if f.is_equal else "DIFFERS", f"{f.contribution or 0:+.2f}", f.definition))
    lines.append(table(rows, head=("  feature", "stored", "oracle", "", "pushed", "definition"), right=(1, 2, 4)))
    equal = sum(f.is_equal for f in found.features)
    rest = len(found.features) - len(ranked[:_SHOWN_FEATURES])
    lines.append(f"  ... and {rest} more (--json shows all); {equal} of {len(found.features)} equal the oracle's, bit for bit")
    lines.append("")
    approvals = [f"approved {format_instant(p['at_us'])[:10]} by {p['by']}: \"{p['reason']}\"" for p in v["approvals"]]
    b = found.dataset["boundaries"]
    facts = found.run.get("facts") or {}
    lines += [
        f"  version     {v['name']} ({v['state']}), by {v['author']}, {'; '.join(approvals) or 'no approval on record'}",
        f"  bundle      {short(v['bundle'], 12)}, every file verified",
        f"  run         {short(found.run['id'], 10)}, seed {found.run['seed']}, lightgbm {facts.get('lightgbm', '?')}, python {facts.get('python', '?')}, code {found.run['code']}",
        f"  dataset     {short(found.dataset['id'], 10)} = {' + '.join(f'{n}@{x}' for n, x in found.tables.items())}, "
        f"as of {format_instant(found.dataset['as_of'])[:10]}, test from {format_instant(b['test_start'])[:10]}",
        f"  views       {', '.join(found.views.values())}",
        "  events      " + ("; ".join(f"{n}: {e['rows']:,} rows, batches {e['first_batch']}-{e['last_batch']}" for n, e in found.events.items()) or "none in any window"),
    ]  # fmt: skip
    return "\n".join(lines)


def _value(name: str, value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, int) and abs(value) > 10**14:
        return format_instant(value)
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def performance(found: Performance) -> str:
    """Return measured beside expected metrics."""
    share = found.positives / found.mature if found.mature else 0.0
    lines = [
        f"{found.model}@{found.version}  {format_instant(found.since)[:10]} to {format_instant(found.until)[:10]}: "
        f"{found.predictions:,} predictions, {found.mature:,} with mature labels, {share:.2%} positive",
    ]
    if not found.mature:
        return lines[0] + "\nno label has matured yet"
    lines.append(table(
        [(name.replace("_", " "), interval(value), interval(found.expected.get(name))) for name, value in found.metrics.items()],
        head=("", "measured [95 %]", "expected [95 %]"),
    ))  # fmt: skip
    for name, (rows, positive) in found.by_decision.items():
        lines.append(f"  {name}: {rows:,} rows, {positive:,} positive ({positive / rows:.1%})")
    return "\n".join(lines)


