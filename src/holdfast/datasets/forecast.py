"""Forecasts: rows of a grid at several horizons, what they are measured against, and how hard a series is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.datasets.label import Label, attach_labels, window_values
from holdfast.datasets.spine import HORIZON, ROW_KEY, TARGET, Grid, T
from holdfast.events.source import Source

BASELINE = "_baseline"
"""Snapshot column: the value one season before, as known at the row's origin."""
SCALE = "_scale"
"""Snapshot column: mean squared difference of a series from one step to the next over the training part."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """How far a model looks ahead.

    Attributes
    ----------
    horizons : steps of the grid after the origin, from 1: step h is ``[t + (h - 1) every, t + h every)``
    quantiles : asked beside the expected value
    origins : microseconds between the origins that are learnt from and tested on; none means every step
    """

    horizons: tuple[int, ...]
    quantiles: tuple[float, ...] = ()
    origins: int | None = None

    def reach(self, every: int, label: int) -> int:
        """Return how long after an origin the labels of all its horizons are fixed, in microseconds."""
        return (max(self.horizons) - 1) * every + label


def at_horizons(rows: pl.DataFrame, every: int, horizons: Sequence[int]) -> pl.DataFrame:
    """Return each row of a grid once for each horizon, in order, named by its key and the horizon."""
    steps = pl.DataFrame({HORIZON: list(horizons)}, schema={HORIZON: pl.Int64})
    crossed = rows.drop(HORIZON, TARGET).join(steps, how="cross", maintain_order="left_right")
    return crossed.with_columns(
        (pl.col(T) + (pl.col(HORIZON) - 1) * every).alias(TARGET),
        pl.concat_str(ROW_KEY, HORIZON, separator="|").alias(ROW_KEY),
    )


def about(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the instant they are about as `_t`, for what joins outcomes to them."""
    return rows.with_columns(pl.col(TARGET).alias(T))


def seasonal_naive(
    rows: pl.DataFrame, label: Label, source: Source, outcomes: pl.DataFrame, grid: Grid, season: int
) -> NDArray[np.float64]:
    """Return the value of the label one season before what each row is about, as known at its origin.

    Where that window is not over at the origin, as many seasons before as are needed: the last season known
    is repeated over all horizons.

    Returns
    -------
    (n,) float64; NaN where the aggregate is missing.
    """
    assert label.window is not None
    end = pl.col(TARGET) + label.window.window.over
    seasons = -((pl.col(T) - end) // season)  # the least number that brings the end to the origin or before
    ended = rows.with_columns((end - seasons * season).alias(T))
    return window_values(ended, label, source, outcomes, grid.key)


def scales(
    origins: pl.DataFrame,
    label: Label,
    source: Source,
    outcomes: pl.DataFrame,
    grid: Grid,
    *,
    as_of: int,
    train_end: int,
) -> pl.DataFrame:
    """Return how far each series moves from one step to the next, on average, squared.

    Parameters
    ----------
    origins : rows of the grid at every step, from the training part on
    train_end : microseconds; only steps before it are looked at

    Returns
    -------
    The key columns and `_scale`; a series without two steps in a row, or that never moves, has none.

    Notes
    -----
    The denominator of RMSSE (Makridakis, Spiliotis and Assimakopoulos 2022), from the first step after a
    series was first seen on.
    """
    rows = origins.filter(pl.col(T) < train_end)
    labels = attach_labels(rows, label, source, outcomes, as_of=as_of, entity=grid.key)
    keys = list(grid.key)
    steps = rows.select(*keys, T, labels.values.alias("_y")).drop_nulls("_y").sort(*keys, T)
    before = steps.with_columns(
        pl.col("_y").shift(1).over(keys).alias("_before"), pl.col(T).diff().over(keys).alias("_gap")
    )
    moved = before.filter(pl.col("_gap") == grid.every)
    found = moved.group_by(keys).agg(((pl.col("_y") - pl.col("_before")) ** 2).mean().alias(SCALE))
    return found.filter(pl.col(SCALE) > 0)
