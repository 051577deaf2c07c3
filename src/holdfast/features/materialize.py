"""Materialize: compute measures and features for the rows of a spine, as known at each of them.

The verb of the stage and the only module that reads its port. Offline truth for training, backfills and
parity; the kernels that do the work serve online as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.source import ARRIVED, BATCH
from holdfast.features import aggregate, kernels
from holdfast.features.aggregate import AGGREGATES
from holdfast.features.corrections import columns_of_corrections, seen_until
from holdfast.features.expression import compile_plan
from holdfast.features.grouping import grouped, int64_of, key_codes
from holdfast.features.lane import (
    LaneKey,
    check_measure,
    is_plain_float,
    lane_mask,
    lane_of,
    reads_values,
    row_values,
    stored_values,
    ties_of,
)
from holdfast.features.lowering_kernels import KINDS, MAX_EVENTS
from holdfast.features.ports import EventReader
from holdfast.features.view import FeaturePlan, Measure, View, is_text
from holdfast.kernel.errors import ContractError, NotFoundError
from holdfast.kernel.ids import text_code
from holdfast.kernel.schema import FIXED_POINT_LIMIT, Schema

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

T = "_t"
"""Spine column: instant of the prediction, int64 microseconds UTC; bounds event time."""
KNOWN_AT = "_known_at"
"""Spine column: what had arrived by this instant is seen, int64 microseconds UTC."""

SEEN_FROM = "_seen_from"
"""Event column, where it is there: from when on an event is seen, instead of its arrival."""

_YEAR_1 = -62_135_596_800_000_000  # no event time lies before it, and no date can
_ROW = {name: row for row, name in enumerate(AGGREGATES)}


def materialize(
    plan: FeaturePlan,
    spine: pl.DataFrame,
    lake: EventReader,
    *,
    versions: Mapping[str, int] | None = None,
    max_batch: int | None = None,
) -> Floats:
    """Compute the features of a plan for each row of a spine, from the lake.

    Parameters
    ----------
    spine
        (n,) rows in any order: the columns the plan reads, `_t` and `_known_at` in microseconds. What is
        known ahead is read at the instant a row is about, where its schema has one, as known at `_known_at`.
    versions
        Version of a source's table to read; the latest where none is named.
    max_batch
        See only rows that batches up to this one stored.

    Returns
    -------
    (n, k) features in the plan's order; missing is NaN.

    Raises
    ------
    ContractError
        If a window holds 2^31 events or more, or a summed value is beyond the fixed-point limit (HF213).
    NotFoundError
        If a version is named that the lake does not have. A source without a table has no events.

    Notes
    -----
    Reads, per source, only the columns and the span of event time that the spine's windows touch.
    Law: equal to `holdfast.features.oracle.features_of`, bit for bit (tests/laws/test_windows.py).
    """
    measures: dict[str, Floats] = {}
    for views, rows in _by_time(plan, plan.views, spine):
        events = _read_all(views, plan.sources, rows, lake, versions, max_batch)
        measures |= measures_as_known(views, plan.sources, rows, events)
    return compile_plan(plan).evaluate(spine, measures)


def _by_time(
    plan: FeaturePlan, views: Sequence[View], spine: pl.DataFrame
) -> Iterator[tuple[list[View], pl.DataFrame]]:
    """Yield views with the rows at whose `_t` they are read: the row's own time, or what it is about."""
    for time in dict.fromkeys(plan.time_of(view) for view in views):
        rows = spine if time is None else spine.with_columns(pl.col(time).to_physical().alias(T))
        yield [view for view in views if plan.time_of(view) == time], rows


