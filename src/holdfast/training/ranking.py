"""Metrics of the order of scores. Rows of equal score count together, so the order of rows never matters.

Each function sorts once and returns the metric as a function of the weights alone.
"""

from __future__ import annotations

import math

import numpy as np

from holdfast.training.scored import Evaluator, Floats, Scored, dot, ratio, runs, sums


def average_precision(rows: Scored) -> Evaluator:
    """Prepare the sum of precision over gains in recall."""
    order = np.argsort(-rows.score, kind="stable")
    is_positive = rows.y[order] > 0
    positives = order[is_positive]
    seen = runs(rows.score[order])[1][is_positive]  # rows that score at least as much as each positive,
    hit = runs(rows.score[positives])[1]  # and how many of them are positive

    def evaluate(weight: Floats) -> float:
        w = weight[positives]
        hits, reached = sums(w), sums(weight[order])[seen]
        precision = np.divide(hits[hit], reached, out=np.zeros_like(reached), where=reached > 0)
        return ratio(dot(w, precision), float(hits[-1]))

    return evaluate


def auc(rows: Scored) -> Evaluator:
    """Prepare the share of pairs of a positive and a negative row in the right order."""
    positives, negatives = np.flatnonzero(rows.y > 0), np.flatnonzero(rows.y <= 0)
    negatives = negatives[np.argsort(rows.score[negatives], kind="stable")]
    lower = np.searchsorted(rows.score[negatives], rows.score[positives], side="left")
    upper = np.searchsorted(rows.score[negatives], rows.score[positives], side="right")

    def evaluate(weight: Floats) -> float:
        w, below = weight[positives], sums(weight[negatives])
        won = (below[lower] + below[upper]) / 2
        return ratio(dot(w, won), float(w.sum() * below[-1]))

    return evaluate


def precision_per_day(rows: Scored) -> Evaluator:
    """Prepare the mean over days of the share of positives among the k highest scores."""
    order = np.lexsort((-rows.score, rows.day))
    is_positive = rows.y[order] > 0
    positives, n_positives = order[is_positive], np.append(0, np.cumsum(is_positive))
    tie_starts, tie_ends = runs(rows.day[order], rows.score[order])
    starts, ends = (np.unique(edges) for edges in runs(rows.day[order]))

    def evaluate(weight: Floats) -> float:
        seen, hits = sums(weight[order]), sums(weight[positives])[n_positives]
        full = np.searchsorted(seen[1:], seen[starts] + rows.k)  # the row that takes the last place
        taken, found = seen[ends] - seen[starts], hits[ends] - hits[starts]
        cut = full < ends
        first, last = tie_starts[full[cut]], tie_ends[full[cut]]
        left = rows.k - (seen[first] - seen[starts[cut]])
        share = (hits[last] - hits[first]) / (seen[last] - seen[first])
        found[cut] = hits[first] - hits[starts[cut]] + left * share
        taken[cut] = rows.k
        has_rows = taken > 0
        return float(np.mean(found[has_rows] / taken[has_rows])) if has_rows.any() else math.nan

    return evaluate
