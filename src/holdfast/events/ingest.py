"""Ingest history: judge, deduplicate, quarantine, append. The one verb of events.

A chunk goes through five steps, and a process killed between any two of them loses and doubles nothing: its
accepted and refused rows are staged; the batch is logged; the refused rows are appended to the quarantine;
the accepted ones to the source's table; the staged files are removed. Started again, it first applies what
was logged and not applied, then goes on behind the last logged row of the same content.

While a worker holds the shard, it is the one who numbers and applies: each staged chunk is handed to it, and
its answer awaited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.contract import check_columns, judge, python_value
from holdfast.events.duplicates import CLASH, DUPLICATE, NEW, Memory
from holdfast.events.handover import HandOver, Offer
from holdfast.events.ports import QUARANTINE, Batch, BatchLog, Chunk, Input, Lake, Staging
from holdfast.events.rule import RuleTable, compile_rules
from holdfast.events.source import ARRIVED, BASIS, BATCH, ORIGIN, Basis, Source
from holdfast.kernel.errors import (
    ConflictError,
    ContractError,
    DefinitionError,
    NotFoundError,
    UnavailableError,
)
from holdfast.kernel.ports import Clock, NoProgress, Progress

APP = "applier"
"""Name under which the applier's batches are recorded in the tables of the lake."""

CHUNK_ROWS = 200_000
STEPS = ("judged", "staged", "logged", "refused", "stored", "removed")
"""Steps of one chunk, in order, as the `faults` argument of `ingest` hears of them."""

QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "code": pl.String(),
    "reason": pl.String(),
    "column": pl.String(),
    "origin": pl.String(),
    "raw": pl.String(),
    ARRIVED: pl.Int64(),
    BATCH: pl.Int64(),
}
"""Columns of the quarantine table."""


# -------------------------------------------------------------------------------------------------- report


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of rows.

    Attributes
    ----------
    quarantined : rows by the code of their reason
    """

    stored: int = 0
    duplicates: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)

    @property
    def refused(self) -> int:
        """Number of quarantined rows, all reasons together."""
        return sum(self.quarantined.values())

    @property
    def rows(self) -> int:
        """Number of rows, all together."""
        return self.stored + self.duplicates + self.refused

    def __add__(self, other: Counts) -> Counts:
        together = Counter(self.quarantined) + Counter(other.quarantined)
        return Counts(
            self.stored + other.stored, self.duplicates + other.duplicates, dict(sorted(together.items()))
        )

    def as_batch(self) -> dict[str, int]:
        """Return the counts as a batch records them."""
        return {"stored": self.stored, "duplicates": self.duplicates, **self.quarantined}

    @staticmethod
    def of_batch(counts: Mapping[str, int]) -> Counts:
        """Return the counts of a recorded batch."""
        refused = {code: n for code, n in counts.items() if code.startswith("HF")}
        return Counts(counts.get("stored", 0), counts.get("duplicates", 0), refused)


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of the rows of one file.

    Attributes
    ----------
    digest : content hash
    rows : rows of the file, counted while it was read
    now : what this run did
    before : what earlier runs did with the same content
    """

    name: str
    digest: str
    rows: int
    now: Counts
    before: Counts

    @property
    def adds_up(self) -> bool:
        """Whether every row of the file is accounted for exactly once."""
        return self.rows == self.now.rows + self.before.rows

    @property
    def is_repeat(self) -> bool:
        """Whether earlier runs had ingested the whole file."""
        return self.now.rows == 0 and self.before.rows > 0


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion did.

    Attributes
    ----------
    basis : how arrival times are known
    replayed : batches that an interrupted run had logged and that this one applied first
    examples : by the code of a reason, the first row that this run refused for it, in words
    """

    source: str
    files: tuple[FileReport, ...]
    basis: Basis
    dry_run: bool = False
    replayed: int = 0
    examples: Mapping[str, str] = field(default_factory=dict)

    @property
    def now(self) -> Counts:
        """What this run did, all files together."""
        return sum((file.now for file in self.files), Counts())

    @property
    def before(self) -> Counts:
        """What earlier runs did with the same files."""
        return sum((file.before for file in self.files), Counts())

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def adds_up(self) -> bool:
        """Whether every row of every file is accounted for exactly once."""
        return all(file.adds_up for file in self.files)

    def lines(self) -> Iterator[str]:
        """Yield the report as lines of text."""
        if self.replayed:
            yield f"{self.replayed} batch{'es' * (self.replayed > 1)} of an interrupted run applied first"
        for file in self.files:
            yield f"{file.name}  {_words(file, self.dry_run)}"
        if len(self.files) > 1:
            yield f"total  {_counted(self.rows, self.now, self.before, self.dry_run)}"
        for code, n in self.now.quarantined.items():
            if code in self.examples:
                yield f"  {code}  {n:,} row{'s' * (n > 1)}, first: {self.examples[code]}"


def _words(file: FileReport, dry_run: bool) -> str:
    if file.is_repeat:
        return f"{file.rows:,} rows: ingested before, nothing added"
    return _counted(file.rows, file.now, file.before, dry_run)


def _counted(rows: int, now: Counts, before: Counts, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    parts = [
        f"{now.stored:,} {would}stored",
        f"{now.duplicates:,} duplicates",
        f"{now.refused:,} {would}quarantined",
    ]
    if now.quarantined:
        parts[-1] += f" ({', '.join(f'{code} {n:,}' for code, n in now.quarantined.items())})"
    if before.rows:
        parts.append(f"{before.rows:,} ingested before")
    return f"{rows:,} rows: {', '.join(parts)}"


# ---------------------------------------------------------------------------------------------------- verb


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


class _WorkerGoneError(Exception):
    """The worker ended before it answered; what it logged is in the batch log."""


def stored_columns(table: RuleTable) -> tuple[str, ...]:
    """Return the columns of a source's lake table, in order."""
    return (*table.columns, ARRIVED, BASIS, BATCH, ORIGIN)


