"""Lanes: what is aggregated, once for all measures that aggregate it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.features.aggregate import AGGREGATES
from holdfast.features.expression import filter_mask
from holdfast.features.lowering_kernels import MAX_MOMENT_SCALE, MISSING
from holdfast.features.view import Measure
from holdfast.kernel.errors import DefinitionError
from holdfast.kernel.expr import Expr
from holdfast.kernel.ids import content_code, text_code
from holdfast.kernel.schema import Column, Schema

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_HIGHEST = np.int64(2**63 - 1)


class LaneKey(NamedTuple):
    """What a lane takes in: the values of a column, all rows with it, all events, or their times.

    Attributes
    ----------
    column : None for events and times
    where : filter over the event's own columns
    """

    column: str | None
    where: Expr | None
    kind: Literal["values", "rows", "events", "times"]


def lane_of(measure: Measure) -> LaneKey:
    """Return what a measure aggregates."""
    if measure.aggregate == "as_of":
        return LaneKey(measure.column, measure.where, "rows")
    if measure.aggregate == "time_since_last":
        return LaneKey(None, measure.where, "times")
    return LaneKey(measure.column, measure.where, "events" if measure.column is None else "values")


def reads_values(measure: Measure) -> bool:
    """Whether a measure needs the values of its column, not only whether they are there."""
    return measure.column is not None and measure.aggregate != "count"


def check_measure(measure: Measure, schema: Schema) -> None:
    """Refuse a measure that means nothing.

    Raises
    ------
    DefinitionError
        If a column cannot be aggregated so: a text, a float without scale in sum, mean, std or var (HF104),
        or a scale above 13 in mean, std or var (HF106).
    """
    if measure.column is None or not reads_values(measure):
        return
    column, aggregate = schema.get(measure.column), AGGREGATES[measure.aggregate]
    is_text = column.type == "string" and aggregate.takes == "numbers"
    if is_text or (aggregate.fixed_point and is_plain_float(column)):
        raise DefinitionError(
            f"`{measure.aggregate}` reads numbers of a known scale; `{column.name}` is a {column.type}.",
            code="HF104",
            at=measure.name,
            hint=f"give `{column.name}` a scale" if column.type == "float" else "count reads any column",
        )
    if measure.aggregate in ("mean", "std", "var") and (column.scale or 0) > MAX_MOMENT_SCALE:
        raise DefinitionError(
            f"mean, std and var read at most {MAX_MOMENT_SCALE} decimal places; "
            f"`{column.name}` has {column.scale}.",
            code="HF106",
            at=measure.name,
        )


def is_plain_float(column: Column) -> bool:
    """Whether a column holds floats that are no fixed point."""
    return column.type == "float" and column.scale is None


def stored_values(column: pl.Series, of: Column) -> Ints:
    """Return a column as int64: floats as bits whose order is that of the numbers, texts as their codes.

    What is missing is 0; the mask of a lane says where.
    """
    if of.type == "string":
        return text_codes(column)
    if not is_plain_float(of):
        return column.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
    floats = column.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0  # one zero, not two
    bits: Ints = floats.view(np.int64)
    return np.where(bits < 0, bits ^ _HIGHEST, bits)


def row_values(column: pl.Series, of: Column) -> Ints:
    """Return a column as `stored_values` does, what is missing as `MISSING`."""
    return np.where(_present(column, of), stored_values(column, of), MISSING)


def text_codes(column: pl.Series) -> Ints:
    """Return `text_code` of each text, 0 where it is missing."""
    texts = column.cast(pl.String)
    known = texts.unique().drop_nulls()
    codes = pl.Series([text_code(text) for text in known], dtype=pl.Int64)
    return texts.replace_strict(known, codes, default=0, return_dtype=pl.Int64).fill_null(0).to_numpy()


def lane_mask(lane: LaneKey, schema: Schema, frame: pl.DataFrame) -> Bools | None:
    """Return which events a lane takes in, or None where it is all of them."""
    mask = None if lane.where is None else filter_mask(lane.where, schema, frame)
    if lane.column is not None and lane.kind == "values":
        present = _present(frame[lane.column], schema.get(lane.column))
        mask = present if mask is None else mask & present
    return mask


def _present(values: pl.Series, of: Column) -> Bools:
    present = values.is_finite().fill_null(False) if is_plain_float(of) else values.is_not_null()
    found: Bools = present.to_numpy()
    return found


def ties_of(schema: Schema, frame: pl.DataFrame) -> Ints:
    """Return what orders events of the same event time and arrival.

    Whole ids are themselves, texts their code; without ids it is the code of the whole content.
    """
    column = schema.event_id
    if column is not None:
        return stored_values(frame[column.name], column)
    names = sorted(schema.names)
    plain = frame.select(pl.col(name).to_physical() for name in names)
    codes = [content_code(zip(names, row, strict=True)) for row in plain.iter_rows()]
    return np.array(codes, np.int64)
