"""The leakage probe: features that, alone, know the outcome better than anything honest does.

It looks at the training part, one feature at a time, after a dataset was built and before a model is judged.
It finds evidence, not guilt: a person reads it, and mends the feature or vouches for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.datasets.profile import profile
from holdfast.training.ranking import auc
from holdfast.training.scored import Floats, Scored

Kind = Literal["orders", "settles", "differs"]

ORDERS = 0.95
"""AUC of one feature alone from which it is suspicious; one half is no knowledge, 1 is the label itself."""

SETTLES = 0.02
"""Share of the expected exceptions at or below which a group of rows counts as settled."""

EXPECTED = 50.0
"""Exceptions that a group must be expected to have, so that their absence is not luck: e**-50 by Poisson."""

COMMON = 0.1
"""Least share of exceptions among all rows. Where what is rare is absent, that is no wonder: an old device
without a single fraud is an honest finding, a thousand bookings without a cancellation are not."""

DIFFERS = 5.0
"""Odds ratio between rows where two columns of one vocabulary differ and where they agree."""

DIFFERING = 200
"""Rows that must differ, and agree, before the two are compared."""

FOLDS = 5
SMOOTHING = 20.0
"""Rows of prior that each group's mean is mixed with, so that small groups do not look perfect."""

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One feature, and what it knows that it should perhaps not know.

    Attributes
    ----------
    kind
        ``orders``: its values put nearly all rows in the order of the label. ``settles``: where it has one
        value, the label is nearly always the same. ``differs``: where it differs from a column of the same
        vocabulary, the label is another.
    evidence : the fact, with its numbers, as a sentence
    vetted : why it may be used, in the words of the definition; empty where nobody vouches for it
    """

    feature: str
    kind: Kind
    evidence: str
    vetted: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe found.

    Attributes
    ----------
    alone : AUC of each feature by itself on the training part, either direction, so at least about one half
    suspicions : what stands out, worst first
    """

    alone: dict[str, float]
    suspicions: tuple[Suspicion, ...]

    @property
    def open(self) -> tuple[Suspicion, ...]:
        """Suspicions that nobody vouches for."""
        return tuple(each for each in self.suspicions if not each.vetted)


NOTHING = Probe({}, ())


def probe(
    names: Sequence[str],
    texts: Mapping[str, Sequence[str]],
    x: Floats,
    y: Floats,
    weight: Floats,
    *,
    vetted: Mapping[str, str] | None = None,
) -> Probe:
    """Look at every feature of the training part by itself.

    Parameters
    ----------
    names : names of the k columns
    texts : vocabulary of each categorical one; code ``i + 1`` is entry ``i``, 0 any other text
    x : (n, k) features; missing is NaN
    y : (n,) labels, 0 or 1
    weight : (n,) rows that each one stands for
    vetted : features that may be used although they look like a leak, with the reason

    Notes
    -----
    Values are grouped: a category, one of 20 quantile bins, or missing. The AUC is that of the group's mean
    label, taken from the other four of five folds, or of the value itself where it is a number; so a column
    of many rare categories gains nothing from having seen its own rows. O(n k log n).
    Proof: benchmarks/proof_bookings.py, on bookings whose published columns leak.
    """
    rows = weight > 0
    x, y, weight = x[rows], y[rows], weight[rows]
    total, positive = float(weight.sum()), float(weight[y > 0].sum())
    if not 0 < positive < total:
        return NOTHING
    alone: dict[str, float] = {}
    found: list[tuple[float, Suspicion]] = []
    for at, name in enumerate(names):
        groups, labels = _groups(name, x[:, at], texts.get(name))
        alone[name] = _alone(x[:, at], groups, y, weight, name in texts)
        if alone[name] >= ORDERS:
            words = f"alone it orders the training rows with AUC {alone[name]:.3f}; {ORDERS:g} is suspicious"
            found.append((2.0 + alone[name], Suspicion(name, "orders", words)))
        else:
            found += _settled(name, groups, labels, y, weight)
    found += _pairs(names, texts, x, y, weight, alone)
    reasons = vetted or {}
    ranked = sorted(found, key=lambda each: (-each[0], each[1].feature, each[1].evidence))
    return Probe(alone, tuple(replace(each, vetted=reasons.get(each.feature, "")) for _, each in ranked))


def _groups(name: str, values: Floats, texts: Sequence[str] | None) -> tuple[Codes, list[str]]:
    """Return (n,) group of each value, and the groups in words; missing is the last one."""
    missing = np.isnan(values)
    if texts is not None:
        labels = ["is none of its known texts", *(f"is {text!r}" for text in texts)]
        groups = np.where(missing, len(labels), values).astype(np.int64)
        return groups, [*labels, "is missing"]
    edges = np.array(profile((name,), (), values[:, np.newaxis], np.zeros(0)).columns[0].edges)
    groups = np.searchsorted(edges, values, side="right")
    labels = []
    for group in range(len(edges) + 1):
        inside = values[~missing & (groups == group)]
        low, high = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)
        labels.append(f"is {low:g}" if low == high else f"is between {low:g} and {high:g}")
    return np.where(missing, len(labels), groups).astype(np.int64), [*labels, "is missing"]


