"""Ingest history: judge, deduplicate, quarantine, append. The one verb of events.

A chunk goes through five steps, and a process killed between any two of them loses and doubles nothing: its
accepted and refused rows are staged; the batch is logged; the refused rows are appended to the quarantine;
the accepted ones to the source's table; the staged files are removed. Started again, it first applies what
was logged and not applied, then goes on behind the last logged row of the same content.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.contract import RuleTable, check_columns, compile_rules, judge
from holdfast.events.ports import QUARANTINE, Batch, BatchLog, Chunk, Input, Lake, Staging
from holdfast.events.source import ARRIVED, BASIS, BATCH, ORIGIN, Basis, Source
from holdfast.kernel.errors import ContractError, DefinitionError, NotFoundError, UnavailableError
from holdfast.kernel.ports import Clock, NoProgress, Progress
from holdfast.kernel.time import DAY

APP = "applier"
"""Name under which the applier's batches are recorded in the tables of the lake."""

CHUNK_ROWS = 200_000
REMEMBERED_ROWS = 16_000_000
"""Rows whose ids one run remembers, 16 bytes each; ids of other days are read again from the lake."""

FEW_IDS = 10_000
"""Number of ids up to which the lake is asked for these alone."""

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
    """

    source: str
    files: tuple[FileReport, ...]
    basis: Basis
    dry_run: bool = False
    replayed: int = 0

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
            yield f"{file.name}  {_words(file)}"
        if len(self.files) > 1:
            yield f"total  {_counted(self.rows, self.now, self.before)}"


def _words(file: FileReport) -> str:
    if file.is_repeat:
        return f"{file.rows:,} rows: ingested before, nothing added"
    return _counted(file.rows, file.now, file.before)


def _counted(rows: int, now: Counts, before: Counts) -> str:
    parts = [f"{now.stored:,} stored", f"{now.duplicates:,} duplicates", f"{now.refused:,} quarantined"]
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
) -> IngestReport:
    """Ingest files of history into the lake table of a source.

    Parameters
    ----------
    chunk_rows : rows judged and committed at a time; memory grows with it
    fixed_point_bounded
        Columns that enter sum, mean, std or var, so that |value| x 10^scale is at most 2^32.
    dry_run : judge everything and write nothing
    faults : called with the name of each finished step (`STEPS`); tests die there

    Returns
    -------
    The count of every row: stored, duplicate, or quarantined by reason.

    Raises
    ------
    ContractError
        If history has no arrival basis (HF211), or a file is damaged (HF200) or has other columns (HF209).
    ConflictError
        If another process holds the shard (HF303).

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
    with nullcontext() if dry_run else log.lease():
        replayed = 0 if dry_run else apply_logged(lake=lake, log=log, staging=staging)
        work.look_back()
        return IngestReport(
            source.name, tuple([work.ingest_file(file) for file in files]), basis, dry_run, replayed
        )


def apply_logged(*, lake: Lake, log: BatchLog, staging: Staging) -> int:
    """Apply every batch that was logged and not applied; return how many. The lease must be held.

    Raises
    ------
    UnavailableError
        If the staged rows of such a batch are gone.
    """
    applied: dict[str, int] = {}
    staged = staging.list_names()
    count = 0
    for batch in log.entries():
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
    _append(batch, accepted, refused, lake, lambda step: None)


def _append(
    batch: Batch,
    accepted: pl.DataFrame | None,
    refused: pl.DataFrame | None,
    lake: Lake,
    faults: Callable[[str], None],
) -> None:
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
    memory: _Memory = field(init=False)

    def __post_init__(self) -> None:
        self.memory = _Memory(self.source, self.lake, self.dry_run)

    def look_back(self) -> None:
        """Read from the log the last number, and how far each content of this source was logged."""
        for batch in self.log.entries():
            self.number = batch.number
            if batch.source == self.source.name:
                _, counts = self.logged.get(batch.input, (0, Counts()))
                self.logged[batch.input] = (batch.last, counts + Counts.of_batch(batch.counts))
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
        for chunk in file.chunks(self.table.columns, skip=done, size=self.chunk_rows):
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
        number = self.number + 1
        good = good.with_columns(pl.lit(number, pl.Int64).alias(BATCH)).select(*self._stored_columns())
        refused = refused.with_columns(pl.lit(number, pl.Int64).alias(BATCH)).select(*QUARANTINE_SCHEMA)
        batch = Batch(
            number,
            self.source.name,
            digest,
            chunk.first,
            chunk.last,
            staged=self.staging.write(good) if good.height else "",
            counts=counts.as_batch(),
            refused=self.staging.write(refused) if refused.height else "",
        )
        self.faults("staged")
        self.log.append(batch)
        self.number = number
        self.faults("logged")
        _append(batch, good, refused, self.lake, self.faults)
        for name in (batch.staged, batch.refused):
            if name:
                self.staging.remove(name)
        self.faults("removed")
        return counts

    def _stored_columns(self) -> tuple[str, ...]:
        return (*self.table.columns, ARRIVED, BASIS, BATCH, ORIGIN)

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
    return [
        msgspec.json.encode({name: _jsonable(value) for name, value in row.items()}).decode()
        for row in chunk.frame[rows].to_dicts()
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


# ------------------------------------------------------------------------------------------------ duplicates

NEW, DUPLICATE, CLASH = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Fate:
    """(n,) whether each row is new, a duplicate, or clashes with other content; a sentence for each clash."""

    kind: NDArray[np.uint8]
    messages: list[str]


@dataclass(slots=True)
class _Memory:
    """What is known of earlier events of one source, found by (event day, id).

    Hashes of ids are kept by day, at most `REMEMBERED_ROWS` of them, days least recently used forgotten
    first; they only say where to look. A row is compared with the stored row itself. A dry run stores nothing
    to compare with, so rows of its own are compared by 64-bit hashes of their content.
    """

    source: Source
    lake: Lake
    dry_run: bool
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
        rows = self.lake.read(self.source.name, columns, where=span)
        rows = rows.with_columns(self._day().alias("_day"))
        return rows.filter(pl.col("_day").is_in(days))


def _instant(us: int) -> pl.Expr:
    return pl.lit(us, pl.Int64).cast(pl.Datetime("us", "UTC"))