def texts_as_known(
    plan: FeaturePlan,
    names: Collection[str],
    spine: pl.DataFrame,
    lake: EventReader,
    *,
    versions: Mapping[str, int] | None = None,
) -> pl.DataFrame:
    """Return the texts of measures that are texts, for each row of a spine.

    Parameters
    ----------
    names : of the measures; those that are numbers, and other names, are left out
    spine, versions : as for `materialize`

    Returns
    -------
    (n,) texts by measure name; missing is null.
    """
    wanted = {
        measure.name: measure.column
        for view in plan.views
        for measure in view.measures
        if measure.name in names and is_text(measure, plan.sources[view.source])
    }
    views = [
        replace(view, measures=kept)
        for view in plan.views
        if (kept := tuple(measure for measure in view.measures if measure.name in wanted))
    ]
    columns: dict[str, pl.Series] = {}
    for together, rows in _by_time(plan, views, spine):
        events = _read_all(together, plan.sources, rows, lake, versions, None)
        columns |= _texts(together, measures_as_known(together, plan.sources, rows, events), events)
    return pl.DataFrame(columns)


def _texts(
    views: Sequence[View], found: Mapping[str, Floats], events: Mapping[str, pl.DataFrame]
) -> dict[str, pl.Series]:
    """Return the texts whose codes were found."""
    columns = {}
    for view in views:
        frame = events.get(view.source)
        for measure in view.measures:
            assert measure.column is not None
            seen = frame is not None and measure.column in frame.columns
            texts = frame[measure.column].cast(pl.String).unique().drop_nulls().to_list() if seen else []  # type: ignore[index]
            table = {float(text_code(text)): text for text in texts}
            values = [table.get(number) for number in found[measure.name].tolist()]
            columns[measure.name] = pl.Series(measure.name, values, dtype=pl.String)
    return columns


def _read_all(
    views: Sequence[View],
    sources: Mapping[str, Schema],
    spine: pl.DataFrame,
    lake: EventReader,
    versions: Mapping[str, int] | None,
    max_batch: int | None,
) -> dict[str, pl.DataFrame]:
    """Read what the views can see, by source."""
    return {
        source: _read(
            [view for view in views if view.source == source],
            sources[source],
            spine,
            lake,
            version=(versions or {}).get(source),
            max_batch=max_batch,
        )
        for source in dict.fromkeys(view.source for view in views)
        if spine.height
    }


def measures_as_known(
    views: Sequence[View],
    sources: Mapping[str, Schema],
    spine: pl.DataFrame,
    events: Mapping[str, pl.DataFrame],
) -> dict[str, Floats]:
    """Compute the measures of views for each row of a spine, as known at it.

    Parameters
    ----------
    sources : schema of each view's source
    spine : (n,) rows in any order: the key columns, `_t` and `_known_at`
    events
        Rows of each source in any order, as the lake stores them, `_arrived` among them; a source that is
        absent has no events.

    Returns
    -------
    By measure name, (n,) values in the order of the spine; missing is NaN, a text is its `text_code`.

    Raises
    ------
    ContractError
        If a window holds 2^31 events or more, or a summed value is beyond the fixed-point limit (HF213);
        if a time is missing (HF201) or the key types of spine and events differ (HF202).
    DefinitionError
        If a column cannot be aggregated so, see `holdfast.features.lane.check_measure`.

    Notes
    -----
    One pass over shared bounds for all views of a source and entity key. About 30 bytes per event and 8 more
    per aggregated column, beside the frames.
    Laws: equal to `holdfast.features.oracle.measures_of`, bit for bit; an event at or after t, or that
    arrived after `_known_at`, changes nothing; nor does the order of rows (tests/laws/test_windows.py).
    """
    out: dict[str, Floats] = {}
    together: dict[tuple[str, tuple[str, ...]], list[Measure]] = {}
    for view in views:
        together.setdefault((view.source, view.entity.key), []).extend(view.measures)
    for (source, keys), measures in together.items():
        frame = events.get(source)
        if frame is None or not frame.height or not spine.height:
            out |= {measure.name: _empty(measure, spine.height) for measure in measures}
        else:
            out |= _grouped_measures(source, measures, sources[source], keys, spine, frame)
    return out


def _empty(measure: Measure, n: int) -> Floats:
    empty = AGGREGATES[measure.aggregate].empty
    return np.full(n, np.nan if empty is None else empty)


