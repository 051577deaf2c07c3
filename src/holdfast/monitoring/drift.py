"""Drift: what a model is asked now beside what it was trained on, feature by feature.

A difference counts when it is both large and certain. How large is stated in units of effect (a share of
missing values, a PSI), how certain against what the two sample sizes alone would give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.datasets.profile import ColumnProfile

LARGE_PSI = 0.25
"""Population stability index from which a distribution is said to be another one."""
LARGE_SHARE = 0.02
"""Change of the share of missing values that matters."""
CERTAIN = 5.0
"""Standard deviations beyond chance from which a difference is believed."""
ENOUGH = 200
"""Rows below which nothing is marked."""
_HALF = 0.5  # added to every bin, so that an empty one has a finite logarithm

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One feature, or the score, then and now.

    Attributes
    ----------
    rows : values looked at now, missing ones included
    missing_then, missing_now : shares
    psi : over the bins of the profile, or the codes of a category; none where one side has no values
    chance : the PSI that samples of these sizes reach by chance in fewer than one of a million looks, about
    why : the evidence that marks it, in words; empty where it is not marked
    """

    name: str
    kind: str
    rows: int
    missing_then: float
    missing_now: float
    psi: float | None
    chance: float | None
    mean_then: float | None
    mean_now: float | None
    why: str = ""

    @property
    def is_marked(self) -> bool:
        """Whether the difference is large and certain."""
        return bool(self.why)


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All features of a version, marked ones first, then by PSI.

    Attributes
    ----------
    since, until : microseconds of the answers that were looked at, half-open
    rows : answers in the interval
    """

    model: str
    version: int
    since: int
    until: int
    rows: int
    columns: tuple[ColumnDrift, ...]

    @property
    def marked(self) -> tuple[ColumnDrift, ...]:
        """The columns whose difference is large and certain."""
        return tuple(column for column in self.columns if column.is_marked)


def compare(profiles: Sequence[ColumnProfile], x: Floats) -> tuple[ColumnDrift, ...]:
    """Compare (n, k) values with the profiles of their k columns; marked ones first, then by PSI."""
    found = [compare_column(profile, x[:, at]) for at, profile in enumerate(profiles)]
    return tuple(sorted(found, key=lambda each: (not each.is_marked, -(each.psi or 0.0), each.name)))


def compare_column(profile: ColumnProfile, values: Floats) -> ColumnDrift:
    """Compare the (n,) values of one column with its profile; missing is NaN."""
    present = values[~np.isnan(values)]
    is_number = profile.kind == "numeric"  # a mean of codes would say nothing
    n, gone = int(values.size), int(values.size - present.size)
    then = profile.missing / profile.rows if profile.rows else 0.0
    now = gone / n if n else 0.0
    psi = chance = None
    had = profile.rows - profile.missing
    if present.size and had:
        before, after = _counts(profile, present)
        psi, chance = stability_index(before, after)
    found = ColumnDrift(
        profile.name,
        profile.kind,
        n,
        then,
        now,
        psi,
        chance,
        profile.mean if is_number else None,
        float(present.mean()) if present.size and is_number else None,
    )
    why = "; ".join(_reasons(found, profile.rows))
    return found if not why else _marked(found, why)


def _marked(found: ColumnDrift, why: str) -> ColumnDrift:
    return ColumnDrift(
        found.name,
        found.kind,
        found.rows,
        found.missing_then,
        found.missing_now,
        found.psi,
        found.chance,
        found.mean_then,
        found.mean_now,
        why,
    )


def _reasons(found: ColumnDrift, rows_then: int) -> list[str]:
    reasons: list[str] = []
    if found.rows < ENOUGH or rows_then < ENOUGH:
        return reasons
    change = found.missing_now - found.missing_then
    if abs(change) >= LARGE_SHARE and abs(change) > CERTAIN * _share_deviation(found, rows_then):
        reasons.append(f"missing {found.missing_then:.1%} -> {found.missing_now:.1%}")
    if found.psi is not None and found.chance is not None and found.psi >= max(LARGE_PSI, found.chance):
        reasons.append(f"PSI {found.psi:.2f} >= {LARGE_PSI}, by chance below {found.chance:.2f}")
    return reasons


def _share_deviation(found: ColumnDrift, rows_then: int) -> float:
    """Return the standard deviation of a difference of shares, if both were the same."""
    total = found.rows + rows_then
    share = (found.missing_now * found.rows + found.missing_then * rows_then) / total
    return math.sqrt(share * (1 - share) * (1 / found.rows + 1 / rows_then))


def _counts(profile: ColumnProfile, present: Floats) -> tuple[Floats, Floats]:
    """Return the counts of the profile's bins then and now, codes not seen then in bins of their own."""
    if profile.kind == "categorical":
        after = np.bincount(present.astype(np.int64), minlength=len(profile.counts))
        before = np.zeros(after.size)
        before[: len(profile.counts)] = profile.counts
        used = (before > 0) | (after > 0)
        return before[used], after[used].astype(np.float64)
    bins = np.searchsorted(np.array(profile.edges, np.float64), present, side="right")
    after = np.bincount(bins, minlength=len(profile.counts))
    return np.array(profile.counts, np.float64), after.astype(np.float64)


def stability_index(before: Floats, after: Floats) -> tuple[float, float]:
    """Return the population stability index of two histograms, and what chance alone would hardly reach.

    Parameters
    ----------
    before, after : (b,) counts of the same bins

    Notes
    -----
    PSI is the symmetric Kullback-Leibler divergence. Between samples of one distribution it is about a
    chi-square of b - 1 degrees of freedom times (1/n + 1/m).
    """
    n, m, bins = before.sum(), after.sum(), before.size
    p, q = (before + _HALF) / (n + _HALF * bins), (after + _HALF) / (m + _HALF * bins)
    index = float(((q - p) * np.log(q / p)).sum())
    free = bins - 1
    return index, float((free + CERTAIN * math.sqrt(2 * free)) * (1 / n + 1 / m))
