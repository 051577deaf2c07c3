"""The trivial model that every candidate is measured against."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from holdfast.kernel.errors import DefinitionError
from holdfast.training.model import Baseline, Sample


def baseline_scores(baseline: Baseline, train: Sample, test: Sample) -> NDArray[np.float64]:
    """Return (n,) scores of the test rows, by nothing but the training labels.

    ``prior`` gives every row the weighted mean of the training labels: for binary labels their share, which
    is the best constant under logarithmic loss and Brier score.

    Raises
    ------
    DefinitionError
        If the baseline cannot be evaluated yet (HF113).
    """
    if baseline.kind == "seasonal_naive":
        raise DefinitionError(
            "baseline `seasonal_naive` needs values of one season before, which cannot be computed yet.",
            code="HF113",
            at="model.baseline",
            has=("prior",),
            hint="declare no baseline, which means `prior`",
        )
    weight = float(train.weight.sum())
    mean = float((train.weight * train.y).sum()) / weight if weight > 0 else math.nan
    return np.full(len(test.y), mean)
