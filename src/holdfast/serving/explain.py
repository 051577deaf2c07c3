"""Explanation: a recorded prediction beside its recomputation by the oracle, feature by feature."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.features.oracle import features_of, read_by
from holdfast.features.view import FeaturePlan
from holdfast.kernel.errors import DeterminismError
from holdfast.kernel.expr import Expr, to_text
from holdfast.kernel.ids import short
from holdfast.serving.record import PredictionRecord
from holdfast.training.bundle import Bundle


@dataclass(frozen=True, slots=True)
class FeatureEvidence:
    """One feature of a prediction.

    Attributes
    ----------
    stored : value used when the answer was given; NaN is missing
    recomputed : value the oracle finds today from the same rows
    contribution : what it added to the model's margin, or None where the runtime cannot say
    definition : what it means, in words
    text : the category, where the feature is one
    """

    name: str
    stored: float
    recomputed: float
    contribution: float | None
    definition: str
    text: str | None = None

    @property
    def is_equal(self) -> bool:
        """Whether both values are the same float64, bit for bit (every missing is one)."""
        if math.isnan(self.stored) or math.isnan(self.recomputed):
            return math.isnan(self.stored) and math.isnan(self.recomputed)
        return struct.pack("<d", self.stored) == struct.pack("<d", self.recomputed)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A prediction recomputed.

    Attributes
    ----------
    score, decision : what the bundle gives today for the features as recorded
    base : margin before any feature; with the contributions it is the margin of the score
    """

    features: tuple[FeatureEvidence, ...]
    base: float
    score: float
    decision: str | None


def explain(
    record: PredictionRecord, bundle: Bundle, rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Evidence:
    """Recompute each feature of a record by the oracle and put it beside the stored one.

    Parameters
    ----------
    rows : stored values of the lake rows of each view's source, by source name

    Raises
    ------
    DeterminismError
        If the record was not made with the bundle's features (HF500).
    """
    plan = bundle.plan
    if record.plan != plan.fingerprint or len(record.features) != len(plan.names):
        raise DeterminismError(
            f"{record.prediction_id} holds {len(record.features)} features of plan {short(record.plan)}, "
            f"bundle {short(bundle.name)} has {len(plan.names)} of plan {short(plan.fingerprint)}.",
            at=record.prediction_id,
        )
    limit = record.known_batch[0] if record.known_batch else None
    known = {name: list(found) for name, found in rows.items()}
    fresh = features_of(plan, record.request, known, record.t_us, record.known_at_us, max_batch=limit)
    read = read_by(plan, record.request, known, record.t_us, record.known_at_us, max_batch=limit)
    x = np.ascontiguousarray(record.features[None, :])
    contributions = bundle.predictor.contributions(x)[0]
    score = float(bundle.predictor.predict(x)[0])
    words = definitions(plan)
    evidence = []
    for i, feature in enumerate(plan.features.features):
        value = fresh[feature.name]
        text = None
        if feature.kind == "categorical":
            (coded,) = [node.args[0] for node in feature.expr.walk() if node.op == "code"]
            found = read.get(str(coded.params[0]))
            text = None if found is None else str(found)
        evidence.append(
            FeatureEvidence(
                feature.name,
                float(record.features[i]),
                math.nan if value is None else value,
                float(contributions[i]),
                words[feature.name],
                text,
            )
        )
    decision = None if bundle.policy is None else bundle.policy.decide(score)
    return Evidence(tuple(evidence), float(contributions[-1]), score, decision)


def definitions(plan: FeaturePlan) -> dict[str, str]:
    """Return what each feature means: its expression, and its windows in words."""
    measures = {m.name: (view, m) for view in plan.views for m in view.measures}

    def words(expr: Expr) -> str:
        if expr.op == "col" and str(expr.params[0]) in measures:
            view, measure = measures[str(expr.params[0])]
            return f"{measure.describe()}, per {view.entity.name} of {view.source}"
        text = to_text(expr)
        used = [n for n in expr.columns() if n in measures]
        if not used:
            return text
        return f"{text}; " + "; ".join(f"{n} = {words(Expr('col', (), (n,)))}" for n in used)

    return {f.name: words(f.expr) for f in plan.features.features}