def apply_logged(*, lake: Lake, log: BatchLog, staging: Staging) -> int:
    """Apply every batch that was logged and not applied; return how many. The lease must be held.

    Raises
    ------
    UnavailableError
        If the staged rows of such a batch are gone, or it is one that only a worker can apply.
    """
    applied: dict[str, int] = {}
    staged = staging.list_names()
    count = 0
    logged = log.read()
    for batch in logged.batches:
        if batch.number <= logged.settled:
            continue
        if batch.journal is not None:
            raise UnavailableError(
                f"batch {batch.number} was received live and its worker ended before it was in the lake.",
                code="HF600",
                at=batch.input,
                hint="start the worker once: it first brings the lake up to date",
            )
        tables = [
            (table, name)
            for table, name in ((QUARANTINE, batch.refused), (batch.source, batch.staged))
            if name
        ]
        for table, _ in tables:
            if table not in applied:
                applied[table] = lake.applied(table, app=APP) or 0
        if all(applied[table] >= batch.number for table, _ in tables):
            continue
        try:
            apply_batch(batch, lake=lake, staging=staging)
        except NotFoundError as error:
            raise UnavailableError(
                f"batch {batch.number} of `{batch.source}` was logged and not applied, and its staged rows "
                f"{batch.first} to {batch.last} are gone.",
                code="HF600",
                hint="restore the staging folder, or the whole state from a backup",
            ) from error
        count += 1
    for name in staged:
        staging.remove(name)
    return count


def apply_batch(batch: Batch, *, lake: Lake, staging: Staging) -> None:
    """Append the staged rows of a logged batch: quarantine first, then the source's table."""
    refused = staging.read(batch.refused) if batch.refused else None
    accepted = staging.read(batch.staged) if batch.staged else None
    append_batch(batch, accepted, refused, lake)


