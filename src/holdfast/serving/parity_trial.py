"""A trial of parity itself: a scratch copy is falsified in the ways that matter, and each must be noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from holdfast.events.source import BATCH
from holdfast.features.view import FeaturePlan, View
from holdfast.kernel.errors import NotFoundError
from holdfast.serving.parity import ParityReport, Score, compare_records, requests_of

TRIED = 40
"""Events that are tried for each kind of falsification until one changes a value."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One falsification.

    Attributes
    ----------
    differing : values that parity then found to differ
    caught : whether that is what had to happen
    """

    what: str
    where: str
    differing: int
    caught: bool


class Scratch:
    """A copy of some tables in memory, read like the lake; changes to it touch nothing else."""

    def __init__(self, tables: Mapping[str, pl.DataFrame]) -> None:
        self.tables = dict(tables)

    def version(self, table: str) -> int | None:
        """Return 0 for a table there is."""
        return 0 if table in self.tables else None

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        version: int | None = None,
    ) -> pl.DataFrame:
        """Return rows."""
        if table not in self.tables:
            raise NotFoundError(f"the scratch copy has no table `{table}`.")
        frame = self.tables[table]
        frame = frame if where is None else frame.filter(where)
        return frame if columns is None else frame.select(columns)

    def append(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        app: str,
        batch: int,
        note: Mapping[str, str] | None = None,
    ) -> int:
        """Add rows."""
        self.tables[table] = pl.concat([self.tables[table], frame], how="diagonal")
        return 0

    def replaced(self, table: str, frame: pl.DataFrame) -> Scratch:
        """Return a copy in which one table is another."""
        return Scratch({**self.tables, table: frame})


def try_parity(
    records: pl.DataFrame, plan: FeaturePlan, score: Score, scratch: Scratch, *, settled: int
) -> list[Trial]:
    """Falsify a copy of records and events in three ways and return what parity said to each.

    Parameters
    ----------
    records : (n,) exact live records of one bundle; not empty
    scratch : at least the events that they can see
    """

    def compared(some: pl.DataFrame, lake: Scratch) -> ParityReport:
        return compare_records(some, plan, score, lake, settled=settled)

    clean = compared(records, scratch)
    trials = [Trial("nothing changed", "", clean.values_differing, clean.is_equal)]
    trials.append(_flipped(records, plan, compared, scratch))
    for what, change in (("an event dropped", _without), ("an event moved to a later batch", _later)):
        trials.append(_altered(what, change, records, plan, compared, scratch))
    return trials


Compared = Callable[[pl.DataFrame, Scratch], ParityReport]
Change = Callable[[pl.DataFrame, int, int], pl.DataFrame]


def _flipped(records: pl.DataFrame, plan: FeaturePlan, compared: Compared, scratch: Scratch) -> Trial:
    """Flip the lowest bit of the first value that is not missing."""
    what = "a stored value flipped by one bit"
    for row, content in enumerate(records["features"]):
        found = np.flatnonzero(~np.isnan(np.frombuffer(content, "<f8")))
        if not found.size:
            continue
        changed = bytearray(content)
        changed[8 * int(found[0])] ^= 1
        one = records[row : row + 1].with_columns(pl.Series("features", [bytes(changed)]))
        report = compared(one, scratch)
        where = f"{one['prediction_id'][0]}, {plan.names[int(found[0])]}"
        return Trial(what, where, report.values_differing, report.values_differing == 1)
    return Trial(what, "no record holds a value", 0, False)


def _altered(
    what: str, change: Change, records: pl.DataFrame, plan: FeaturePlan, compared: Compared, scratch: Scratch
) -> Trial:
    """Change one event that a record saw, trying a few until one had changed a value."""
    for tried, (source, event, record) in enumerate(_seen_events(records, plan, scratch), 1):
        one = records[record : record + 1]
        frame = scratch.tables[source]
        seen = int(one["known_batch"].list.first()[0])
        report = compared(one, scratch.replaced(source, change(frame, event, seen)))
        if report.values_differing or tried == TRIED:
            where = f"{one['prediction_id'][0]}, row {event} of {source}"
            return Trial(what, where, report.values_differing, report.values_differing > 0)
    return Trial(what, "no record saw an event", 0, False)


def _without(frame: pl.DataFrame, event: int, seen: int) -> pl.DataFrame:
    return frame.with_row_index("_row").filter(pl.col("_row") != event).drop("_row")


def _later(frame: pl.DataFrame, event: int, seen: int) -> pl.DataFrame:
    moved = pl.when(pl.int_range(pl.len()) == event).then(seen + 1).otherwise(pl.col(BATCH))
    return frame.with_columns(moved.cast(pl.Int64).alias(BATCH))


def _seen_events(
    records: pl.DataFrame, plan: FeaturePlan, scratch: Scratch
) -> Iterator[tuple[str, int, int]]:
    """Yield (source, row, record) of events that a view of a record's plan saw, the latest of each."""
    asked = requests_of(records, plan.schema)
    for record in range(records.height):
        t, seen = records["t_us"][record], records["known_batch"].list.first()[record]
        for view in plan.views:
            where = _in_view(view, plan, asked, record, t)
            if where is None or view.source not in scratch.tables:
                continue
            rows = scratch.tables[view.source].with_row_index("_row")
            found = rows.filter(where & (pl.col(BATCH) <= seen))
            if found.height:
                yield view.source, int(found["_row"][-1]), record


def _in_view(view: View, plan: FeaturePlan, asked: pl.DataFrame, record: int, t: int) -> pl.Expr | None:
    """Return the filter of events of a record's entity in the widest window of a view."""
    time = plan.sources[view.source].event_time
    assert time is not None
    bounds = [measure.window.bounds(t) for measure in view.measures]
    at = pl.col(time.name).to_physical()
    where = (at >= min(low for low, _ in bounds)) & (at < max(high for _, high in bounds))
    for key in view.entity.key:
        value = asked[key][record]
        if value is None:
            return None
        where &= pl.col(key) == value
    return where
