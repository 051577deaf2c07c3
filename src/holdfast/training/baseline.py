"""The trivial model that every candidate is measured against."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from holdfast.kernel.errors import DefinitionError
from holdfast.training.model import Baseline, Sample


def baseline_scores(
    baseline: Baseline, train: Sample, test: Sample, known: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return (n,) scores of the test rows, by the training labels or what was known at each row.

    ``prior`` gives every row the weighted mean of the training labels: for binary labels their share, which
    is the best constant under logarithmic loss and Brier score. ``seasonal_naive`` gives a row the label's
    value one season before.

    Parameters
    ----------
    known : (n,) values of one season before each test row, where the dataset keeps them

    Raises
    ------
    DefinitionError
        If the dataset does not keep what the baseline needs (HF110).
    """
    if baseline.kind == "seasonal_naive":
        if known is None:
            raise DefinitionError(
                "baseline `seasonal_naive` needs rows of a grid, with values of one season before.",
                code="HF110",
                at="model.baseline",
                has=("prior",),
                hint="declare no baseline, which means `prior`",
            )
        return known
    weight = float(train.weight.sum())
    mean = float((train.weight * train.y).sum()) / weight if weight > 0 else math.nan
    return np.full(len(test.y), mean)
