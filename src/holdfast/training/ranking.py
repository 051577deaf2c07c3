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


def precision_per_entity(rows: Scored) -> Evaluator:
    """Prepare the mean over days of the share of positives among the k entities of the highest scores."""
    if rows.entity is None:
        return lambda weight: math.nan
    order = np.lexsort((-rows.score, rows.entity, rows.day))
    entity, day, score, y = (column[order] for column in (rows.entity, rows.day, rows.score, rows.y))
    groups = np.unique(runs(day, entity)[0])
    days = np.unique(runs(day[groups])[0])
    ends = np.append(days[1:], len(groups))
    entities = int(entity.max()) + 1

    def evaluate(weight: Floats) -> float:
        w = weight[order]
        places = np.maximum.reduceat(w, groups)
        present = w > 0  # a row of weight 0 is not there: neither its score nor its label counts
        highest = np.maximum.reduceat(np.where(present, score, -np.inf), groups)
        positive = np.maximum.reduceat(np.where(present, y, 0.0), groups) > 0
        found = np.zeros(entities, dtype=np.bool_)
        shares = []
        for start, end in zip(days, ends, strict=True):
            at = np.arange(start, end)
            at = at[(places[at] > 0) & ~found[entity[groups[at]]]]
            if not len(at):
                continue
            at = at[np.argsort(-highest[at], kind="stable")]
            seen = sums(places[at])
            full = int(np.searchsorted(seen[1:], rows.k))  # the entity that takes the last place
            if full == len(at):
                whole, share = at, 0.0
            else:
                firsts, lasts = runs(highest[at])
                whole, tied = at[: firsts[full]], at[firsts[full] : lasts[full]]
                left, size = rows.k - seen[firsts[full]], float(places[tied].sum())
                if left >= size:  # they fill the places exactly
                    whole, share = at[: lasts[full]], 0.0
                else:
                    share = left / size * float(places[tied][positive[tied]].sum())
            hits = whole[positive[whole]]
            shares.append((float(places[hits].sum()) + share) / min(float(rows.k), float(seen[-1])))
            found[entity[groups[hits]]] = True
        return float(np.mean(shares)) if shares else math.nan

    return evaluate
