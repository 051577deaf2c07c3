"""Duplicates of loaded rows: the same event once, found by (event day, id) among the rows of the lake."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.ports import Lake
from holdfast.events.source import Source
from holdfast.kernel.time import DAY

REMEMBERED_ROWS = 16_000_000
"""Rows whose ids one run remembers, 16 bytes each; ids of other days are read again from the lake."""

FEW_IDS = 10_000
"""Number of ids up to which the lake is asked for these alone."""

NEW, DUPLICATE, CLASH = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Fate:
    """(n,) whether each row is new, a duplicate, or clashes with other content; a sentence for each clash."""

    kind: NDArray[np.uint8]
    messages: list[str]


@dataclass(slots=True)
class Memory:
    """What is known of earlier events of one source, found by (event day, id).

    Hashes of ids are kept by day, at most `REMEMBERED_ROWS` of them, days least recently used forgotten
    first; they only say where to look. A row is compared with the stored row itself. A dry run stores nothing
    to compare with, so rows of its own are compared by 64-bit hashes of their content.

    Attributes
    ----------
    among : which rows of the lake are looked at, by a filter; none means all
    """

    source: Source
    lake: Lake
    dry_run: bool = False
    among: pl.Expr | None = None
    days: OrderedDict[int, pl.DataFrame] = field(default_factory=OrderedDict)
    size: int = 0

    @property
    def _id(self) -> str:
        assert self.source.schema.event_id is not None
        return self.source.schema.event_id.name

    @property
    def _at(self) -> str:
        assert self.source.schema.event_time is not None
        return self.source.schema.event_time.name

    @property
    def _content(self) -> list[str]:
        return [name for name in self.source.schema.names if name != self._id]

    def compare(self, rows: pl.DataFrame) -> Fate:
        """Compare rows with one another, and with what the run and the lake hold."""
        kind = np.zeros(rows.height, np.uint8)
        messages: dict[int, str] = {}
        rows = rows.with_row_index("_row").with_columns(self._day().alias("_day"))
        rows = rows.with_columns(rows[self._id].hash(0).alias("_key"))
        self._compare_known(rows, kind, messages)
        self._compare_within(rows.filter(pl.Series(kind == NEW)), kind, messages)
        return Fate(kind, [messages[int(row)] for row in np.flatnonzero(kind == CLASH)])

    def add(self, rows: pl.DataFrame) -> None:
        """Remember rows as stored."""
        keys = rows.select(
            self._day().alias("_day"),
            pl.col(self._id).hash(0).alias("_key"),
            pl.Series("_hash", self._hashes(rows), dtype=pl.UInt64),
        )
        for (day,), part in keys.partition_by("_day", as_dict=True, include_key=False).items():
            known = self.days.get(day)
            self.days[day] = part if known is None else pl.concat([known, part], rechunk=False)
            self.days.move_to_end(day)
            self.size += part.height
        while self.size > REMEMBERED_ROWS and len(self.days) > 1 and not self.dry_run:
            _, forgotten = self.days.popitem(last=False)
            self.size -= forgotten.height

    def _hashes(self, rows: pl.DataFrame) -> pl.Series:
        if self.dry_run:
            return rows.select(self._content).hash_rows(0)
        return pl.repeat(0, rows.height, dtype=pl.UInt64, eager=True)

    def _day(self) -> pl.Expr:
        return pl.col(self._at).to_physical() // DAY

    def _compare_known(self, rows: pl.DataFrame, kind: NDArray[np.uint8], messages: dict[int, str]) -> None:
        days = rows["_day"].unique().sort().to_list()
        self._recall([day for day in days if day not in self.days])
        for day in days:
            self.days.move_to_end(day)
        known = pl.concat(
            [self.days[day].with_columns(pl.lit(day, pl.Int64).alias("_day")) for day in days], rechunk=False
        )
        if not known.height:
            return
        maybe = rows.join(known.select("_day", "_key").unique(), on=["_day", "_key"], how="semi")
        if not maybe.height:
            return
        settled = self._compare_stored(maybe, kind, messages)
        if self.dry_run:
            own = maybe.join(settled, on="_row", how="anti")
            own = own.with_columns(self._hashes(own).alias("_hash"))
            pairs = own.join(known, on=["_day", "_key"], suffix="_known")
            same = (pairs["_hash"] == pairs["_hash_known"]).to_numpy()
            kind[pairs["_row"].to_numpy()] = np.where(same, DUPLICATE, CLASH)
            for row, name in pairs.filter(~same).select("_row", self._id).rows():
                messages[row] = f"`{self._id}` {name!r} was seen with different content."

    def _compare_stored(
        self, maybe: pl.DataFrame, kind: NDArray[np.uint8], messages: dict[int, str]
    ) -> pl.DataFrame:
        """Compare with the rows of the lake; return which rows were found there."""
        ids = maybe[self._id] if maybe.height <= FEW_IDS else None
        stored = self._stored(maybe["_day"].unique().to_list(), list(self.source.schema.names), ids)
        if stored is None:
            return maybe.select("_row").clear()
        first = stored.unique([self._id, "_day"], keep="any")
        pairs = maybe.join(first, on=["_day", self._id], how="inner", suffix="_stored")
        self._settle(pairs, "_stored", kind, messages)
        return pairs.select("_row")

    def _compare_within(self, rows: pl.DataFrame, kind: NDArray[np.uint8], messages: dict[int, str]) -> None:
        if rows["_key"].n_unique() == rows.height:
            return
        first = rows.unique(["_day", self._id], keep="first", maintain_order=True)
        if first.height == rows.height:
            return
        later = rows.join(first.select("_row"), on="_row", how="anti")
        self._settle(
            later.join(first, on=["_day", self._id], how="inner", suffix="_stored"), "_stored", kind, messages
        )

    def _settle(
        self, pairs: pl.DataFrame, suffix: str, kind: NDArray[np.uint8], messages: dict[int, str]
    ) -> None:
        """Decide pairs of a row and an earlier one of the same id."""
        if not pairs.height:
            return
        differs = pairs.select(
            "_row", self._id, *(pl.col(name).ne_missing(pl.col(name + suffix)) for name in self._content)
        )
        any_differs = differs.select(pl.any_horizontal(self._content)).to_series()
        kind[pairs["_row"].to_numpy()] = np.where(any_differs.to_numpy(), CLASH, DUPLICATE)
        for row in differs.filter(any_differs).to_dicts():
            listed = ", ".join(f"`{name}`" for name in self._content if row[name])
            messages[row["_row"]] = (
                f"`{self._id}` {row[self._id]!r} was seen with different content in {listed}."
            )

    def _recall(self, days: list[int]) -> None:
        """Read the ids of days that are not remembered."""
        if not days:
            return
        stored = self._stored(days, [self._id, self._at])
        found = (
            {}
            if stored is None
            else stored.select(
                "_day",
                pl.col(self._id).hash(0).alias("_key"),
                pl.lit(0, pl.UInt64).alias("_hash"),
            ).partition_by("_day", as_dict=True, include_key=False)
        )
        nothing = pl.DataFrame(schema={"_key": pl.UInt64, "_hash": pl.UInt64})
        for day in days:
            self.days[day] = found.get((day,), nothing)
            self.size += self.days[day].height

    def _stored(
        self, days: list[int], columns: list[str], ids: pl.Series | None = None
    ) -> pl.DataFrame | None:
        """Return the lake's rows of these days, or None where it has no table yet."""
        if self.lake.version(self.source.name) is None:
            return None
        at = pl.col(self._at)
        span = at.is_between(_instant(min(days) * DAY), _instant((max(days) + 1) * DAY), closed="left")
        if ids is not None:
            span &= pl.col(self._id).is_in(ids.to_list())
        if self.among is not None:
            span &= self.among
        rows = self.lake.read(self.source.name, columns, where=span)
        rows = rows.with_columns(self._day().alias("_day"))
        return rows.filter(pl.col("_day").is_in(days))


def _instant(us: int) -> pl.Expr:
    return pl.lit(us, pl.Int64).cast(pl.Datetime("us", "UTC"))
