"""Aggregates: pure functions of a window's multiset of events, and the traits the engine asks about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AggregateName = Literal[
    "count",
    "sum",
    "mean",
    "std",
    "min",
    "max",
    "var",
    "first",
    "last",
    "distinct",
    "time_since_last",
    "as_of",
]
Takes = Literal["events", "any", "numbers", "values", "rows"]

EXACT_DISTINCT = 256
"""Up to so many different values in a window are counted exactly; more are estimated from all of them."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Traits of one aggregate.

    Attributes
    ----------
    takes
        What it aggregates: ``events`` alone; ``any`` column, or events; ``numbers``; ``values`` of any column
        (texts and truth values too); ``rows``, whose missing values count as such.
    fixed_point : computed over int64 fixed point, so the column must have a scale and bounds
    invertible : a value can be taken out again without looking at the others
    order_sensitive : depends on the total order of events: event time, arrival time, event id
    empty : value over an empty window; none is missing
    """

    name: AggregateName
    takes: Takes
    fixed_point: bool
    invertible: bool
    order_sensitive: bool
    empty: float | None
    doc: str

    @property
    def needs_column(self) -> bool:
        """Whether it stands on a column only."""
        return self.takes in ("numbers", "values", "rows")


AGGREGATES: dict[str, Aggregate] = {
    a.name: a
    for a in (
        Aggregate(
            "count", "any", False, True, False, 0.0, "number of events, or of non-missing values of a column"
        ),
        Aggregate("sum", "numbers", True, True, False, 0.0, "exact sum of the non-missing values"),
        Aggregate("mean", "numbers", True, True, False, None, "exact sum over count, rounded once"),
        Aggregate(
            "std", "numbers", True, True, False, None, "sample standard deviation (ddof 1), missing below 2"
        ),
        Aggregate("min", "numbers", False, False, False, None, "smallest non-missing value"),
        Aggregate("max", "numbers", False, False, False, None, "greatest non-missing value"),
        Aggregate("var", "numbers", True, True, False, None, "sample variance (ddof 1), missing below 2"),
        Aggregate("first", "values", False, False, True, None, "first non-missing value"),
        Aggregate("last", "values", False, False, True, None, "last non-missing value"),
        Aggregate(
            "distinct",
            "values",
            False,
            False,
            False,
            0.0,
            "number of different non-missing values; estimated above 256",
        ),
        Aggregate("time_since_last", "events", False, False, False, None, "seconds since the last event"),
        Aggregate("as_of", "rows", False, False, True, None, "value of the last row, missing if it is there"),
    )
}
"""By name, in the order in which kernels number them."""

USABLE = tuple(name for name in AGGREGATES if name != "as_of")
"""Those that a view is written with; ``as_of`` is what tables are read by."""
