"""What a user says of learning: the outcome, the parts of the past, costs, searches, horizons, baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.project.capture import caller_place


class Label:
    """The outcome of a row, fixed at its time plus `horizon` by what had arrived by then.

    Parameters
    ----------
    source : where outcomes come from, or an aggregate ``source.column.sum(over="7d", after=True)``
    key : column shared by the outcome and the row
    value : expression over the outcome's columns; by default 1 for being there
    horizon : how long until the outcome is decided; for an aggregate at least its window
    absent : value where no outcome arrived; without it such rows are left out
    censored_by : recommendation that prevents the outcome
    """

    def __init__(
        self,
        source: Any,
        *,
        key: str | None = None,
        value: Any = None,
        horizon: Any = None,
        absent: float | None = None,
        censored_by: str | None = None,
    ) -> None:
        self.source, self.key, self.value, self.horizon = source, key, value, horizon
        self.absent, self.censored_by = absent, censored_by
        self.place = caller_place()


@dataclass(frozen=True)
class TimeSplit:
    """Lengths of the parts, counted back from the last row with a label, such as ``TimeSplit(test="10d")``.

    Parameters
    ----------
    test, validation : by default 20 % and 10 % of the span; ``validation="0s"`` for none
    gap : between validation and test; by default the label's horizon
    train : by default everything before; else rows before it are left out
    every : the parts begin and end at multiples of it (UTC), such as whole days with ``"1d"``
    """

    test: Any = None
    validation: Any = None
    gap: Any = None
    train: Any = None
    every: Any = None


@dataclass(frozen=True)
class Cost:
    """Cost of acting on a good row and of not acting on a bad one (a number, or a column that holds it)."""

    false_alarm: float
    missed: Any
    act_on: Sequence[str] | None = None


@dataclass(frozen=True)
class Int:
    """A searched whole number in ``[low, high]``."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Float:
    """A searched number in ``[low, high]``."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """A searched value among those given."""

    values: Sequence[Any]


@dataclass(frozen=True)
class Forecast:
    """How far a model over a `Spine` looks ahead: every row of it becomes one for each horizon.

    A row then has ``at``, its origin; ``horizon``, from 1; and ``target``, the instant at which the step it
    is about begins, ``at + (horizon - 1) * every``. Its label is that of the step; its features are what was
    known at the origin, and of tables with ``known_ahead=True`` what was known then of the target.

    Parameters
    ----------
    horizons : in steps of the spine, such as ``range(1, 29)``
    quantiles : asked beside the expected value
    origins
        Distance between the origins that are learnt from and tested on, such as ``"3d"``; by default every
        step of the spine. No multiple of the season, or the model meets each horizon on one weekday only.
    """

    horizons: Iterable[int]
    quantiles: Sequence[float] = ()
    origins: Any = None


@dataclass(frozen=True)
class SeasonalNaive:
    """Baseline over a `Spine`: the label one season before, as known at the origin.

    The last season that is over at the origin is repeated over all horizons.
    """

    season: Any
