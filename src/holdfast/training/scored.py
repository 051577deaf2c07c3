"""Scored rows, and the arithmetic that metrics share. Nothing here depends on the number of threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Evaluator = Callable[[Floats], float]
"""From (n,) weights to a metric's value."""


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """What each row costs if answered wrongly, and how the decision policy answered it.

    Attributes
    ----------
    acted : (n,) whether the policy acts on the row
    false_alarm : cost of acting on a negative row
    missed : (n,) cost of not acting on the row if it is positive
    """

    acted: NDArray[np.bool_]
    false_alarm: float
    missed: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Rows with their outcome and their score.

    Attributes
    ----------
    y : (n,) labels
    score : (n,) finite scores; for binary labels the probability of the positive class
    weight : (n,) non-negative; how many rows each one stands for
    day : (n,) number of the row's day
    k : rows, or entities, a day for `precision@k/day`
    entity : (n,) number of the row's entity, for `precision@k/day/entity`; none where none is declared
    per : name of that entity
    series : (n,) number of the series a row of a forecast belongs to; intervals then resample series
    scale : (n,) mean squared step of the row's series, for `rmsse`; NaN where it has none
    """

    y: Floats
    score: Floats
    weight: Floats
    day: NDArray[np.int64]
    k: int = 100
    costs: Costs | None = None
    entity: NDArray[np.int64] | None = None
    per: str = ""
    series: NDArray[np.int64] | None = None
    scale: Floats | None = None


def ratio(numerator: float, denominator: float) -> float:
    """Return the quotient, NaN unless the denominator is positive."""
    return float(numerator / denominator) if denominator > 0 else math.nan


def dot(a: Floats, b: Floats) -> float:
    """Sum of products, the same for any number of threads (which BLAS does not promise)."""
    return float(np.einsum("i,i->", a, b))


def runs(*keys: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First position, and position after the last, of each sorted row's run of equal keys."""
    fresh = np.zeros(len(keys[0]), dtype=np.bool_)
    fresh[:1] = True
    for key in keys:
        fresh[1:] |= key[1:] != key[:-1]
    starts = np.flatnonzero(fresh)
    lengths = np.diff(starts, append=len(fresh))
    return np.repeat(starts, lengths), np.repeat(starts + lengths, lengths)


def sums(values: Floats) -> Floats:
    """Return (n + 1,) sums of the values before each position."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def mean_of(value: Callable[[Scored], Floats]) -> Callable[[Scored], Evaluator]:
    """Return the metric that is the weighted mean of a value per row."""

    def prepare(rows: Scored) -> Evaluator:
        values = value(rows)
        return lambda weight: ratio(dot(weight, values), float(weight.sum()))

    return prepare
