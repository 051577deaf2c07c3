"""Forecasts scored: the series of each row, and every metric at each horizon beside the baseline's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.datasets.forecast import BASELINE, SCALE
from holdfast.datasets.snapshot import PART, ROW_PREFIX, Snapshot
from holdfast.datasets.spine import HORIZON
from holdfast.training.metric import evaluate
from holdfast.training.scored import Scored


@dataclass(frozen=True, slots=True)
class AtHorizon:
    """What measured rows say of one horizon.

    Attributes
    ----------
    horizon : steps after the origin, from 1
    rows : number of those rows at it
    metrics, baseline, champion : values by name, None where not defined
    """

    horizon: int
    rows: int
    metrics: dict[str, float | None]
    baseline: dict[str, float | None]
    champion: dict[str, float | None] | None = None


def known_of(snapshot: Snapshot) -> NDArray[np.float64] | None:
    """Return the values of one season before each test row, or None where the dataset keeps none."""
    if BASELINE not in snapshot.frame.columns:
        return None
    return _test(snapshot)[BASELINE].to_numpy().astype(np.float64)


def as_series(scored: Scored, snapshot: Snapshot) -> Scored:
    """Return the scored test rows with their series and its scale, where the dataset is of a forecast."""
    recipe = snapshot.recipe
    if recipe.forecast is None or recipe.grid is None:
        return scored
    return in_series(scored, _test(snapshot), [f"{ROW_PREFIX}{name}" for name in recipe.grid.key])


def in_series(scored: Scored, rows: pl.DataFrame, keys: Sequence[str]) -> Scored:
    """Return scored rows with their series, which `keys` name, and its scale, column `_scale` of the rows."""
    series = rows.select(pl.struct(keys).rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()
    scale = rows[SCALE].fill_null(math.nan).to_numpy().astype(np.float64)
    return replace(scored, series=series, scale=scale)


def scales_of(snapshot: Snapshot) -> pl.DataFrame:
    """Return the scale of each series of a forecast's dataset: the key columns and `_scale`."""
    assert snapshot.recipe.grid is not None
    keys = [pl.col(f"{ROW_PREFIX}{name}").alias(name) for name in snapshot.recipe.grid.key]
    return snapshot.frame.select(*keys, SCALE).unique()


def by_horizon(
    snapshot: Snapshot, candidate: Scored, baseline: Scored, champion: Scored | None
) -> tuple[AtHorizon, ...]:
    """Return the metrics of the test part at each horizon; empty unless the dataset is of a forecast."""
    if snapshot.recipe.forecast is None:
        return ()
    horizon = _test(snapshot)[f"{ROW_PREFIX}{HORIZON}"].to_numpy()
    return at_each(horizon, candidate, baseline, champion)


def at_each(
    horizon: NDArray[np.int64], candidate: Scored, baseline: Scored, champion: Scored | None = None
) -> tuple[AtHorizon, ...]:
    """Return the metrics of the rows at each horizon there is, rising; all are of the same rows, in order."""
    found = []
    for step in np.unique(horizon):
        here = horizon == step
        found.append(
            AtHorizon(
                int(step),
                int(here.sum()),
                _values(candidate, here),
                _values(baseline, here),
                None if champion is None else _values(champion, here),
            )
        )
    return tuple(found)


def _values(rows: Scored, here: NDArray[np.bool_]) -> dict[str, float | None]:
    assert rows.series is not None
    assert rows.scale is not None
    # Numbered anew, so that a metric per series finds no series without rows.
    series = np.unique(rows.series[here], return_inverse=True)[1].astype(np.int64)
    part = Scored(
        rows.y[here], rows.score[here], rows.weight[here], rows.day[here],
        series=series, scale=rows.scale[here],
    )  # fmt: skip
    found: Mapping[str, float] = evaluate(part, "regression")
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _test(snapshot: Snapshot) -> pl.DataFrame:
    return snapshot.frame.filter(pl.col(PART) == "test")
