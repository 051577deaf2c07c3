"""Parity: recorded predictions recomputed from lake rows alone, as known by their batch numbers.

Skew is what this finds: a feature or a score that the online path answered and the offline kernels do not
give for the same rows. That an event had arrived and was not visible yet is another thing, and is reported
beside it as staleness.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.rule import empty_table
from holdfast.events.source import ARRIVED, BASIS, BATCH
from holdfast.features.expression import compile_plan
from holdfast.features.materialize import (
    KNOWN_AT,
    SEEN_FROM,
    T,
    columns_of,
    materialize,
    measures_as_known,
    within,
)
from holdfast.features.view import FeaturePlan
from holdfast.kernel.errors import NotFoundError
from holdfast.kernel.schema import Schema
from holdfast.serving.frames import BOUNDED_BY_BATCH
from holdfast.serving.ports import PredictionLake

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Score = Callable[[str, Floats], Floats]
"""Scores (n, k) features by the runtime of this name."""

SCORE = "score"
"""Name under which a differing score is reported."""
PLAN = "features"
"""Name under which a record is reported whose features cannot be its bundle's."""
LISTED = 1_000
"""Differing values that are listed one by one; all are counted."""
_SCORED_STEPS = ("champion", "previous")


@dataclass(frozen=True, slots=True)
class Difference:
    """One value of one record that its recomputation did not give."""

    prediction_id: str
    attempt: str
    model: str
    version: int
    known_batch: int
    value: str
    stored: float
    recomputed: float


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What a comparison found.

    Attributes
    ----------
    predictions : records compared
    values_compared, values_differing : their features and scores
    differences : the first of them, at most `LISTED`
    inexact_head : records that were answered from state known to be incomplete, and are not compared
    inexact_differing : those of them whose values differ
    pending : records that saw batches which the lake does not hold wholly yet
    without_state : records answered without the online state, so that there is nothing to compare
    staleness_us
        (n,) for each live record, how long the oldest event it did not see had been there; 0 where it saw all
    """

    predictions: int = 0
    values_compared: int = 0
    values_differing: int = 0
    differences: tuple[Difference, ...] = ()
    inexact_head: int = 0
    inexact_differing: int = 0
    pending: int = 0
    without_state: int = 0
    staleness_us: tuple[int, ...] = field(default=(), repr=False)

    @property
    def is_equal(self) -> bool:
        """Whether every value compared is the recorded one, bit for bit."""
        return self.values_differing == 0

    def staleness(self, share: float) -> float | None:
        """Return a quantile of staleness in seconds, or None where there is no live record."""
        if not self.staleness_us:
            return None
        return float(np.quantile(np.array(self.staleness_us), share, method="higher")) / 1e6

    def __add__(self, other: ParityReport) -> ParityReport:
        return ParityReport(
            self.predictions + other.predictions,
            self.values_compared + other.values_compared,
            self.values_differing + other.values_differing,
            (*self.differences, *other.differences)[:LISTED],
            self.inexact_head + other.inexact_head,
            self.inexact_differing + other.inexact_differing,
            self.pending + other.pending,
            self.without_state + other.without_state,
            (*self.staleness_us, *other.staleness_us),
        )


def compare_records(
    records: pl.DataFrame,
    plan: FeaturePlan,
    score: Score,
    lake: PredictionLake,
    *,
    settled: int,
) -> ParityReport:
    """Recompute the records of one bundle and compare every feature and score, bit for bit.

    Parameters
    ----------
    records : (n,) rows of the prediction table, all of the bundle whose features are `plan`
    settled : every batch up to this one is wholly in the lake

    Notes
    -----
    Live records see rows of their own batch and before, and there are about as many batches as records. So
    the batch number is handed to the window kernels as the instant from which on a row is seen, and the
    record's batch as the instant of knowledge: one pass answers all of them.
    Law: equal to `holdfast.features.oracle.features_of` with ``max_batch`` (tests/laws/test_parity.py).
    """
    batch = records["known_batch"].list.first()
    marked = pl.col("inexact").fill_null(False) if "inexact" in records.columns else pl.lit(False)
    frame = records.with_columns(batch.alias("_seen"), marked.alias("_inexact"))
    blind = frame["_seen"].is_null()
    late = (frame["_seen"] > settled).fill_null(False)
    report = ParityReport(pending=int(late.sum()), without_state=int(blind.sum()))
    frame = frame.filter(~(late | blind))
    width = 8 * len(plan.names)
    ours = (frame["plan"] == plan.fingerprint) & (frame["features"].bin.size() == width)
    for row in frame.filter(~ours).iter_rows(named=True):
        nothing = _difference(row, PLAN, math.nan, math.nan)
        report += ParityReport(1, len(plan.names), len(plan.names), (nothing,))
    frame = frame.filter(ours)
    live = frame["known_at_us"] == BOUNDED_BY_BATCH
    for part in (frame.filter(live), *frame.filter(~live).partition_by("_seen", maintain_order=True)):
        if part.height:
            x = _recomputed(plan, part, lake)
            report += _compared(part, plan.names, x, score)
    stale = staleness(frame.filter(live), plan, lake)
    return report + ParityReport(staleness_us=tuple(stale.tolist()))


def _recomputed(plan: FeaturePlan, records: pl.DataFrame, lake: PredictionLake) -> Floats:
    """Return the features of records that are all live, or all of one batch."""
    spine = requests_of(records, plan.schema).with_columns(records["t_us"].alias(T))
    if records["known_at_us"][0] != BOUNDED_BY_BATCH:
        spine = spine.with_columns(records["known_at_us"].alias(KNOWN_AT))
        return materialize(plan, spine, lake, max_batch=int(records["_seen"][0]))
    spine = spine.with_columns(records["_seen"].alias(KNOWN_AT))
    last = int(np.max(records["_seen"].to_numpy()))
    events = {
        name: found.with_columns(pl.col(BATCH).alias(SEEN_FROM))
        for name, found in visible_rows(plan, records["t_us"], lake, last)
    }
    measures = measures_as_known(plan.views, plan.sources, spine, events)
    return compile_plan(plan).evaluate(spine, measures)


def visible_rows(
    plan: FeaturePlan, times: pl.Series, lake: PredictionLake, last: int
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield, per source, what windows at these times can see, of batches up to `last`."""
    instants = times.to_numpy()
    first, until = int(instants.min()), int(instants.max())
    for source in dict.fromkeys(view.source for view in plan.views):
        schema, views = plan.sources[source], [view for view in plan.views if view.source == source]
        where = within(views, schema, first, until) & (pl.col(BATCH) <= last)
        try:
            yield source, lake.read(source, [*columns_of(views, schema), BATCH], where=where)
        except NotFoundError:
            continue  # a source without a table has no events