def _grouped_measures(
    source: str,
    measures: Sequence[Measure],
    schema: Schema,
    keys: Sequence[str],
    spine: pl.DataFrame,
    frame: pl.DataFrame,
) -> dict[str, Floats]:
    """Compute all measures of one source and entity key in one pass."""
    asked, found, groups = key_codes(keys, spine, frame)
    t, known_at = int64_of(spine[T]), int64_of(spine[KNOWN_AT])
    time, arrived = int64_of(frame[_event_time(schema)]), int64_of(frame[ARRIVED])
    seen = int64_of(frame[SEEN_FROM]) if SEEN_FROM in frame.columns else arrived
    until = seen_until(schema, frame, seen)
    order = [time, arrived]
    if any(AGGREGATES[measure.aggregate].order_sensitive for measure in measures):
        order.append(_ties(schema, frame, found, time, arrived))
    rows = grouped(asked, groups, t)
    here = grouped(found, groups, *order)

    windows = list(dict.fromkeys(measure.window for measure in measures))
    lanes = list(dict.fromkeys(lane_of(measure) for measure in measures))
    table, values, masks = _lanes(lanes, measures, schema, frame, here.order)
    slots = np.full((len(lanes), len(windows), KINDS), -1, np.int64)
    place: dict[str, int] = {}
    results = np.empty((len(measures), spine.height))
    for measure in measures:
        at = (
            lanes.index(lane_of(measure)),
            windows.index(measure.window),
            _ROW[measure.aggregate],
        )
        if slots[at] < 0:
            slots[at] = row = len(set(place.values()))
            results[row] = _empty(measure, spine.height)
        place[measure.name] = int(slots[at])

    verdict, culprit = kernels.window_values(
        time[here.order], seen[here.order], until[here.order] if until.size else until, here.start,
        t[rows.order], known_at[rows.order], rows.order, rows.start,
        np.array([(w.over, w.offset, w.hop) for w in windows], np.int64),
        values, masks, table, slots, results, results.view(np.int64),
        MAX_EVENTS, kernels.PATIENCE, aggregate.EXACT_DISTINCT,
    )  # fmt: skip
    if verdict == kernels.TOO_MANY:
        raise ContractError(
            f"a window of an entity holds fewer than {MAX_EVENTS:,} events; found more.",
            code="HF213",
            at=next(measure.name for measure in measures if measure.window == windows[culprit]),
            hint=f"give `{', '.join(keys)}` of source `{source}` a finer entity or a shorter window",
        )
    if verdict == kernels.TOO_LARGE:
        column = lanes[culprit].column
        raise ContractError(
            f"summed values stay within |value| x 10^scale <= {FIXED_POINT_LIMIT:,}; `{column}` exceeds it.",
            code="HF213",
            at=f"{source}.{column}",
            hint=f"declare bounds of `{column}`, or a smaller scale",
        )
    return {name: results[row] for name, row in place.items()}


def _ties(schema: Schema, frame: pl.DataFrame, codes: Ints, time: Ints, arrived: Ints) -> Ints:
    """Return what orders events of one entity that agree in both times; 0 for all others."""
    ties = np.zeros(frame.height, np.int64)
    same = pl.DataFrame({"code": codes, "time": time, "arrived": arrived}).is_duplicated()
    tied = np.flatnonzero(same.to_numpy() & (codes >= 0))
    if tied.size:
        ties[tied] = ties_of(schema, frame[tied])
    return ties


