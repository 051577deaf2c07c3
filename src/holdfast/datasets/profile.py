"""Profiles: per-column summaries of a dataset, against which later data is compared."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 20
"""Greatest number of bins of a numeric column."""


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """Summary of one feature over the training part; mean and std (ddof 1) are none where not finite.

    Attributes
    ----------
    kind : ``numeric`` or ``categorical``
    edges
        Inner bin edges (up to 19, strictly increasing) at quantiles of the non-missing values. The first lies
        above the minimum, so every bin of the training part holds something.
    counts
        Values per bin, ``len(edges) + 1`` of them; bin i holds ``edges[i-1] <= v < edges[i]``. For a
        categorical feature `edges` is empty and `counts` is per code.
    """

    name: str
    kind: str
    rows: int
    missing: int
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """Summaries of all features, and the share of positive labels where labels are binary."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    label_mean: float | None


def profile(
    names: Sequence[str], categorical: Collection[str], x: NDArray[np.float64], y: NDArray[np.float64]
) -> Profile:
    """Summarise the training part of a dataset.

    Parameters
    ----------
    names : names of the k columns
    categorical : those of them that hold vocabulary codes
    x : (n, k) features of the training rows; missing is NaN
    y : (n,) labels of the training rows

    Notes
    -----
    The bins are order statistics, so they depend on the multiset of values and on nothing else.
    """
    columns = tuple(_column(name, name in categorical, x[:, index]) for index, name in enumerate(names))
    binary = y.size > 0 and bool(np.isin(y, (0.0, 1.0)).all())
    return Profile(int(x.shape[0]), columns, float(y.mean()) if binary else None)


def _column(name: str, categorical: bool, values: NDArray[np.float64]) -> ColumnProfile:
    present = np.sort(values[~np.isnan(values)])
    rows, missing = int(values.size), int(values.size - present.size)
    edges: tuple[float, ...] = ()
    if present.size == 0:
        counts: tuple[int, ...] = () if categorical else (0,)
    elif categorical:
        counts = tuple(np.bincount(present.astype(np.int64)).tolist())
    else:
        edges = _edges(present)
        inside = np.searchsorted(present, np.array(edges, dtype=np.float64), side="left")
        counts = tuple(np.diff(np.concatenate(([0], inside, [present.size]))).tolist())
    with np.errstate(over="ignore", invalid="ignore"):
        mean = _finite(present.mean()) if present.size else None
        std = _finite(present.std(ddof=1)) if present.size > 1 else None
    return ColumnProfile(
        name=name,
        kind="categorical" if categorical else "numeric",
        rows=rows,
        missing=missing,
        mean=mean,
        std=std,
        minimum=float(present[0]) if present.size else None,
        maximum=float(present[-1]) if present.size else None,
        edges=edges,
        counts=counts,
    )


def _edges(present: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the inner edges of sorted values: quantiles, or the value after the minimum where one is it."""
    positions = np.arange(1, BINS) * present.size // BINS
    above = int(np.searchsorted(present, present[0], side="right"))
    positions = np.maximum(positions, above)
    return tuple(np.unique(present[positions[positions < present.size]]).tolist())


def _finite(value: np.floating) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
