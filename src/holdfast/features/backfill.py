"""Backfill: a new generation of online state from the rows of the lake, while the live one goes on.

A killed backfill is never current: its generation holds no batch, so nobody can make it live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import polars as pl

from holdfast.events.ports import EventId
from holdfast.events.source import BATCH
from holdfast.features.online import dump_plan, fold
from holdfast.features.ports import EventReader, OnlineStore, OnlineWriter
from holdfast.features.tile import StatePlan
from holdfast.kernel.errors import NotFoundError
from holdfast.kernel.ports import NoProgress, Progress

CHUNK_ROWS = 500_000
"""Rows folded at a time; memory grows with it."""

Remembered = Callable[[str, pl.DataFrame], Mapping[EventId, bytes]]
"""Returns, for rows of a source, what duplicates of them are found by."""


class Stopping(Protocol):
    """Says whether the work is no longer wanted."""

    def is_set(self) -> bool:
        """Return whether to stop."""
        ...


@dataclass(frozen=True, slots=True)
class Backfilled:
    """A generation that holds everything up to a batch and is not live yet.

    Attributes
    ----------
    rows : events that were folded, each source's counted once
    blobs : entities of views that were written, those of several chunks counted several times
    """

    writer: OnlineWriter
    batch: int
    rows: int
    blobs: int


def backfill(
    plan: StatePlan,
    sources: Sequence[str],
    lake: EventReader,
    store: OnlineStore,
    *,
    batch: int,
    remembered: Remembered,
    progress: Progress | None = None,
    stop: Stopping | None = None,
) -> Backfilled | None:
    """Build a generation of this plan from the lake's rows of batches up to one, and hold it.

    Parameters
    ----------
    sources : all sources of the project; those without views have ids to remember
    batch : every batch up to it is wholly in the lake
    stop : where it says so, the work ends and nothing is left behind

    Returns
    -------
    The generation with its writer open, or None where it was stopped.

    Notes
    -----
    Rows are folded in the order of their batches, a bounded number at a time. How they are cut changes
    nothing about the blobs (tests/laws/test_online.py).
    """
    tell = progress or NoProgress()
    generation = store.create(plan.fingerprint, dump_plan(plan))
    writer = store.writer(generation)
    done = False
    try:
        spans = {source: list(_spans(source, lake, batch)) for source in sources}
        tell.start("online state", sum(rows for spent in spans.values() for _, _, rows in spent))
        rows = blobs = 0
        for source, spent in spans.items():
            for first, last, n in spent:
                if stop is not None and stop.is_set():
                    return None
                where = (pl.col(BATCH) > first) & (pl.col(BATCH) <= last)
                frame = lake.read(source, where=where)
                puts = fold(plan, source, frame, writer.get, partial(_past, source, lake, first))
                writer.fill(puts, ids=remembered(source, frame))
                rows, blobs = rows + n, blobs + len(puts)
                tell.advance(n)
        writer.commit(batch, {})
        done = True
        return Backfilled(writer, batch, rows, blobs)
    finally:
        tell.finish()
        if not done:
            writer.close()
            store.remove(generation)


def _past(
    source: str, lake: EventReader, until: int, where: pl.Expr, columns: Sequence[str] | None
) -> pl.DataFrame:
    return lake.read(source, columns, where=where & (pl.col(BATCH) <= until))


def _spans(source: str, lake: EventReader, batch: int) -> Iterator[tuple[int, int, int]]:
    """Yield ranges of batches ``(first, last]`` of a source, with their rows."""
    try:
        held = lake.read(source, [BATCH], where=pl.col(BATCH) <= batch)
    except NotFoundError:
        return
    first, last, rows = -1, -1, 0
    for number, n in held[BATCH].value_counts().sort(BATCH).iter_rows():
        rows, last = rows + n, number
        if rows >= CHUNK_ROWS:
            yield first, last, rows
            first, rows = last, 0
    if rows:
        yield first, last, rows
