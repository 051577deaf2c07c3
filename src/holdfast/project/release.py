"""What a user says of a release: gates and guards, who approves, what is decided, how traffic moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.project.capture import caller_place
from holdfast.project.rows import Entity


@dataclass(frozen=True)
class Reference:
    """The champion's or the baseline's value of the same quantity, times a factor, plus a margin."""

    factor: float = 1.0
    margin: float = 0.0
    to: str = "champion"

    def __add__(self, other: float) -> Reference:
        return Reference(self.factor, self.margin + other, self.to)

    def __sub__(self, other: float) -> Reference:
        return Reference(self.factor, self.margin - other, self.to)

    def __mul__(self, other: float) -> Reference:
        return Reference(self.factor * other, self.margin * other, self.to)

    __rmul__ = __mul__


def champion() -> Reference:
    """Stand for the champion's value on the other side of a comparison."""
    return Reference()


def baseline() -> Reference:
    """Stand for the value of the model's trivial baseline on the other side of a gate."""
    return Reference(to="baseline")


@dataclass(frozen=True)
class Limit:
    """A comparison of a quantity with a number or the champion; checked when the project is compiled."""

    kind: str
    name: str
    op: str
    bound: Any
    place: str


class Quantity:
    """Something measured, waiting to be compared."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: str, name: str = "") -> None:
        self._kind, self._name = kind, name

    def __ge__(self, bound: Any) -> Limit:
        return Limit(self._kind, self._name, ">=", bound, caller_place())

    def __le__(self, bound: Any) -> Limit:
        return Limit(self._kind, self._name, "<=", bound, caller_place())

    def __gt__(self, bound: Any) -> Limit:
        return Limit(self._kind, self._name, ">", bound, caller_place())

    def __lt__(self, bound: Any) -> Limit:
        return Limit(self._kind, self._name, "<", bound, caller_place())


def metric(name: str) -> Quantity:
    """Stand for a metric of the test part, such as ``average_precision``, in a gate."""
    return Quantity("metric", name)


def errors() -> Quantity:
    """Stand for the share of failed requests, in a guard."""
    return Quantity("errors")


def p99() -> Quantity:
    """Stand for the 99th percentile of latency, in a guard."""
    return Quantity("p99")


def prediction_shift() -> Quantity:
    """Stand for the distance of the score distribution from the champion's, in a guard."""
    return Quantity("prediction_shift")


def kpi(name: str) -> Quantity:
    """Stand for a business indicator, in a guard."""
    return Quantity("kpi", name)


@dataclass(frozen=True)
class Approval:
    """Who must approve a version, and whether its author may."""

    role: str
    not_author: bool = False


class Bands:
    """Recommendations by lowest score: ``Bands(block=0.9, review=0.6, allow=0.0)``."""

    def __init__(self, **floors: float) -> None:
        self.floors = floors
        self.place = caller_place()


@dataclass(frozen=True)
class Holdout:
    """Random share of rows that the decision does not act upon."""

    share: float


class Canary:
    """Shares of traffic in percent, each held for a while, split by an entity."""

    def __init__(self, steps: Sequence[float], *, hold: Any, unit: Entity) -> None:
        self.steps, self.hold, self.unit = tuple(steps), hold, unit
        self.place = caller_place()


@dataclass(frozen=True)
class FallbackStep:
    """One step of the fallback ladder, as written."""

    kind: str
    rules: Callable[..., Any] | None = None
    value: float | None = None
    place: str = ""


def previous() -> FallbackStep:
    """Answer with the version before."""
    return FallbackStep("previous", place=caller_place())


def rules(function: Callable[..., Any]) -> FallbackStep:
    """Answer with rules: a function of the features, captured as an expression."""
    return FallbackStep("rules", rules=function, place=caller_place())


def constant(value: float) -> FallbackStep:
    """Answer with a fixed score."""
    return FallbackStep("constant", value=value, place=caller_place())