def _lanes(
    lanes: Sequence[LaneKey], measures: Sequence[Measure], schema: Schema, frame: pl.DataFrame, order: Ints
) -> tuple[Ints, Ints, Bools]:
    """Return the kernel's table of lanes (L, 4), the values (C, m) and the masks (M, m) it refers to."""
    for measure in measures:
        check_measure(measure, schema)
    read = {lane_of(measure) for measure in measures if reads_values(measure)}
    needed: dict[tuple[str, bool], int] = {}
    for lane in lanes:
        if (wanted := _values_of(lane, read, schema)) is not None:
            needed.setdefault(wanted, len(needed))
    values = np.empty((len(needed), order.size), np.int64)
    for (name, whole), place in needed.items():
        made = row_values if whole else stored_values
        values[place] = made(frame[name], schema.get(name))[order]
    masks: list[Bools] = []
    table = np.zeros((len(lanes), 4), np.int64)
    for row, lane in enumerate(lanes):
        column = schema.get(lane.column) if lane.column is not None else None
        mask = lane_mask(lane, schema, frame)
        full = mask is None or bool(mask.all())
        wanted = _values_of(lane, read, schema)
        table[row] = (
            -1 if wanted is None else needed[wanted],
            -1 if full else len(masks),
            column.scale or 0 if column is not None and column.is_fixed_point else 0,
            column is not None and is_plain_float(column),
        )
        if mask is not None and not full:
            masks.append(mask[order])
    return table, values, np.array(masks, np.bool_).reshape(len(masks), order.size)


def _values_of(lane: LaneKey, read: set[LaneKey], schema: Schema) -> tuple[str, bool] | None:
    """Return the column whose values a lane reads, and whether missing ones count; None if it only counts."""
    if lane.kind == "times":
        return _event_time(schema), False
    return (lane.column, lane.kind == "rows") if lane.column is not None and lane in read else None


def _read(
    views: Sequence[View],
    schema: Schema,
    spine: pl.DataFrame,
    lake: EventReader,
    *,
    version: int | None,
    max_batch: int | None,
) -> pl.DataFrame:
    """Read what the views can see of their source from the spine's rows; nothing if there is no table."""
    t = int64_of(spine[T])
    where = within(views, schema, int(t.min()), int(t.max()))
    where &= pl.col(ARRIVED) <= int(int64_of(spine[KNOWN_AT]).max())
    columns = columns_of(views, schema)
    if max_batch is not None:
        columns.append(BATCH)
        where &= pl.col(BATCH) <= max_batch
    try:
        return lake.read(views[0].source, columns, where=where, version=version)
    except NotFoundError:
        if version is not None:
            raise
        return pl.DataFrame()


def columns_of(views: Sequence[View], schema: Schema) -> list[str]:
    """Return the columns of a source's rows that views of it need, `_arrived` among them."""
    columns = {_event_time(schema): None, ARRIVED: None, **dict.fromkeys(columns_of_corrections(schema))}
    measures = [measure for view in views for measure in view.measures]
    for view in views:
        columns |= dict.fromkeys(view.entity.key)
    for measure in measures:
        columns |= dict.fromkeys(() if measure.column is None else (measure.column,))
        columns |= dict.fromkeys(() if measure.where is None else measure.where.columns())
    if any(AGGREGATES[measure.aggregate].order_sensitive for measure in measures):
        columns |= dict.fromkeys(schema.names if schema.event_id is None else (schema.event_id.name,))
    return list(columns)


def within(views: Sequence[View], schema: Schema, first: int, last: int) -> pl.Expr:
    """Return what a row fulfils that some window of the views may hold, at t from `first` to `last`."""
    measures = [measure for view in views for measure in view.measures]
    low = min((measure.window.bounds(first)[0] for measure in measures), default=last)
    high = max((measure.window.bounds(last)[1] for measure in measures), default=last)
    event_time = pl.col(_event_time(schema))
    where = event_time < _instant(high)
    if low >= _YEAR_1:
        where &= event_time >= _instant(low)
    # a correction counts by its arrival, whenever what it says happened
    corrections = columns_of_corrections(schema)
    return where | pl.col(corrections[1]).is_not_null() if corrections else where


def _instant(us: int) -> pl.Expr:
    return pl.lit(us, pl.Int64).cast(pl.Datetime("us", "UTC"))


def _event_time(schema: Schema) -> str:
    assert schema.event_time is not None, f"schema `{schema.name}` has no event time"
    return schema.event_time.name
