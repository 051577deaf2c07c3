"""One version of a model ready to answer single rows: its features of a row, and their score.

What a bundle says is bound here once to a request's columns and to the state that is kept online, so that a
request only walks what was prepared. The machine code is that of batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.features.expression import compile_plan
from holdfast.features.online_row import OnlineRow
from holdfast.features.ports import OnlineSnapshot
from holdfast.features.tile import StatePlan
from holdfast.features.view import FeaturePlan
from holdfast.kernel import kernels
from holdfast.kernel.errors import NotFoundError
from holdfast.kernel.expr import Expr
from holdfast.kernel.program import lower
from holdfast.serving.ports import RowPredictor
from holdfast.training.bundle import Bundle
from holdfast.training.policy import Bands

Floats = NDArray[np.float64]


class Features(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The features of one request.

    Attributes
    ----------
    x : (k,) float64 in the order of the plan, NaN where missing
    inexact : whether a window could not be told exactly from what is kept online
    degraded : whether a measure is missing because the online state could not be read
    batch : the last batch that was seen, or None without a state
    """

    x: Floats
    inexact: bool
    degraded: bool
    batch: int | None


class RowFeatures:
    """Evaluates a feature plan for single rows.

    Parameters
    ----------
    plan : features, with views and vocabularies
    state : plan of the state that is online, or None where there is none

    Attributes
    ----------
    lacks : why the state cannot serve these views, or an empty string
    """

    def __init__(self, plan: FeaturePlan, state: StatePlan | None) -> None:
        self.plan = plan
        self.names = plan.names
        self.fingerprint = plan.fingerprint
        compiled = compile_plan(plan)
        self._code = compiled.program.code
        self._n_inputs = len(compiled.program.inputs)
        self._n_outputs = len(self.names)
        self._reader: OnlineRow | None = None
        self.lacks = ""
        wanted = set(compiled.measures)
        views = [view for view in plan.views if any(measure.name in wanted for measure in view.measures)]
        if views and state is None:
            self.lacks = "there is no online state"
        elif views and state is not None:
            try:
                self._reader = OnlineRow(state, views)
            except NotFoundError as error:
                self.lacks = error.problem.message
        known = {} if self._reader is None else {name: n for n, name in enumerate(self._reader.names)}
        self._columns: list[tuple[int, str, Callable[[object], float]]] = []
        self._texts: list[tuple[int, Callable[[object], float]]] = []
        sources = []
        for place, given in enumerate(compiled.program.inputs):
            sources.append(known.get(given.name, 0))
            if given.computed is not None:
                self._texts.append((place, given.encode_value))
            if given.name not in wanted:
                self._columns.append((place, given.name, given.encode_value))
        self._sources = np.array(sources, np.intp).reshape(self._n_inputs, 1)

    def evaluate(self, row: Mapping[str, Any], snapshot: OnlineSnapshot | None, t: int) -> Features:
        """Return the features of one row of stored values at an instant, as one snapshot has them."""
        inexact = False
        if self._reader is not None and snapshot is not None:
            reading = self._reader.read(snapshot, row, t)
            inputs = reading.values.take(self._sources)
            for place, encode in self._texts:
                inputs[place, 0] = encode(float(inputs[place, 0]))
            inexact = reading.inexact != 0
            degraded = False
        else:
            inputs = np.full((self._n_inputs, 1), math.nan)
            degraded = bool(self.lacks) or self._reader is not None
        for place, name, encode in self._columns:
            inputs[place, 0] = encode(row[name])
        outputs = np.empty((1, self._n_outputs))
        kernels.interpret(self._code, inputs, outputs)
        return Features(outputs[0], inexact, degraded, None if snapshot is None else snapshot.batch)


@dataclass(frozen=True, slots=True, eq=False)
class LiveModel:
    """A verified version, bound to the state that is online.

    Attributes
    ----------
    version : number of the version
    bundle : name of the bundle
    runtime : what computes the score, as recorded
    """

    model: str
    version: int
    bundle: str
    runtime: str
    features: RowFeatures
    policy: Bands | None
    score: Callable[[Floats], float]

    @classmethod
    def of(cls, version: int, bundle: Bundle, predictor: RowPredictor, state: StatePlan | None) -> LiveModel:
        """Bind a bundle to the state."""
        return cls(
            bundle.manifest.model,
            version,
            bundle.name,
            predictor.runtime,
            RowFeatures(bundle.plan, state),
            bundle.policy,
            predictor.score,
        )


class Rules:
    """Rules over features, as a release declares them for when no model can answer."""

    def __init__(self, rules: Expr, names: tuple[str, ...]) -> None:
        program = lower([("score", rules)], dict.fromkeys(names, "float"))
        self._code = program.code
        self._places = [names.index(given.name) for given in program.inputs]

    def score(self, x: Floats) -> float:
        """Return the value of the rules over (k,) features; NaN where it is missing."""
        inputs = np.ascontiguousarray(x[self._places]).reshape(len(self._places), 1)
        outputs = np.empty((1, 1))
        kernels.interpret(self._code, inputs, outputs)
        return float(outputs[0, 0])
