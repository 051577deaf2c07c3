"""The naive oracle: what every feature means, in plain Python integers.

It filters all rows, one spine row at a time, and imports no compiled kernel. Every fast path is bound to it
by a law: equal, bit for bit (tests/laws/test_windows.py).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.events.source import ARRIVED, BATCH
from holdfast.features import aggregate as aggregates
from holdfast.features.aggregate import AGGREGATES
from holdfast.features.sketch import estimate
from holdfast.features.view import FeaturePlan, Measure, View
from holdfast.kernel.expr import Expr
from holdfast.kernel.expr_oracle import evaluate_expression
from holdfast.kernel.ids import content_code, text_code
from holdfast.kernel.schema import Schema

Row = Mapping[str, Any]
"""One event or spine row by column name, in stored values: decimals and times are int, None is missing."""


def is_visible(row: Row, schema: Schema, measure: Measure, t: int, known_at: int) -> bool:
    """Whether an event lies in the window at t, had arrived by `known_at`, and passes the filter."""
    assert schema.event_time is not None
    lo, hi = measure.window.bounds(t)
    if not (lo <= row[schema.event_time.name] < hi and row[ARRIVED] <= known_at):
        return False
    if measure.where is None:
        return True
    truth = evaluate_expression(measure.where, row, {}, scales_of(schema))
    return truth is not None and truth != 0.0


def lowered(aggregate: str, values: Sequence[Any], scale: int) -> float | None:
    """Return an aggregate of non-missing values as the double that DESIGN's formula gives.

    Parameters
    ----------
    values : ints (value x 10^scale), or floats for min and max
    """
    n, S, one = len(values), sum(values), 10**scale
    if n == 0:
        return AGGREGATES[aggregate].empty
    match aggregate:
        case "count":
            return float(n)
        case "sum":
            return float(S) / float(one)
        case "mean":
            return float(S) / float(n * one)
        case "std":
            if n < 2:
                return None
            Q = sum(value * value for value in values)
            return math.sqrt(float(n * Q - S * S) / float(n * (n - 1) * one**2))
        case "var":
            if n < 2:
                return None
            Q = sum(value * value for value in values)
            return float(n * Q - S * S) / float(n * (n - 1) * one**2)
        case "min":
            return float(min(values)) / float(one)
        case _:
            return float(max(values)) / float(one)


def window_value(
    measure: Measure, schema: Schema, rows: Sequence[Row], t: int, known_at: int
) -> float | str | None:
    """Return the value of one measure over the events of one entity; None is missing, a text is itself."""
    seen = [row for row in rows if is_visible(row, schema, measure, t, known_at)]
    if measure.aggregate == "time_since_last":
        assert schema.event_time is not None
        return float(t - max(row[schema.event_time.name] for row in seen)) / 1e6 if seen else None
    if measure.column is None:
        return float(len(seen))
    scale = scales_of(schema).get(measure.column, 0)
    if measure.aggregate == "as_of":
        return (
            _read(max(seen, key=lambda row: order_of(row, schema))[measure.column], scale) if seen else None
        )
    values = [row[measure.column] for row in seen if _is_value(row[measure.column])]
    if measure.aggregate == "count":
        return float(len(values))
    if measure.aggregate == "distinct":
        return float(number_of({_word(value) for value in values}))
    if measure.aggregate in ("first", "last"):
        chosen = [row for row in seen if _is_value(row[measure.column])]
        pick = min if measure.aggregate == "first" else max
        return (
            _read(pick(chosen, key=lambda row: order_of(row, schema))[measure.column], scale)
            if chosen
            else None
        )
    return lowered(measure.aggregate, [_exact(value) for value in values], scale)


def order_of(row: Row, schema: Schema) -> tuple[int, int, int]:
    """Return the place of an event in the total order: event time, arrival time, event id.

    Ids that are texts are ordered by their code, rows without an id by that of their content.
    """
    assert schema.event_time is not None
    if schema.event_id is None:
        tie = content_code((name, row[name]) for name in sorted(schema.names))
    else:
        found = row[schema.event_id.name]
        tie = text_code(found) if isinstance(found, str) else found
    return row[schema.event_time.name], row[ARRIVED], tie


def number_of(words: set[int]) -> int:
    """Return how many different values there are: exactly, or above `EXACT_DISTINCT` about."""
    exact = aggregates.EXACT_DISTINCT
    return len(words) if len(words) <= exact else estimate(words, exact)


def _word(value: Any) -> int:
    """Return a value as the int64 that stands for it: texts by their code, floats by bits in their order."""
    if isinstance(value, str):
        return text_code(value)
    if isinstance(value, float):
        (bits,) = struct.unpack("<q", struct.pack("<d", value + 0.0))
        return int(bits) if bits >= 0 else int(bits) ^ (2**63 - 1)
    return int(value)


def _read(value: Any, scale: int) -> float | str | None:
    if isinstance(value, str):
        return value
    return float(_exact(value)) / float(10**scale) if _is_value(value) else None


def _is_value(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _exact(value: Any) -> Any:
    return value + 0.0 if isinstance(value, float) else int(value)  # one zero, not two


def measures_of(
    view: View,
    schema: Schema,
    rows: Sequence[Row],
    key: Sequence[Any],
    t: int,
    known_at: int,
    max_batch: int | None = None,
) -> dict[str, float | str | None]:
    """Return all measures of a view for one entity at one instant.

    Parameters
    ----------
    rows : all events of the view's source, in any order, with their system columns
    key : value of each key column of the entity; a None matches nothing
    t, known_at : bounds of event time and of arrival, microseconds
    max_batch : see only rows of batches up to this one
    """
    stored = [row for row in rows if max_batch is None or row[BATCH] <= max_batch]
    gone = superseded_by(stored, schema, known_at)
    mine = [
        row
        for row in stored
        if None not in key
        and [row[name] for name in view.entity.key] == list(key)
        and (schema.event_id is None or row[schema.event_id.name] not in gone)
    ]
    return {measure.name: window_value(measure, schema, mine, t, known_at) for measure in view.measures}


def superseded_by(rows: Sequence[Row], schema: Schema, known_at: int) -> set[Any]:
    """Return the ids of events that another one supersedes which had arrived by `known_at`."""
    if schema.supersedes is None or schema.event_id is None:
        return set()
    own, target = schema.event_id.name, schema.supersedes.name
    return {
        row[target]
        for row in rows
        if row[target] is not None and row[target] != row[own] and row[ARRIVED] <= known_at
    }


def features_of(
    plan: FeaturePlan,
    spine_row: Row,
    rows_by_source: Mapping[str, Sequence[Row]],
    t: int,
    known_at: int,
    max_batch: int | None = None,
) -> dict[str, float | None]:
    """Return all features of a plan for one spine row; a source without rows has no events."""
    row = read_by(plan, spine_row, rows_by_source, t, known_at, max_batch)

    def value(expr: Expr) -> float | None:
        return evaluate_expression(expr, row, plan.vocabularies, scales_of(plan.schema))

    return {feature.name: value(feature.expr) for feature in plan.features.features}


def read_by(
    plan: FeaturePlan,
    spine_row: Row,
    rows_by_source: Mapping[str, Sequence[Row]],
    t: int,
    known_at: int,
    max_batch: int | None = None,
) -> dict[str, Any]:
    """Return what the features of a spine row read: its own columns, and the measures of the views."""
    row = dict(spine_row)
    for view in plan.views:
        key = [spine_row[name] for name in view.entity.key]
        rows = rows_by_source.get(view.source, ())
        target = plan.time_of(view)
        at = t if target is None else spine_row[target]
        row |= measures_of(view, plan.sources[view.source], rows, key, at, known_at, max_batch)
    return row


def scales_of(schema: Schema) -> dict[str, int]:
    """Return the scale of each column that is stored as fixed point."""
    return {c.name: c.scale or 0 for c in schema.columns if c.is_fixed_point}
