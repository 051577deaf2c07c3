"""Materialize: compute measures and features for the rows of a spine, as known at each of them.

The verb of the stage and the only module that reads its port. Offline truth for training, backfills and
parity; the kernels that do the work serve online as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.source import ARRIVED, BATCH
from holdfast.features import kernels
from holdfast.features.aggregate import AGGREGATES
from holdfast.features.expression import compile_plan, filter_mask
from holdfast.features.grouping import grouped, int64_of, key_codes
from holdfast.features.ports import EventReader
from holdfast.features.view import FeaturePlan, Measure, View
from holdfast.kernel.errors import ContractError, DefinitionError, NotFoundError
from holdfast.kernel.expr import Expr
from holdfast.kernel.schema import FIXED_POINT_LIMIT, Column, Schema

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

T = "_t"
"""Spine column: instant of the prediction, int64 microseconds UTC; bounds event time."""
KNOWN_AT = "_known_at"
"""Spine column: what had arrived by this instant is seen, int64 microseconds UTC."""

_ROW = {name: row for row, name in enumerate(("count", "sum", "mean", "std", "min", "max"))}
_HIGHEST = np.int64(2**63 - 1)

Lane = tuple[str | None, Expr | None]
"""What is aggregated: a column, or all events, where a filter is true."""


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
    spine : (n,) rows in any order: the columns the plan reads, `_t` and `_known_at` in microseconds
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
    sources = dict.fromkeys(view.source for view in plan.views)
    events = {
        source: _read(
            [view for view in plan.views if view.source == source],
            plan.sources[source],
            spine,
            lake,
            version=(versions or {}).get(source),
            max_batch=max_batch,
        )
        for source in sources
        if spine.height
    }
    measures = measures_as_known(plan.views, plan.sources, spine, events)
    return compile_plan(plan).evaluate(spine, measures)


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
    By measure name, (n,) values in the order of the spine; missing is NaN.

    Raises
    ------
    ContractError
        If a window holds 2^31 events or more, or a summed value is beyond the fixed-point limit (HF213);
        if a time is missing (HF201) or the key types of spine and events differ (HF202).
    DefinitionError
        If a column cannot be aggregated so: a text, a float without scale in sum, mean or std (HF104), or a
        scale above 13 in mean or std (HF106).

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
    rows = grouped(asked, groups, t)
    here = grouped(found, groups, time, arrived)

    windows = list(dict.fromkeys(measure.window for measure in measures))
    lanes: list[Lane] = list(dict.fromkeys((measure.column, measure.where) for measure in measures))
    table, values, masks = _lanes(lanes, measures, schema, frame, here.order)
    slots = np.full((len(lanes), len(windows), len(_ROW)), -1, np.int64)
    place: dict[str, int] = {}
    results = np.empty((len(measures), spine.height))
    for measure in measures:
        at = (
            lanes.index((measure.column, measure.where)),
            windows.index(measure.window),
            _ROW[measure.aggregate],
        )
        if slots[at] < 0:
            slots[at] = row = len(set(place.values()))
            results[row] = _empty(measure, spine.height)
        place[measure.name] = int(slots[at])

    verdict, culprit = kernels.window_values(
        time[here.order], arrived[here.order], here.start,
        t[rows.order], known_at[rows.order], rows.order, rows.start,
        np.array([(w.over, w.offset, w.hop) for w in windows], np.int64),
        values, masks, table, slots, results, results.view(np.int64),
        kernels.MAX_EVENTS, kernels.PATIENCE,
    )  # fmt: skip
    if verdict == kernels.TOO_MANY:
        raise ContractError(
            f"a window of an entity holds fewer than {kernels.MAX_EVENTS:,} events; found more.",
            code="HF213",
            at=next(measure.name for measure in measures if measure.window == windows[culprit]),
            hint=f"give `{', '.join(keys)}` of source `{source}` a finer entity or a shorter window",
        )
    if verdict == kernels.TOO_LARGE:
        column = lanes[culprit][0]
        raise ContractError(
            f"summed values stay within |value| x 10^scale <= {FIXED_POINT_LIMIT:,}; `{column}` exceeds it.",
            code="HF213",
            at=f"{source}.{column}",
            hint=f"declare bounds of `{column}`, or a smaller scale",
        )
    return {name: results[row] for name, row in place.items()}


def _lanes(
    lanes: Sequence[Lane], measures: Sequence[Measure], schema: Schema, frame: pl.DataFrame, order: Ints
) -> tuple[Ints, Ints, Bools]:
    """Return the kernel's table of lanes (L, 4), the values (C, m) and the masks (M, m) it refers to."""
    columns = list(dict.fromkeys(m.column for m in measures if m.column and m.aggregate != "count"))
    for measure in measures:
        _check(measure, schema)
    values = np.empty((len(columns), order.size), np.int64)
    for row, read in enumerate(columns):
        values[row] = _stored(frame[read], schema.get(read))[order]
    masks: list[Bools] = []
    table = np.zeros((len(lanes), 4), np.int64)
    for row, (name, where) in enumerate(lanes):
        column = schema.get(name) if name is not None else None
        mask = _mask(column, where, schema, frame)
        full = mask is None or bool(mask.all())
        table[row] = (
            columns.index(name) if name in columns else -1,
            -1 if full else len(masks),
            column.scale or 0 if column is not None and column.is_fixed_point else 0,
            column is not None and _is_plain_float(column),
        )
        if mask is not None and not full:
            masks.append(mask[order])
    return table, values, np.array(masks, np.bool_).reshape(len(masks), order.size)