def requests_of(records: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return the rows that records answered, in the lake's types."""
    types = empty_table(schema).schema
    rows: list[dict[str, Any]] = [json.loads(text) for text in records["request"]]
    columns = {}
    for name in schema.names:
        values = [row.get(name) for row in rows]
        kind = types[name]
        columns[name] = (
            pl.Series(name, values, dtype=pl.Int64).cast(kind)
            if kind.is_temporal()
            else pl.Series(name, values, dtype=kind)
        )
    return pl.DataFrame(columns)


def _compared(records: pl.DataFrame, names: Sequence[str], x: Floats, score: Score) -> ParityReport:
    stored = np.frombuffer(b"".join(records["features"]), "<f8").reshape(records.height, len(names))
    differs = ~same_bits(stored, x)
    scores, wrong, scored = _scores(records, x, score)
    apart = records["_inexact"].to_numpy()
    any_wrong = differs.any(axis=1) | wrong
    counted = ~apart
    found: list[Difference] = []
    for at in np.flatnonzero(any_wrong & counted)[:LISTED]:
        row = records.row(int(at), named=True)
        found += [
            _difference(row, names[i], float(stored[at, i]), float(x[at, i]))
            for i in np.flatnonzero(differs[at]).tolist()
        ]
        if wrong[at]:
            found.append(_difference(row, SCORE, row["score"], float(scores[at])))
    return ParityReport(
        int(counted.sum()),
        int(counted.sum()) * len(names) + int((scored & counted).sum()),
        int(differs[counted].sum()) + int(wrong[counted].sum()),
        tuple(found[:LISTED]),
        int(apart.sum()),
        int((any_wrong & apart).sum()),
    )


def _scores(
    records: pl.DataFrame, x: Floats, score: Score
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the scores of the recomputed features, which differ, and which a model gave at all."""
    scores = np.full(records.height, np.nan)
    scored = records["step"].is_in(_SCORED_STEPS).to_numpy()
    for (runtime,), rows in (
        records.with_row_index("_at").filter(pl.Series(scored)).partition_by("runtime", as_dict=True).items()
    ):
        places = rows["_at"].to_numpy()
        scores[places] = score(str(runtime), np.ascontiguousarray(x[places]))
    return scores, scored & ~same_bits(records["score"].to_numpy(), scores), scored


def same_bits(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Return where two arrays hold the same doubles, bit for bit; every missing is one."""
    left, right = (np.ascontiguousarray(each, np.float64) for each in (a, b))
    both: NDArray[np.bool_] = np.isnan(left) & np.isnan(right)
    same: NDArray[np.bool_] = both | (left.view(np.int64) == right.view(np.int64))
    return same


def _difference(row: Mapping[str, Any], value: str, stored: float, again: float) -> Difference:
    return Difference(
        row["prediction_id"],
        row["attempt"],
        row["model"],
        row["version"],
        row["_seen"],
        value,
        stored,
        again,
    )


def staleness(records: pl.DataFrame, plan: FeaturePlan, lake: PredictionLake) -> Ints:
    """Return, for each live record, how long the oldest event it did not see had been there, microseconds.

    Parameters
    ----------
    records : (n,) with ``_seen``, the last batch that each could see
    """
    asked = records["answered_us"].to_numpy()
    oldest = np.full(records.height, BOUNDED_BY_BATCH, np.int64)
    if not records.height:
        return np.zeros(0, np.int64)
    seen = records["_seen"].to_numpy()
    for source in dict.fromkeys(view.source for view in plan.views):
        where = (pl.col(BATCH) > int(seen.min())) & (pl.col(BASIS) == "measured")
        where &= pl.col(ARRIVED) <= int(asked.max())
        try:
            later = lake.read(source, [ARRIVED, BATCH], where=where).sort(BATCH)
        except NotFoundError:
            continue
        if not later.height:
            continue
        first = np.minimum.accumulate(later[ARRIVED].to_numpy()[::-1])[::-1]
        at = np.searchsorted(later[BATCH].to_numpy(), seen, side="right")
        unseen = at < later.height
        oldest[unseen] = np.minimum(oldest[unseen], first[at[unseen]])
    waited: Ints = np.maximum(asked - np.minimum(oldest, asked), 0)
    return waited
