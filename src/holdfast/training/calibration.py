"""Metrics of probabilities as such: whether what is predicted with 0.2 happens in one case of five."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.training.scored import Evaluator, Floats, Scored, dot, ratio, runs, sums

LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 where a logarithm is taken."""
LEAST_OVERLAP = 1e-6
"""Overlap of the outcomes from which on there is a slope, as a share of the range of logits."""
BINS = 10
"""Bins of the calibration error and of the reliability table."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows of similar score: what was predicted for them and what came of it.

    Attributes
    ----------
    low, high : least and greatest score in the bin
    weight : total weight of its rows
    score, share : weighted means of score and label
    """

    low: float
    high: float
    weight: float
    score: float
    share: float


def log_loss(rows: Scored) -> Floats:
    """Return each row's negative logarithm of the probability given to what happened."""
    p = np.clip(rows.score, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return -(rows.y * np.log(p) + (1 - rows.y) * np.log1p(-p))


def bins_of(rows: Scored, n_bins: int) -> NDArray[np.intp]:
    """Bin of each row: equal weight in each as far as ties allow, equal scores together."""
    order = np.argsort(rows.score, kind="stable")
    first, last = runs(rows.score[order])
    upto = sums(rows.weight[order])
    whole = upto[-1] if upto[-1] > 0 else 1.0
    bins = np.empty(len(order), dtype=np.intp)
    bins[order] = np.minimum((upto[first] + upto[last]) / 2 / whole * n_bins, n_bins - 1)
    return bins


def calibration(rows: Scored) -> Evaluator:
    """Prepare the mean distance of predicted and observed share over bins that do not move."""
    bins, gap = bins_of(rows, BINS), rows.y - rows.score

    def evaluate(weight: Floats) -> float:
        gaps = np.bincount(bins, weights=weight * gap, minlength=BINS)
        return ratio(float(np.abs(gaps).sum()), float(weight.sum()))

    return evaluate


def calibration_slope(rows: Scored) -> Evaluator:
    """Prepare the slope of outcome on the logit of the score.

    Notes
    -----
    Newton's method from the slope of all rows. Where the scores separate the outcomes there is no finite
    slope (Albert and Anderson 1984); in one dimension that is a comparison of four scores. Where they overlap
    by less than `LEAST_OVERLAP` there is one, but the last bits of sums decide it, and with them the order of
    rows: it counts as none. Logits are centred and scaled, or scores close together would lose the slope in
    the sums of their squares.
    """
    p = np.clip(rows.score, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    logit, is_positive = np.log(p) - np.log1p(-p), rows.y > 0
    present = logit[rows.weight > 0]
    low, high = (float(present.min()), float(present.max())) if len(present) else (0.0, 0.0)
    if not high > low:
        return lambda weight: math.nan
    middle, span = (low + high) / 2, high - low
    x = (logit - middle) / span
    order = np.argsort(x, kind="stable")
    positives, negatives = order[is_positive[order]], order[~is_positive[order]]
    whole = _logistic(x, rows.y, rows.weight, middle, span)  # from a slope of 1 and no intercept
    start = (middle, span) if math.isnan(whole[1]) else whole

    def evaluate(weight: Floats) -> float:
        above, below = positives[weight[positives] > 0], negatives[weight[negatives] > 0]
        if not len(above) or not len(below):
            return math.nan
        if min(x[below[-1]] - x[above[0]], x[above[-1]] - x[below[0]]) < LEAST_OVERLAP:
            return math.nan  # (nearly) separated: the likelihood has no greatest value, or a very flat one
        return _logistic(x, rows.y, weight, *start)[1] / span

    return evaluate


def _logistic(x: Floats, y: Floats, w: Floats, a: float, b: float) -> tuple[float, float]:
    """Intercept and slope of greatest likelihood; NaN if it cannot be found."""
    found = _newton(x, y, w, a, b, damped=False)
    return _newton(x, y, w, 0.0, 0.0, damped=True) if math.isnan(found[1]) else found


def _newton(x: Floats, y: Floats, w: Floats, a: float, b: float, *, damped: bool) -> tuple[float, float]:
    """Newton's method for weighted logistic regression; damped, it halves steps that raise the loss."""
    wx = w * x
    wy, wxy, whole = dot(w, y), dot(wx, y), float(w.sum())

    def loss(a: float, b: float) -> float:
        return dot(w, np.logaddexp(0.0, a + b * x)) - a * wy - b * wxy

    for _ in range(100 if damped else 10):
        p = 1 / (1 + np.exp(np.clip(-a - b * x, -700, 700)))
        g0, g1 = wy - dot(w, p), wxy - dot(wx, p)
        p *= 1 - p
        h00, h01 = dot(w, p), dot(wx, p)
        p *= x
        h11 = dot(wx, p)
        determinant = h00 * h11 - h01 * h01
        if not determinant > 0:
            return math.nan, math.nan
        step_a, step_b = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        if damped:
            now, halvings = loss(a, b), 0
            while loss(a + step_a, b + step_b) > now + 1e-12 * abs(now) and halvings < 40:
                step_a, step_b, halvings = step_a / 2, step_b / 2, halvings + 1
        a, b = a + step_a, b + step_b
        is_small = abs(step_a) + abs(step_b) < 1e-5 * (1 + abs(a) + abs(b))
        if is_small and g0 * step_a + g1 * step_b < 1e-8 * whole:
            return a, b  # the error is of the order of the last step's square
    return math.nan, math.nan


def reliability(rows: Scored, n_bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Return the reliability table: bins of equal weight by rising score, empty ones left out.

    Notes
    -----
    The table behind a reliability diagram (DeGroot and Fienberg 1983) and behind the calibration error.
    """
    bins, table = bins_of(rows, n_bins), []
    for number in np.unique(bins):
        inside = bins == number
        weight, score = rows.weight[inside], rows.score[inside]
        total = float(weight.sum())
        if total > 0:
            table.append(
                ReliabilityBin(
                    low=float(score.min()),
                    high=float(score.max()),
                    weight=total,
                    score=dot(weight, score) / total,
                    share=dot(weight, rows.y[inside]) / total,
                )
            )
    return tuple(table)
