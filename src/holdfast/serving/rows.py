"""Rows to predict in batch: the events of a source in an interval, or a grid at every horizon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from holdfast.datasets.forecast import Forecast, at_horizons
from holdfast.datasets.spine import Grid, T, event_spine, event_time_of, grid_spine
from holdfast.events.source import ARRIVED, BATCH, Source
from holdfast.serving.ports import PredictionLake


@dataclass(frozen=True, slots=True)
class GridRows:
    """Rows of a grid, as a version was trained on them.

    Attributes
    ----------
    source : where the grid's entities are seen
    forecast : horizons; none predicts the one step after each instant
    """

    grid: Grid
    source: Source
    forecast: Forecast | None


def rows_to_predict(
    spine: Source | GridRows, lake: PredictionLake, since: int | None, until: int | None, known_batch: int
) -> pl.DataFrame:
    """Return the rows whose time lies in ``[since, until)``, with ``_t``, ``_known_at`` and ``_key``.

    Parameters
    ----------
    since, until
        Microseconds. None leaves the interval open; of a grid, without both, only the last origin is asked:
        the latest instant of it at or before the last arrival.
    known_batch : rows of later batches are not looked at
    """
    if isinstance(spine, Source):
        return event_spine(spine, _events(spine, lake, since, until, known_batch))
    grid, source = spine.grid, spine.source
    time = event_time_of(source.schema)
    seen = lake.read(source.name, [*grid.key, time, ARRIVED], where=pl.col(BATCH) <= known_batch)
    first, latest = seen[time].to_physical().min(), seen[ARRIVED].max()
    if first is None or latest is None:
        return grid_spine(grid, source, seen, 0, 0)
    last = int(latest) // grid.every * grid.every  # type: ignore[arg-type]
    low = int(first) if since is None else since  # type: ignore[arg-type]
    if since is None and until is None:
        low = last
    rows = grid_spine(grid, source, seen, low, last + 1 if until is None else min(until, last + 1))
    return rows if spine.forecast is None else at_horizons(rows, grid.every, spine.forecast.horizons)


def span_of(spine: Source | GridRows, lake: PredictionLake, known_batch: int) -> tuple[int, int] | None:
    """Return the first and the last time of the rows that can be predicted, None where there are none."""
    source, keys = (spine, ()) if isinstance(spine, Source) else (spine.source, spine.grid.key)
    time = event_time_of(source.schema)
    seen = lake.read(source.name, [*keys, time, ARRIVED], where=pl.col(BATCH) <= known_batch)
    if not seen.height:
        return None
    times = seen[time].to_physical()
    if isinstance(spine, GridRows):
        grid, first = spine.grid, _ends(times)[0]
        last = _ends(seen[ARRIVED])[1] // grid.every * grid.every
        if grid.include_zero:  # rows of the event that was first seen are at every instant that has any
            known = pl.max_horizontal(pl.col(time).to_physical() + 1, pl.col(ARRIVED))
            seen = seen.drop_nulls().sort(known).head(1)
        times = grid_spine(grid, source, seen, first, last + 1)[T]
    return _ends(times) if len(times) else None


def _ends(instants: pl.Series) -> tuple[int, int]:
    found: tuple[Any, Any] = (instants.min(), instants.max())
    return int(found[0]), int(found[1])


def _events(
    source: Source, lake: PredictionLake, since: int | None, until: int | None, known_batch: int
) -> pl.DataFrame:
    when = pl.col(event_time_of(source.schema))
    inside = pl.col(BATCH) <= known_batch
    if since is not None:
        inside = inside & (when >= _instant(since))
    if until is not None:
        inside = inside & (when < _instant(until))
    return lake.read(source.name, [*source.schema.names, ARRIVED], where=inside)


def _instant(us: int) -> pl.Expr:
    return pl.lit(us, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