def _check(measure: Measure, schema: Schema) -> None:
    if measure.column is None or measure.aggregate == "count":
        return
    column, aggregate = schema.get(measure.column), AGGREGATES[measure.aggregate]
    if column.type == "string" or (aggregate.fixed_point and _is_plain_float(column)):
        raise DefinitionError(
            f"`{measure.aggregate}` reads numbers of a known scale; `{column.name}` is a {column.type}.",
            code="HF104",
            at=measure.name,
            hint=f"give `{column.name}` a scale" if column.type == "float" else "count reads any column",
        )
    if measure.aggregate in ("mean", "std") and (column.scale or 0) > kernels.MAX_MOMENT_SCALE:
        raise DefinitionError(
            f"mean and std read at most {kernels.MAX_MOMENT_SCALE} decimal places; "
            f"`{column.name}` has {column.scale}.",
            code="HF106",
            at=measure.name,
        )


def _is_plain_float(column: Column) -> bool:
    return column.type == "float" and column.scale is None


def _stored(column: pl.Series, of: Column) -> Ints:
    """Return a column as int64; floats as bits whose order is that of the numbers."""
    if not _is_plain_float(of):
        return column.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
    floats = column.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0  # one zero, not two
    bits: Ints = floats.view(np.int64)
    return np.where(bits < 0, bits ^ _HIGHEST, bits)


def _mask(column: Column | None, where: Expr | None, schema: Schema, frame: pl.DataFrame) -> Bools | None:
    """Return which events a lane takes in, or None where it is all of them."""
    mask = None if where is None else filter_mask(where, schema, frame)
    if column is not None:
        values = frame[column.name]
        present = values.is_finite().fill_null(False) if _is_plain_float(column) else values.is_not_null()
        mask = present.to_numpy() if mask is None else mask & present.to_numpy()
    return mask


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
    measures = [measure for view in views for measure in view.measures]
    t = int64_of(spine[T])
    first, last = int(t.min()), int(t.max())
    lo = min((measure.window.bounds(first)[0] for measure in measures), default=last)
    event_time = pl.col(_event_time(schema))
    where = (event_time >= _instant(lo)) & (event_time < _instant(last))
    where &= pl.col(ARRIVED) <= int(int64_of(spine[KNOWN_AT]).max())
    columns = {_event_time(schema): None, ARRIVED: None}
    if max_batch is not None:
        columns[BATCH] = None
        where &= pl.col(BATCH) <= max_batch
    for view in views:
        columns |= dict.fromkeys(view.entity.key)
    for measure in measures:
        columns |= dict.fromkeys(() if measure.column is None else (measure.column,))
        columns |= dict.fromkeys(() if measure.where is None else measure.where.columns())
    try:
        return lake.read(views[0].source, list(columns), where=where, version=version)
    except NotFoundError:
        if version is not None:
            raise
        return pl.DataFrame()


def _instant(us: int) -> pl.Expr:
    return pl.lit(us, pl.Int64).cast(pl.Datetime("us", "UTC"))


def _event_time(schema: Schema) -> str:
    assert schema.event_time is not None, f"schema `{schema.name}` has no event time"
    return schema.event_time.name
