"""Models: the name and purpose, what they learn from, and what a user's training function is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.datasets.forecast import Forecast
from holdfast.datasets.label import Label
from holdfast.datasets.split import TimeSplit
from holdfast.events.entity import Entity
from holdfast.kernel.expr import Expr

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """One searched parameter: ``int`` and ``float`` with bounds, ``choice`` with values."""

    kind: Literal["int", "float", "choice"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    values: tuple[Scalar, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What wrong answers cost, in the unit of the user's choice.

    Attributes
    ----------
    false_alarm : cost of acting on a negative row
    missed
        Cost of not acting on a positive row: a number, or the name of a spine column that holds it.
    act_on : recommendations that count as acting; none means every band but the lowest
    """

    false_alarm: float
    missed: float | str
    act_on: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """The trivial model to beat: the mean label of the training part, or the value one season ago."""

    kind: Literal["prior", "seasonal_naive"]
    season: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model as declared.

    Attributes
    ----------
    features : name of the feature set
    function : ``module:qualname`` of the user's training function
    source : digest of the function's source text
    precision_at, precision_per
        How many rows of a day the precision among the highest scores looks at, and the entity, if any, that
        takes one place a day however many rows it has.
    test_where : condition of the test rows the model is measured on; none means all
    vetted : features that may be used although they look like a leak, with the reason
    """

    name: str
    features: str
    label: Label
    function: str
    source: str
    params: dict[str, Scalar] = field(default_factory=dict)
    search: dict[str, SearchSpace] = field(default_factory=dict)
    split: TimeSplit = TimeSplit()
    baseline: Baseline = Baseline("prior")
    cost: Cost | None = None
    forecast: Forecast | None = None
    precision_at: int = 100
    precision_per: Entity | None = None
    test_where: Expr | None = None
    vetted: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One part of a dataset, as the user's function sees it.

    Attributes
    ----------
    x : (n, k) float64, C-ordered; missing is NaN
    y : (n,) float64
    weight : (n,) float64
    t : (n,) int64 prediction times, microseconds
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    weight: NDArray[np.float64]
    t: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a training function is given to learn from. The test part is kept away from it.

    Attributes
    ----------
    names : names of the k columns of `x`
    categorical : names of those that hold vocabulary codes
    """

    train: Sample
    validation: Sample
    names: list[str]
    categorical: list[str]


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a training function may use besides data and parameters."""

    id: str
    seed: int
    log: Callable[[str, float], None]


TrainFunction = Callable[[TrainingData, dict[str, Any], RunContext], Any]
