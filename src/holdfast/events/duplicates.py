"""Duplicates of loaded rows: the same event once, found by (event day, id) among the rows of the lake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.known_ids import KnownIds
from holdfast.events.ports import Lake
from holdfast.events.source import Source
from holdfast.kernel.time import DAY

REMEMBERED_ROWS = 16_000_000
"""Rows whose ids one run remembers, 8 bytes each; ids of other days are read again from the lake."""

FEW_IDS = 10_000
"""Number of ids up to which the lake is asked for these alone."""

NEW, DUPLICATE, CLASH = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of rows.

    Attributes
    ----------
    kind : (n,) whether each row is new, a duplicate, or clashes with other content
    messages : a sentence for each clash
    keys : (n,) day and hash of the id of each row
    """

    kind: NDArray[np.uint8]
    messages: list[str]
    keys: pl.DataFrame

    @property
    def new(self) -> NDArray[np.bool_]:
        """(n,) whether each row is new."""
        return np.equal(self.kind, NEW)


@dataclass(slots=True)
class Memory:
    """What is known of earlier events of one source, found by (event day, id).

    Hashes of ids are kept by day, at most `REMEMBERED_ROWS` of them, days least recently used forgotten
    first; they only say where to look. A row is compared with the stored row itself. A dry run stores nothing
    to compare with, so rows of its own are compared by 64-bit hashes of their content.

    Attributes
    ----------
    among : which rows of the lake are looked at, by a filter; none means all
    catch_up : brings rows that were added here into the lake; called before they are looked for there
    was_empty : whether the lake had no rows of the source at first
    own : by day, hashes of ids and content of rows that a dry run added
    """

    source: Source
    lake: Lake
    dry_run: bool = False
    among: pl.Expr | None = None
    catch_up: Callable[[], None] = lambda: None
    known: KnownIds = field(default_factory=KnownIds)
    was_empty: bool = field(init=False)
    own: dict[int, pl.DataFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.was_empty = self.lake.version(self.source.name) is None

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
        keyed = self._keyed(rows)
        seen = self._seen(keyed)
        if seen.any():
            self._compare_known(self._numbered(rows, keyed).filter(seen), kind, messages)
        inorder = np.sort(keyed["_key"].to_numpy())
        if (inorder[1:] == inorder[:-1]).any():
            self._compare_within(self._numbered(rows, keyed).filter(pl.Series(kind == NEW)), kind, messages)
        return Fate(kind, [messages[int(row)] for row in np.flatnonzero(kind == CLASH)], keyed)

    def add(self, rows: pl.DataFrame, fate: Fate) -> None:
        """Remember the new ones of rows that were compared, as stored."""
        keyed = fate.keys
        if not fate.new.all():
            rows, keyed = rows.filter(fate.new), keyed.filter(fate.new)
        for day, where in _by_day(keyed):
            self.known.add(day, keyed["_key"].to_numpy()[where])
        if not self.dry_run:
            self.known.forget(REMEMBERED_ROWS)
            return
        hashed = keyed.with_columns(rows.select(self._content).hash_rows(0).alias("_hash"))
        for (day,), part in hashed.partition_by("_day", as_dict=True).items():
            self.own[day] = pl.concat([self.own[day], part]) if day in self.own else part

    def _keyed(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select(self._day().alias("_day"), pl.col(self._id).hash(0).alias("_key"))

    def _numbered(self, rows: pl.DataFrame, keyed: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(*keyed.get_columns()).with_row_index("_row")

    def _day(self) -> pl.Expr:
        return pl.col(self._at).to_physical() // DAY

    def _seen(self, keyed: pl.DataFrame) -> NDArray[np.bool_]:
        """Return of which rows the id was perhaps seen on its day."""
        self._recall(self.known.unknown(keyed["_day"].unique().sort().to_list()))
        keys = keyed["_key"].to_numpy()
        seen = np.zeros(len(keys), np.bool_)
        for day, where in _by_day(keyed):
            seen[where] = self.known.holds(day, keys[where])
        return seen

    def _compare_known(self, maybe: pl.DataFrame, kind: NDArray[np.uint8], messages: dict[int, str]) -> None:
        settled = self._compare_stored(maybe, kind, messages)
        days = [self.own[day] for day in maybe["_day"].unique().to_list() if day in self.own]
        if not days:
            return
        own = maybe.join(settled, on="_row", how="anti")
        own = own.with_columns(own.select(self._content).hash_rows(0).alias("_hash"))
        pairs = own.join(pl.concat(days), on=["_day", "_key"], suffix="_known")
        same = (pairs["_hash"] == pairs["_hash_known"]).to_numpy()
        kind[pairs["_row"].to_numpy()] = np.where(same, DUPLICATE, CLASH)
        for row, name in pairs.filter(~same).select("_row", self._id).rows():
            messages[row] = f"`{self._id}` {name!r} was seen with different content."

    def _compare_stored(
        self, maybe: pl.DataFrame, kind: NDArray[np.uint8], messages: dict[int, str]
    ) -> pl.DataFrame:
        """Compare with the rows of the lake; return which rows were found there."""
        self.catch_up()
        ids = maybe[self._id] if maybe.height <= FEW_IDS else None
        stored = self._stored(maybe["_day"].unique().to_list(), list(self.source.schema.names), ids)
        if stored is None:
            return maybe.select("_row").clear()
        first = stored.unique([self._id, "_day"], keep="any")
        pairs = maybe.join(first, on=["_day", self._id], how="inner", suffix="_stored")
        self._settle(pairs, "_stored", kind, messages)
        return pairs.select("_row")

    def _compare_within(self, rows: pl.DataFrame, kind: NDArray[np.uint8], messages: dict[int, str]) -> None:
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
        again = not self.known.forgotten.isdisjoint(days)
        if again:
            self.catch_up()
        # What was added since lies on days that are known or forgotten: other days need not be read for it.
        stored = None
        if days and (again or not self.was_empty):
            stored = self._stored(days, [self._id, self._at])
        for day in days:
            self.known.add(day, np.zeros(0, np.uint64))
        if stored is not None:
            keyed = self._keyed(stored)
            for day, where in _by_day(keyed):
                self.known.add(day, keyed["_key"].to_numpy()[where])

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


def _by_day(keyed: pl.DataFrame) -> Iterator[tuple[int, NDArray[np.int64] | slice]]:
    """Yield each day and where its rows are."""
    days = keyed["_day"].to_numpy()
    if not len(days):
        return
    order = None if (days[1:] >= days[:-1]).all() else np.argsort(days, kind="stable")
    inorder = days if order is None else days[order]
    cuts = [0, *(np.flatnonzero(inorder[1:] != inorder[:-1]) + 1).tolist(), len(days)]
    for start, end in pairwise(cuts):
        yield int(inorder[start]), slice(start, end) if order is None else order[start:end]