def append_batch(
    batch: Batch,
    accepted: pl.DataFrame | None,
    refused: pl.DataFrame | None,
    lake: Lake,
    faults: Callable[[str], None] = lambda step: None,
) -> None:
    """Append the rows of a logged batch, as they were staged."""
    if refused is not None and refused.height:
        lake.append(QUARANTINE, refused, app=APP, batch=batch.number)
    faults("refused")
    if accepted is not None and accepted.height:
        lake.append(batch.source, accepted, app=APP, batch=batch.number)
    faults("stored")


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
        self.memory = Memory(self.source, self.lake, self.dry_run)
        self.look_back()
        done = tuple([self.ingest_file(file) for file in files])
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
        for chunk in file.chunks(self.table.given, skip=done, size=self.chunk_rows):
            now += self._ingest_chunk(file, digest, chunk)
            last = chunk.last
            self.logged[digest] = (last, before + now)
            self.progress.advance(chunk.last - chunk.first)
        self.progress.finish()
        return FileReport(file.name, digest, last, now, before)

    def _ingest_chunk(self, file: Input, digest: str, chunk: Chunk) -> Counts:
        good, refused, counts = self._judge(file, chunk)
        self.faults("judged")
        if self.dry_run:
            return counts
        if self.hand_over is not None:
            return self._offer(self.hand_over, digest, chunk, good, refused, counts)
        batch, good, refused = self._batch(
            self.staging, self.number + 1, digest, chunk, good, refused, counts
        )
        self.faults("staged")
        self.log.append(batch)
        self.number = batch.number
        self.faults("logged")
        append_batch(batch, good, refused, self.lake, self.faults)
        for name in (batch.staged, batch.refused):
            if name:
                self.staging.remove(name)
        self.faults("removed")
        return counts

    def _batch(
        self,
        staging: Staging,
        number: int,
        digest: str,
        chunk: Chunk,
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
            chunk.first,
            chunk.last,
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
        batch, _, _ = self._batch(hand_over.staging, 0, digest, chunk, good, refused, counts)
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
        refusals = _Refusals(self.source.name, file.name, self.clock.now_us())
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
            if duplicates or len(clash):
                new = fate.kind == NEW
                good, at = good.filter(new), at[new]
            self.memory.add(good)
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


@dataclass(slots=True)
class _Refusals:
    """Refused rows of one chunk, on their way to the quarantine."""

    source: str
    file: str
    arrived: int
    found: list[tuple[int, str, str, str, str]] = field(default_factory=list)

    def add(self, row: int, code: str, reason: str, column: str, raw: str) -> None:
        self.found.append((row, code, reason, column, raw))

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(code for _, code, *_ in self.found).items()))

    def first(self) -> dict[str, str]:
        """Return by code the first row in words."""
        return {
            code: f"{reason} ({self.file}:{row + 1})"
            for row, code, reason, _, _ in sorted(self.found, reverse=True)
        }

    def frame(self) -> pl.DataFrame:
        """Return the rows in the order of their file, without a batch number."""
        rows = [
            (self.source, code, reason, column or None, f"{self.file}:{row + 1}", raw, self.arrived)
            for row, code, reason, column, raw in sorted(self.found)
        ]
        schema = {name: kind for name, kind in QUARANTINE_SCHEMA.items() if name != BATCH}
        return pl.DataFrame(rows, schema=schema, orient="row")


def _origins(name: str, rows: NDArray[np.int64]) -> pl.Series:
    numbers = pl.Series(rows + 1, dtype=pl.Int64).cast(pl.String)
    return (
        (pl.Series([f"{name}:"], dtype=pl.String) + numbers).alias(ORIGIN)
        if len(rows)
        else (pl.Series(ORIGIN, [], dtype=pl.String))
    )


def raw_rows(chunk: Chunk, rows: NDArray[np.int64]) -> list[str]:
    """Return the JSON text of rows as their file held them."""
    if not len(rows):
        return []
    if chunk.lines is not None:
        return [line.strip() for line in chunk.lines.gather(rows).to_list()]
    frame = chunk.frame[rows]
    try:
        given = frame.to_dicts()
    except (OverflowError, ValueError):  # a time that Python cannot say stands in one of them
        columns = frame.get_columns()
        given = [
            {column.name: python_value(column, row) for column in columns} for row in range(frame.height)
        ]
    return [
        msgspec.json.encode({name: _jsonable(value) for name, value in row.items()}).decode() for row in given
    ]


def _jsonable(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else str(value)
        case datetime() | Decimal():
            return str(value)
        case bytes():
            return value.hex()
        case _:
            return str(value)
