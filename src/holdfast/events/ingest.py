"""Ingest history: judge, deduplicate, quarantine, append. The one verb of events.

A chunk goes through five steps, and a process killed between any two of them loses and doubles nothing: its
accepted and refused rows are staged; the batch is logged; the refused rows are appended to the quarantine;
the accepted ones to the source's table; the staged files are removed. Started again, it first applies what
was logged and not applied, then goes on behind the last logged row of the same content.

While a worker holds the shard, it is the one who numbers and applies: each staged chunk is handed to it, and
its answer awaited.

While one chunk is judged, the one before may be stored, by all steps and before the next, and the one behind
be parsed: what was judged and not staged when the process dies is judged again. A row is compared with those
of earlier chunks from memory; where the stored row itself is needed, the storing is awaited first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.batch import Batch
from holdfast.events.contract import check_columns, judge
from holdfast.events.duplicates import CLASH, DUPLICATE, Memory
from holdfast.events.handover import HandOver, Offer
from holdfast.events.logged import APP, append_batch, apply_logged, stored_columns
from holdfast.events.ports import QUARANTINE, BatchLog, Beside, Chunk, Input, Lake, Staging
from holdfast.events.refusals import QUARANTINE_SCHEMA, Refusals, raw_rows
from holdfast.events.report import Counts, FileReport, IngestReport
from holdfast.events.rule import RuleTable, compile_rules
from holdfast.events.source import ARRIVED, BASIS, BATCH, ORIGIN, Basis, Source
from holdfast.kernel.errors import (
    ConflictError,
    ContractError,
    DefinitionError,
    UnavailableError,
)
from holdfast.kernel.ports import Clock, NoProgress, Progress

CHUNK_ROWS = 200_000
STEPS = ("judged", "staged", "logged", "refused", "stored", "removed")
"""Steps of one chunk, in order, as the `faults` argument of `ingest` hears of them."""


def ingest(
    source: Source,
    inputs: Iterable[Input],
    *,
    lake: Lake,
    log: BatchLog,
    staging: Staging,
    clock: Clock,
    progress: Progress | None = None,
    chunk_rows: int = CHUNK_ROWS,
    fixed_point_bounded: frozenset[str] = frozenset(),
    dry_run: bool = False,
    faults: Callable[[str], None] | None = None,
    hand_over: HandOver | None = None,
    catch_up: Callable[[], int] | None = None,
    beside: Callable[[], Beside] | None = None,
) -> IngestReport:
    """Ingest files of history into the lake table of a source.

    Parameters
    ----------
    chunk_rows : rows judged and committed at a time; memory grows with it
    fixed_point_bounded
        Columns that enter sum, mean, std or var, so that |value| x 10^scale is at most 2^32.
    dry_run : judge everything and write nothing
    faults : called with the name of each finished step (`STEPS`); tests die there
    hand_over : where a worker that holds the shard takes loads; none means that it must be free
    catch_up
        What brings the lake up to what was logged, under the lease, and returns how many batches that took;
        by default `apply_logged`, which refuses where received events wait for a worker.
    beside
        Makes a place where a chunk is stored, or the next one parsed, while another is judged; by default
        they are parsed, judged and stored in turn.

    Returns
    -------
    The count of every row: stored, duplicate, or quarantined by reason.

    Raises
    ------
    ContractError
        If history has no arrival basis (HF211), or a file is damaged (HF200) or has other columns (HF209).
    ConflictError
        If another process holds the shard (HF303) and no worker takes loads.

    Notes
    -----
    Running it again with the same content adds nothing; running it again after a kill goes on.
    Proof: tests/faults/test_ingest_kill.py, benchmarks/proof_ingest_kill.py.
    """
    basis = _require_basis(source)
    work = _Work(
        source,
        compile_rules(source.schema, fixed_point_bounded=fixed_point_bounded),
        basis,
        lake,
        log,
        staging,
        clock,
        progress or NoProgress(),
        chunk_rows,
        dry_run,
        faults or (lambda step: None),
        beside,
        InTurn() if beside is None else beside(),
    )
    files = list(inputs)
    for file in files:
        check_columns(work.table, file.columns(), name=file.name, may_omit=file.may_omit)
    if dry_run:
        return work.ingest_files(files)
    while True:
        try:
            with log.lease():
                replayed = (
                    apply_logged(lake=lake, log=log, staging=staging) if catch_up is None else catch_up()
                )
                return work.ingest_files(files, replayed)
        except ConflictError as error:
            if error.code != "HF303" or hand_over is None or not hand_over.is_served():
                raise
        try:
            return work.ingest_files(files, hand_over=hand_over)
        except _WorkerGoneError:
            continue


class InTurn:
    """Does work at once; stands in where nothing is done beside."""

    def do(self, work: Callable[[], None]) -> None:
        """Do it."""
        work()

    def wait(self) -> None:
        """Do nothing: all is done."""


class _WorkerGoneError(Exception):
    """The worker ended before it answered; what it logged is in the batch log."""


def _require_basis(source: Source) -> Basis:
    basis = source.history_basis
    if source.schema.event_time is None:
        raise DefinitionError(
            f"schema `{source.schema.name}` has no event time.",
            code="HF111",
            hint="give it `hf.event_time()`",
        )
    if basis is None:
        raise ContractError(
            f"source `{source.name}` does not say when its history was learnt.",
            code="HF211",
            at=source.name,
            hint="declare a column `hf.arrival_time()` in the schema, "
            'or `known_after="..."` on the source: event time plus a delay ("0s" is allowed)',
        )
    return basis


# --------------------------------------------------------------------------------------------------- chunk


@dataclass(slots=True)
class _Work:
    """One run of the verb."""

    source: Source
    table: RuleTable
    basis: Basis
    lake: Lake
    log: BatchLog
    staging: Staging
    clock: Clock
    progress: Progress
    chunk_rows: int
    dry_run: bool
    faults: Callable[[str], None]
    beside: Callable[[], Beside] | None
    storing: Beside
    number: int = 0
    logged: dict[str, tuple[int, Counts]] = field(default_factory=dict)
    memory: Memory = field(init=False)
    hand_over: HandOver | None = None
    seen: int = 0
    examples: dict[str, str] = field(default_factory=dict)

    def ingest_files(
        self, files: list[Input], replayed: int = 0, hand_over: HandOver | None = None
    ) -> IngestReport:
        """Ingest what is left of all files, as the holder of the shard or through the one who is."""
        self.hand_over = hand_over
        self.seen = self.lake.applied(self.source.name, app=APP) or 0
        self.memory = Memory(self.source, self.lake, self.dry_run, catch_up=self.storing.wait)
        self.look_back()
        try:
            done = tuple([self.ingest_file(file) for file in files])
        finally:
            self.storing.wait()
        return IngestReport(self.source.name, done, self.basis, self.dry_run, replayed, self.examples)

    def look_back(self) -> None:
        """Read from the log the last number, and how far each content of this source was logged."""
        logged = self.log.read()
        self.number = logged.number
        self.logged = {
            load.input: (load.last, Counts.of_batch(load.counts))
            for load in logged.loaded().values()
            if load.source == self.source.name
        }
        if self.hand_over is not None:
            return
        for table in (self.source.name, QUARANTINE):
            applied = self.lake.applied(table, app=APP) or 0
            if applied > self.number:
                raise UnavailableError(
                    f"table `{table}` holds batch {applied}, but the batch log ends at {self.number}.",
                    code="HF600",
                    hint="restore the lake and the batch log from the same backup",
                )

    def ingest_file(self, file: Input) -> FileReport:
        """Ingest what is left of one file."""
        digest = file.digest()
        done, before = self.logged.get(digest, (0, Counts()))
        now, last = Counts(), done
        self.progress.start(file.name, None)
        for chunk in self._parsed(file.chunks(self.table.given, skip=done, size=self.chunk_rows)):
            now += self._ingest_chunk(file, digest, chunk)
            last = chunk.last
            self.logged[digest] = (last, before + now)
            self.progress.advance(chunk.last - chunk.first)
        self.progress.finish()
        return FileReport(file.name, digest, last, now, before)

    def _parsed(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Yield chunks, the next one being parsed meanwhile."""
        if self.beside is None:
            yield from chunks
            return
        parsing = self.beside()  # one for each file, as a run that is broken off leaves one at work
        parsed: list[Chunk | None] = []

        def parse() -> None:
            parsed.append(next(chunks, None))

        parsing.do(parse)
        parsing.wait()
        while (chunk := parsed.pop()) is not None:
            parsing.do(parse)
            yield chunk
            parsing.wait()

    def _ingest_chunk(self, file: Input, digest: str, chunk: Chunk) -> Counts:
        good, refused, counts = self._judge(file, chunk)
        self.faults("judged")
        if self.dry_run:
            return counts
        if self.hand_over is not None:
            return self._offer(self.hand_over, digest, chunk, good, refused, counts)
        self.storing.do(partial(self._store, digest, chunk.first, chunk.last, good, refused, counts))
        return counts

    def _store(
        self,
        digest: str,
        first: int,
        last: int,
        good: pl.DataFrame,
        refused: pl.DataFrame,
        counts: Counts,
    ) -> None:
        """Stage, log and apply a judged chunk; chunks come here one after another."""
        batch, good, refused = self._batch(
            self.staging, self.number + 1, digest, (first, last), good, refused, counts
        )
        self.faults("staged")
        self.log.append(batch)
        self.number = batch.number
        self.faults("logged")
        append_batch(batch, good, refused, lake=self.lake, staging=self.staging, faults=self.faults)
        for name in (batch.staged, batch.refused):
            if name:
                self.staging.remove(name)
        self.faults("removed")

    def _batch(
        self,
        staging: Staging,
        number: int,
        digest: str,
        rows: tuple[int, int],
        good: pl.DataFrame,
        refused: pl.DataFrame,
        counts: Counts,
    ) -> tuple[Batch, pl.DataFrame, pl.DataFrame]:
        """Stage the rows of a batch and return it, with the rows as the lake stores them."""
        numbered = pl.lit(number, pl.Int64).alias(BATCH)
        good = good.with_columns(numbered).select(*stored_columns(self.table))
        refused = refused.with_columns(numbered).select(*QUARANTINE_SCHEMA)
        batch = Batch(
            number,
            self.source.name,
            digest,
            *rows,
            staged=staging.write(good) if good.height else "",
            counts=counts.as_batch(),
            refused=staging.write(refused) if refused.height else "",
        )
        return batch, good, refused

    def _offer(
        self,
        hand_over: HandOver,
        digest: str,
        chunk: Chunk,
        good: pl.DataFrame,
        refused: pl.DataFrame,
        counts: Counts,
    ) -> Counts:
        """Hand a chunk to the worker and wait until it is in the lake."""
        rows = (chunk.first, chunk.last)
        batch, _, _ = self._batch(hand_over.staging, 0, digest, rows, good, refused, counts)
        self.faults("staged")
        outcome = hand_over.submit(Offer(batch, self.seen))
        if outcome is None:
            for name in (batch.staged, batch.refused):
                if name:
                    hand_over.staging.remove(name)
            raise _WorkerGoneError
        if outcome.code:
            raise ConflictError(outcome.message, code=outcome.code, at=self.source.name, hint=outcome.hint)
        return Counts.of_batch(outcome.counts)

    def _judge(self, file: Input, chunk: Chunk) -> tuple[pl.DataFrame, pl.DataFrame, Counts]:
        """Return accepted rows, refused rows and what became of all."""
        verdict = judge(self.table, chunk.frame, not_text=chunk.not_text)
        bad: NDArray[np.int64] = np.flatnonzero(~verdict.accepted)
        refusals = Refusals(self.source.name, file.name, self.clock.now_us())
        for broken in chunk.broken:
            refusals.add(broken.row, broken.code, broken.message, broken.column, broken.raw)
        for row, reason, raw in zip(bad, verdict.reasons(bad), raw_rows(chunk, bad), strict=True):
            refusals.add(int(chunk.rows[row]), reason.code, reason.message, reason.column, raw)
        at = np.arange(chunk.frame.height)
        good = verdict.stored
        if len(bad):
            good = good.filter(verdict.accepted)
            at = at[verdict.accepted]
        duplicates = 0
        if self.source.schema.event_id is not None and good.height:
            fate = self.memory.compare(good)
            duplicates = int((fate.kind == DUPLICATE).sum())
            clash: NDArray[np.int64] = np.flatnonzero(fate.kind == CLASH)
            for where, message, raw in zip(clash, fate.messages, raw_rows(chunk, at[clash]), strict=True):
                column = self.source.schema.event_id.name
                refusals.add(int(chunk.rows[at[where]]), "HF210", message, column, raw)
            self.memory.add(good, fate)
            if duplicates or len(clash):
                good, at = good.filter(fate.new), at[fate.new]
        stored = self._with_arrival(good).with_columns(_origins(file.name, chunk.rows[at]))
        for code, words in refusals.first().items():
            self.examples.setdefault(code, words)
        counts = Counts(good.height, duplicates, refusals.counts())
        assert counts.rows == chunk.last - chunk.first
        return stored, refusals.frame(), counts

    def _with_arrival(self, good: pl.DataFrame) -> pl.DataFrame:
        """Add the arrival time and its basis."""
        schema = self.source.schema
        assert schema.event_time is not None
        if schema.arrival_time is not None:
            arrived = pl.col(schema.arrival_time.name).to_physical()
        else:
            arrived = pl.col(schema.event_time.name).to_physical() + (self.source.known_after or 0)
        return good.with_columns(
            arrived.cast(pl.Int64).alias(ARRIVED), pl.lit(self.basis, pl.String).alias(BASIS)
        )


def _origins(name: str, rows: NDArray[np.int64]) -> pl.Series:
    numbers = pl.Series(rows + 1, dtype=pl.Int64).cast(pl.String)
    return (
        (pl.Series([f"{name}:"], dtype=pl.String) + numbers).alias(ORIGIN)
        if len(rows)
        else (pl.Series(ORIGIN, [], dtype=pl.String))
    )
