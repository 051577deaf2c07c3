"""Spines: the rows to enrich, either events of a source or a grid of entities over time."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from holdfast.events.entity import Entity
from holdfast.events.source import ARRIVED, Source
from holdfast.kernel.errors import DefinitionError
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import format_instant

T = "_t"
"""Prediction time of a spine row, int64 microseconds: bounds event time, strictly."""
KNOWN_AT = "_known_at"
"""Instant of knowledge of a spine row, int64 microseconds: bounds arrival time."""
ROW_KEY = "_key"
"""Text that identifies a spine row: the event id, or the joined keys and time of a grid row."""
AT = "at"
"""Name of the column that holds the prediction time of a grid row: its origin."""
HORIZON = "horizon"
"""Name of the column that says which step after the origin a grid row is about, from 1."""
TARGET = "target"
"""Name of the column that holds the instant at which that step begins."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Every combination of entities seen in a source, at regular instants.

    Attributes
    ----------
    source : where the entities are seen
    entities : whose keys form the rows
    every : microseconds between the rows of one combination, on the UTC epoch
    include_zero
        True keeps every instant after a combination was first seen; False only those with an event in
        ``[t - every, t)``. Seen means as known: the event had arrived by the instant.
    """

    name: str
    source: str
    entities: tuple[Entity, ...]
    every: int
    include_zero: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        """Key columns of a row, without repeats."""
        return tuple(dict.fromkeys(column for entity in self.entities for column in entity.key))

    def schema(self, source: Schema) -> Schema:
        """Return the columns of a grid row: the keys, its origin, its horizon and its target."""
        keys = tuple(source.get(name) for name in self.key)
        own = (Column(AT, "time", role="event_time"), Column(HORIZON, "int", ge=1))
        return Schema(self.name, (*keys, *own, Column(TARGET, "time", role="target_time")))


def event_time_of(schema: Schema) -> str:
    """Return the name of the event-time column.

    Raises
    ------
    DefinitionError
        If the schema has none.
    """
    return _named(schema, schema.event_time, "event time")


def event_id_of(schema: Schema) -> str:
    """Return the name of the event-id column.

    Raises
    ------
    DefinitionError
        If the schema has none.
    """
    return _named(schema, schema.event_id, "event id")


def _named(schema: Schema, column: Column | None, what: str) -> str:
    if column is None:
        raise DefinitionError(f"schema `{schema.name}` has no {what}.", code="HF111", has=schema.names)
    return column.name


def event_spine(source: Source, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the events of a source as rows to enrich.

    Parameters
    ----------
    frame : rows of the source's lake table, with their arrival time

    Returns
    -------
    The same rows and order, with ``_t`` (event time), ``_known_at`` (the event's own arrival) and ``_key``
    (event id as text) added.
    """
    return frame.with_columns(
        pl.col(event_time_of(source.schema)).to_physical().alias(T),
        pl.col(ARRIVED).alias(KNOWN_AT),
        pl.col(event_id_of(source.schema)).cast(pl.String).alias(ROW_KEY),
    )


def grid_spine(grid: Grid, source: Source, frame: pl.DataFrame, start: int, end: int) -> pl.DataFrame:
    """Return the rows of a grid whose prediction time lies in ``[start, end)``.

    A combination has rows from the first instant at which an event of it lay before the instant and had
    arrived by it, so what arrives later never adds a row to the past. Events with a null key make no row.

    Parameters
    ----------
    frame : rows of the source's lake table, with their arrival time
    start, end : microseconds

    Returns
    -------
    Rows by combination and time: the keys, ``at``, ``horizon`` (1) and ``target``, ``_t`` and ``_known_at``
    (all four times the same instant) and ``_key``.
    """
    when = pl.col(event_time_of(source.schema)).to_physical()
    keys = list(grid.key)
    # An event may place a row at `t` from the moment it is both past (`when < t`) and known (arrival <= t).
    seen = pl.max_horizontal(when + 1, pl.col(ARRIVED))
    events = frame.select(
        *keys,
        _up(seen, grid.every).alias("_first"),
        # The one instant whose preceding step holds the event: the least multiple of `every` after it.
        _up(when + 1, grid.every).alias("_step"),
    ).drop_nulls()
    if grid.include_zero:
        first = _up(pl.lit(start, pl.Int64), grid.every)
        rows = (
            events.group_by(keys)
            .agg(pl.max_horizontal(pl.col("_first").min(), first).alias("_from"))
            .filter(pl.col("_from") < end)
            .with_columns(pl.int_ranges("_from", pl.lit(end, pl.Int64), grid.every).alias(AT))
            .explode(AT, empty_as_null=False, keep_nulls=False)
            .drop("_from")
        )
    else:
        rows = (
            events.filter(pl.col("_first") == pl.col("_step"), pl.col("_step").is_between(start, end, "left"))
            .select(*keys, pl.col("_step").alias(AT))
            .unique()
        )
    instants = rows.select(pl.col(AT).unique())
    texts = instants.with_columns(
        pl.Series("_text", [format_instant(at) for at in instants[AT].to_list()], dtype=pl.String)
    )
    escaped = [pl.col(name).cast(pl.String).str.replace_all(r"([\\|])", r"\$1") for name in keys]
    return (
        rows.join(texts, on=AT, how="left")
        .sort(*keys, AT)
        .select(
            *keys,
            AT,
            pl.lit(1, pl.Int64).alias(HORIZON),
            pl.col(AT).alias(TARGET),
            pl.col(AT).alias(T),
            pl.col(AT).alias(KNOWN_AT),
            pl.concat_str(*escaped, "_text", separator="|").alias(ROW_KEY),
        )
    )


def _up(instant: pl.Expr, every: int) -> pl.Expr:
    """Return the least multiple of `every` at or after the instant."""
    return -((-instant) // every) * every
