"""Aggregates: pure functions of a window's multiset of values, and the traits the engine asks about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AggregateName = Literal["count", "sum", "mean", "std", "min", "max"]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Traits of one aggregate.

    Attributes
    ----------
    needs_column : False only for the count of events
    fixed_point : computed over int64 fixed point, so the column must have a scale and bounds
    invertible : a value can be taken out again
    empty : value over an empty window; none is missing
    """

    name: AggregateName
    needs_column: bool
    fixed_point: bool
    invertible: bool
    empty: float | None
    doc: str


AGGREGATES: dict[str, Aggregate] = {
    a.name: a
    for a in (
        Aggregate("count", False, False, True, 0.0, "number of events, or of non-missing values of a column"),
        Aggregate("sum", True, True, True, 0.0, "exact sum of the non-missing values"),
        Aggregate("mean", True, True, True, None, "exact sum over count, rounded once"),
        Aggregate("std", True, True, True, None, "sample standard deviation (ddof 1), missing below 2"),
        Aggregate("min", True, False, False, None, "smallest non-missing value"),
        Aggregate("max", True, False, False, None, "greatest non-missing value"),
    )
}
