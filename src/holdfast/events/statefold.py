"""Rows folded into online state: on top of what is stored, and anew from the rows of the lake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

import polars as pl

from holdfast.events.live import digests_by_id
from holdfast.events.logged import stored_columns
from holdfast.events.ports import Blob, EventId, History, Lake, StateWriter
from holdfast.events.rule import RuleTable, empty_table
from holdfast.events.source import BATCH, Source
from holdfast.events.waiting import Waiting

Get = Callable[[Sequence[bytes]], Sequence[Blob]]


class Fold(Protocol):
    """Returns the new blobs of all entities that rows of a source touch: `features.online.fold` of a plan."""

    def __call__(
        self, source: str, rows: pl.DataFrame, get: Get, history: History | None = None, /
    ) -> Mapping[bytes, Blob]:
        """Fold rows; `history` is given for sources whose events may supersede earlier ones."""


REBUILT_ROWS = 500_000
"""Rows of the lake that are folded at a time when a state is brought up to it."""


class StateFold:
    """Folds rows of any source into the blobs of their entities.

    Parameters
    ----------
    waiting : rows that are in the state and not in the lake yet
    fold : returns the new blobs of the entities that rows touch
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        tables: Mapping[str, RuleTable],
        lake: Lake,
        waiting: Waiting,
        fold: Fold,
    ) -> None:
        self.sources, self.tables, self.lake = sources, tables, lake
        self.fold = fold
        self._waiting = waiting

    def folded(
        self,
        online: StateWriter,
        source: str,
        rows: pl.DataFrame,
        before: Mapping[bytes, Blob],
        until: int,
    ) -> Mapping[bytes, Blob]:
        """Return the blobs after more rows, on top of those that are about to be stored.

        Parameters
        ----------
        until : the last batch that the state holds
        """

        def get(keys: Sequence[bytes]) -> list[Blob]:
            absent = [key for key in keys if key not in before]
            found = dict(zip(absent, online.get(absent), strict=True))
            return [before[key] if key in before else found[key] for key in keys]

        if not rows.height:
            return {}
        if self.sources[source].schema.supersedes is None:
            return self.fold(source, rows, get)
        return self.fold(source, rows, get, partial(self._past, source, until))

    def _past(self, source: str, until: int, where: pl.Expr, columns: Sequence[str] | None) -> pl.DataFrame:
        """Return rows of a source of batches up to one, those that wait for the lake among them."""
        where &= pl.col(BATCH) <= until
        names = list(columns or stored_columns(self.tables[source]))
        parts = [empty_table(self.sources[source].schema).select(names)]
        if self.lake.version(source) is not None:
            parts.append(self.lake.read(source, names, where=where))
        parts += [rows.filter(where).select(names) for rows in self._waiting.rows(source)]
        return pl.concat(parts)

    def catch_up(self, online: StateWriter, settled: int, since: int) -> None:
        """Bring a state up to what is settled, from the rows of the lake.

        Parameters
        ----------
        since : the first day of which ids are remembered
        """
        have = online.batch
        if have is not None and have >= settled:
            return
        for first, last in self._spans(have or 0, settled):
            puts: dict[bytes, Blob] = {}
            ids: dict[EventId, bytes] = {}
            for name, source in self.sources.items():
                rows = self.stored(name, first, last)
                puts.update(self.folded(online, name, rows, puts, first))
                ids.update(digests_by_id(name, source.schema, rows, since))
            if have is None:
                online.fill(puts, ids=ids)
            else:
                online.commit(last, puts, ids=ids)
        online.commit(settled, {})

    def _spans(self, after: int, until: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of batches, ``(first, last]``, of a bounded number of rows each."""
        span = (pl.col(BATCH) > after) & (pl.col(BATCH) <= until)
        held = [
            self.lake.read(name, [BATCH], where=span)[BATCH].value_counts()
            for name in self.sources
            if self.lake.version(name) is not None
        ]
        if not held:
            return
        first, rows = after, 0
        for number, n in pl.concat(held).group_by(BATCH).sum().sort(BATCH).iter_rows():
            rows += n
            if rows >= REBUILT_ROWS:
                yield first, number
                first, rows = number, 0
        if rows:
            yield first, until

    def stored(self, source: str, first: int, last: int) -> pl.DataFrame:
        """Return the lake's rows of batches ``(first, last]`` of a source."""
        if self.lake.version(source) is None:
            return empty_table(self.sources[source].schema)
        rows = self.lake.read(source, where=(pl.col(BATCH) > first) & (pl.col(BATCH) <= last))
        absent = [
            pl.lit(None, dtype=kind).alias(name)
            for name, kind in self.tables[source].stored_schema().items()
            if name not in rows.columns
        ]
        return rows.with_columns(absent).select(*stored_columns(self.tables[source]))