def _alone(values: Floats, groups: Codes, y: Floats, weight: Floats, categorical: bool) -> float:
    """Return the AUC of the out-of-fold mean label per group, or of the value where that is higher."""
    n = int(groups.max()) + 1
    fold = np.arange(len(y)) % FOLDS
    cell = groups * FOLDS + fold
    rows = np.bincount(cell, weight, n * FOLDS).reshape(n, FOLDS)
    hits = np.bincount(cell, weight * y, n * FOLDS).reshape(n, FOLDS)
    others, of_others = rows.sum(1, keepdims=True) - rows, hits.sum(1, keepdims=True) - hits
    prior = of_others.sum(0) / np.maximum(others.sum(0), 1e-300)
    means = (of_others + SMOOTHING * prior) / (others + SMOOTHING)
    best = _auc(means[groups, fold], y, weight)
    present = ~np.isnan(values)
    if not categorical and present.all():
        raw = _auc(values, y, weight)
        best = max(best, raw, 1.0 - raw)
    return best


def _auc(score: Floats, y: Floats, weight: Floats) -> float:
    return auc(Scored(y, score, weight, np.zeros(len(y), np.int64)))(weight)


def _settled(
    name: str, groups: Codes, labels: Sequence[str], y: Floats, weight: Floats
) -> Iterator[tuple[float, Suspicion]]:
    """Yield the groups in which the label is nearly always the same, the largest ones of each side."""
    rows = np.bincount(groups, weight, len(labels))
    hits = np.bincount(groups, weight * y, len(labels))
    base = float(hits.sum() / rows.sum())
    for side, exceptions, share in ((1, rows - hits, 1.0 - base), (0, hits, base)):
        if share < COMMON:
            continue
        expected = rows * share
        settled = np.flatnonzero((expected >= EXPECTED) & (exceptions <= SETTLES * expected))
        if settled.size:
            worst = int(settled[np.argmax(expected[settled])])
            more = (
                f", and so where it {labels[settled[0]]}" if settled.size == 2 and settled[0] != worst else ""
            )
            more = f", and in {settled.size - 1} more groups" if settled.size > 2 else more
            words = (
                f"where it {labels[worst]} the label is {side} for all but {exceptions[worst]:,.6g} of "
                f"{rows[worst]:,.6g} rows, where {expected[worst]:,.0f} exceptions are usual{more}"
            )
            yield 1.0 + float(rows[worst] / rows.sum()), Suspicion(name, "settles", words)


def _pairs(
    names: Sequence[str],
    texts: Mapping[str, Sequence[str]],
    x: Floats,
    y: Floats,
    weight: Floats,
    alone: Mapping[str, float],
) -> Iterator[tuple[float, Suspicion]]:
    """Yield pairs of columns of one vocabulary that differ in few rows, and there know the label.

    Such a pair is what a correction leaves behind: what was asked for, and what was given in the end. Of the
    two, the one that knows more of the label by itself is named.
    """
    columns = [name for name in names if name in texts]
    for pair in combinations(columns, 2):
        one, other = sorted(pair, key=lambda name: (alone[name], name))
        known = set(texts[one]) & set(texts[other])
        if 2 * len(known) < max(len(texts[one]), len(texts[other])):
            continue
        a, b = (x[:, list(names).index(name)] for name in (one, other))
        ids = {text: at for at, text in enumerate(sorted(known))}
        left, right = (_by_text(v, texts[name], ids) for v, name in ((a, one), (b, other)))
        both = (left >= 0) & (right >= 0)
        differ = both & (left != right)
        agree = both & (left == right)
        if not DIFFERING <= differ.sum() <= agree.sum():
            continue
        odds = []
        for part in (differ, agree):
            hits, rows = float((weight * y)[part].sum()), float(weight[part].sum())
            odds.append((hits + 0.5) / (rows - hits + 0.5))
        ratio = max(odds[0] / odds[1], odds[1] / odds[0])
        if ratio >= DIFFERS:
            shares = [float((weight * y)[part].sum() / weight[part].sum()) for part in (differ, agree)]
            words = (
                f"it differs from `{one}` in {int(differ.sum()):,} of {len(y):,} rows; there the label is 1 "
                f"for {shares[0]:.1%}, elsewhere for {shares[1]:.1%}: was it corrected afterwards?"
            )
            yield 1.0, Suspicion(other, "differs", words)


def _by_text(values: Floats, texts: Sequence[str], ids: Mapping[str, int]) -> Codes:
    """Return (n,) number of each value's text, -1 where it is missing or not shared."""
    table = np.array([-1, *(ids.get(text, -1) for text in texts), -1], np.int64)
    return table[np.where(np.isnan(values), len(table) - 1, values).astype(np.int64)]
