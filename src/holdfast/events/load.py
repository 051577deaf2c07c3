"""Loads that were handed over: judged elsewhere, compared with what came in since, numbered, stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import polars as pl

from holdfast.events.batch import Batch, Logged
from holdfast.events.duplicates import CLASH, NEW, Memory
from holdfast.events.handover import HandOver, Offer, Outcome
from holdfast.events.live import as_sent
from holdfast.events.logged import APP, apply_batch, stored_columns
from holdfast.events.ports import QUARANTINE, BatchLog, Lake, Staging
from holdfast.events.refusals import QUARANTINE_SCHEMA
from holdfast.events.rule import RuleTable, empty_table
from holdfast.events.source import BATCH, ORIGIN, Source
from holdfast.kernel.errors import (
    ConflictError,
    HoldfastError,
    NotFoundError,
    UnavailableError,
    did_you_mean,
)
from holdfast.kernel.ports import Clock


class Loads:
    """Batch loads from being handed over to being answered, for the one who holds the shard.

    Parameters
    ----------
    hand_over : where processes without the lease leave loads
    faults : called with the name of each finished step
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        tables: Mapping[str, RuleTable],
        hand_over: HandOver | None,
        faults: Callable[[str], None],
        *,
        lake: Lake,
        log: BatchLog,
        staging: Staging,
        clock: Clock,
    ) -> None:
        self.sources, self.tables, self.hand_over, self.faults = sources, tables, hand_over, faults
        self.lake, self.log, self.staging, self.clock = lake, log, staging, clock
        self._rows: dict[tuple[str, str], int] = {}  # by source and input, the rows that are in the log
        self._logged: dict[tuple[str, str, int], Batch] = {}

    def recover(self, logged: Logged) -> None:
        """Know the loads that are in the log."""
        self._rows = {key: load.last for key, load in logged.loaded().items()}
        self._logged = {
            (batch.source, batch.input, batch.first): batch
            for batch in logged.batches
            if batch.journal is None
        }

    def wait(self) -> bool:
        """Return whether some load waits to be taken."""
        return self.hand_over is not None and bool(self.hand_over.offers())

    def take(self, number: int, prepare: Callable[[], None]) -> tuple[str, Batch] | None:
        """Log the oldest load that was handed over; return its name and batch, or None.

        One that was logged before, or cannot be, is answered at once.

        Parameters
        ----------
        number : of the batch it becomes
        prepare : called before its rows are compared with those of the lake
        """
        offers = [] if self.hand_over is None else self.hand_over.offers()
        if not offers or self.hand_over is None:
            return None
        name, offer = offers[0]
        batch = offer.batch
        upto = self._rows.get((batch.source, batch.input), 0)
        if batch.last <= upto:
            before = self._logged.get((batch.source, batch.input, batch.first), batch)
            self.hand_over.answer(name, Outcome(before.number, before.counts))
            return None
        try:
            if batch.first != upto:
                raise ConflictError(
                    f"rows from {batch.first} on were handed over, but {upto} were loaded before.",
                    hint="another process loads the same file; run it again",
                )
            if batch.source not in self.sources:
                raise NotFoundError(
                    f"the worker knows no source `{batch.source}`.",
                    has=tuple(self.sources),
                    hint=did_you_mean(batch.source, self.sources) or "start the worker again",
                )
            prepare()
            logged = take(
                offer,
                number,
                self.sources[batch.source],
                self.tables[batch.source],
                handed=self.hand_over.staging,
                staging=self.staging,
                lake=self.lake,
                now_us=self.clock.now_us(),
            )
        except UnavailableError:
            raise
        except HoldfastError as error:
            problem = error.problem
            self.hand_over.answer(name, Outcome(0, {}, problem.code, problem.message, problem.hint))
            return None
        self.faults("load staged")
        self.log.append(logged)
        self._rows[batch.source, batch.input] = batch.last
        self._logged[batch.source, batch.input, batch.first] = logged
        return name, logged

    def store(self, batch: Batch) -> None:
        """Bring a logged load into the lake, where it is not there yet.

        Raises
        ------
        UnavailableError
            If its staged rows are gone (HF600).
        """
        tables = [(QUARANTINE, batch.refused), (batch.source, batch.staged)]
        open_tables = [table for table, staged in tables if staged]
        if all((self.lake.applied(table, app=APP) or 0) >= batch.number for table in open_tables):
            return
        apply_batch(batch, lake=self.lake, staging=self.staging)

    def finish(self, name: str, batch: Batch) -> None:
        """Answer who handed a load over, and remove its staged rows.

        Parameters
        ----------
        name : of the offer; empty where nobody is waiting
        """
        if name and self.hand_over is not None:
            self.hand_over.answer(name, Outcome(batch.number, batch.counts))
            self.faults("load answered")
        for staged in (batch.staged, batch.refused):
            if staged:
                self.staging.remove(staged)


def take(
    offer: Offer,
    number: int,
    source: Source,
    table: RuleTable,
    *,
    handed: Staging,
    staging: Staging,
    lake: Lake,
    now_us: int,
) -> Batch:
    """Return an offer as the batch of that number, its rows staged.

    The lake holds every earlier batch of the source.

    Raises
    ------
    ConflictError
        If the rows were judged by another definition of the source (HF404).
    NotFoundError
        If the rows are gone.
    """
    batch, nothing = offer.batch, empty_table(source.schema)
    good = handed.read(batch.staged) if batch.staged else nothing
    if good.schema != nothing.schema:
        raise ConflictError(
            f"rows of `{batch.source}` were judged by another definition than the worker runs.",
            code="HF404",
            hint="start the worker again, so that it runs the new definition",
        )
    refused = handed.read(batch.refused) if batch.refused else pl.DataFrame(schema=QUARANTINE_SCHEMA)
    counts = Counter(batch.counts)
    if source.schema.event_id is not None and good.height:
        memory = Memory(source, lake, among=pl.col(BATCH) > offer.seen)
        fate = memory.compare(good.select(source.schema.names))
        clash = good.filter(pl.Series(fate.kind == CLASH))
        if clash.height:
            refused = pl.concat([refused, _clashes(source, table, clash, fate.messages, now_us)])
            counts["HF210"] += clash.height
        again = int((fate.kind != NEW).sum())
        if again:
            good = good.filter(pl.Series(fate.kind == NEW))
            counts["stored"] -= again
            counts["duplicates"] += again - clash.height
    numbered = pl.lit(number, pl.Int64).alias(BATCH)
    good = good.with_columns(numbered).select(*stored_columns(table))
    refused = refused.with_columns(numbered).select(*QUARANTINE_SCHEMA)
    return replace(
        batch,
        number=number,
        staged=staging.write(good) if good.height else "",
        refused=staging.write(refused) if refused.height else "",
        counts=dict(counts),
    )


def _clashes(
    source: Source, table: RuleTable, rows: pl.DataFrame, messages: list[str], now_us: int
) -> pl.DataFrame:
    assert source.schema.event_id is not None
    column = source.schema.event_id.name
    raw = rows.select(source.schema.names).to_dicts()
    found = [
        (source.name, "HF210", message, column, origin, as_sent(table, row), now_us, 0)
        for message, origin, row in zip(messages, rows[ORIGIN], raw, strict=True)
    ]
    return pl.DataFrame(found, schema=QUARANTINE_SCHEMA, orient="row")
