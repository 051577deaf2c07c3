"""Rendering of the live half's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.cli.render import count, metric, number, second, table
from holdfast.kernel.time import format_duration

if TYPE_CHECKING:
    from holdfast.app.materialize import Materialized
    from holdfast.monitoring.drift import DriftReport
    from holdfast.serving.parity import ParityReport
    from holdfast.serving.parity_trial import Trial

_SHOWN_DIFFERENCES = 20
_SHOWN_COLUMNS = 15


def parity(found: ParityReport) -> str:
    """Return the verdict in one line, then what differs."""
    p99, p50 = found.staleness(0.99), found.staleness(0.50)
    stale = "" if p99 is None or p50 is None else f"   staleness p50 {_seconds(p50)}, p99 {_seconds(p99)}"
    verdict = f"{found.values_differing:,} differ"
    lines = [
        f"{count(found.predictions, 'prediction')}, {count(found.values_compared, 'value')}: {verdict}"
        f"{stale}   inexact_head {found.inexact_head:,}"
    ]
    if found.inexact_head:
        lines.append(f"  of the inexact ones {found.inexact_differing:,} differ; they are not compared above")
    if found.pending:
        lines.append(f"  {count(found.pending, 'record')} saw batches that are not wholly in the lake yet")
    if found.without_state:
        lines.append(
            f"  {count(found.without_state, 'record')} answered without features of the online state"
        )
    rows = [
        (f"  {d.prediction_id}", f"{d.model}@{d.version}", d.value, repr(d.stored), repr(d.recomputed))
        for d in found.differences[:_SHOWN_DIFFERENCES]
    ]
    if rows:
        lines.append(
            table(rows, head=("  prediction", "version", "value", "stored", "recomputed"), right=(3, 4))
        )
    rest = found.values_differing - len(rows)
    if rest > 0:
        lines.append(f"  ... and {rest:,} more (--json lists {len(found.differences):,})")
    return "\n".join(lines)


def parity_data(found: ParityReport) -> dict[str, Any]:
    """Return the report for programs, staleness as quantiles."""
    from holdfast.cli.render import to_json

    data: dict[str, Any] = to_json(found)
    del data["staleness_us"]
    return {**data, "staleness_p50_s": found.staleness(0.50), "staleness_p99_s": found.staleness(0.99)}


def trials(found: Sequence[Trial]) -> str:
    """Return what was falsified and whether it was noticed."""
    rows = [("ok" if t.caught else "MISSED", t.what, f"{t.differing:,} differ", t.where) for t in found]
    return table(rows, right=(2,))


def drift(found: DriftReport) -> str:
    """Return marked features with their evidence, then the largest others."""
    marked = found.marked
    head = (
        f"{found.model}@{found.version}  {second(found.since)} to {second(found.until)}: "
        f"{count(found.rows, 'answer')}, {len(marked)} of {len(found.columns)} columns differ from training"
    )
    shown = found.columns[: max(_SHOWN_COLUMNS, len(marked))]
    rows = [
        (
            "*" if c.is_marked else "",
            c.name,
            f"{c.missing_then:.1%}",
            f"{c.missing_now:.1%}",
            "n/a" if c.psi is None else metric(c.psi),
            "-" if c.mean_then is None else number(c.mean_then),
            "-" if c.mean_now is None else number(c.mean_now),
            f"{c.rows:,}",
            c.why,
        )
        for c in shown
    ]
    names = ("", "feature", "missing then", "now", "PSI", "mean then", "now", "n", "evidence")
    lines = [head, table(rows, head=names, right=(2, 3, 4, 5, 6, 7))]
    if len(shown) < len(found.columns):
        lines.append(f"... and {len(found.columns) - len(shown)} more (--json shows all)")
    return "\n".join(lines)


def materialized(found: Materialized) -> str:
    """Return what was built."""
    state, _, number = found.generation.partition("/")
    return (
        f"online state {state}, generation {number}, as of batch {found.batch:,}: "
        f"{count(found.rows, 'event')} folded, {count(found.entities, 'blob')}, "
        f"in {found.seconds:.1f} s{' by the worker' if found.by_worker else ''}"
    )


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 60 else format_duration(int(value) * 1_000_000)
