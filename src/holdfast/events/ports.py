"""What ingestion needs of the world: inputs, a lake of tables, a batch log, and staged files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.batch import Batch, Logged

Blob = bytes | memoryview
"""Online state of one entity, as the applier stores it without knowing what it says."""

History = Callable[[pl.Expr, Sequence[str] | None], pl.DataFrame]
"""Returns the rows of a source that were stored before, filtered; all of its columns, or those named."""

QUARANTINE = "_quarantine"
"""Lake table of rows that broke their contract, all sources together."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that could not even be parsed, or that has a column nobody declared.

    Attributes
    ----------
    row : 0-based position among the data rows of its input
    code : key of `holdfast.kernel.errors.CODES`
    raw : JSON text of what was found
    """

    row: int
    code: str
    message: str
    raw: str
    column: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of one input, parsed and not yet judged.

    Attributes
    ----------
    first, last
        Half-open range of 0-based data rows, broken ones included: ``[first, last)``.
    rows : (n,) position of each row of the frame
    frame
        (n,) parsed columns: text as it was written, or the types of a file that has types.
    not_text
        By column, (n,) whether a text came from something else, such as a JSON number.
    broken : rows that are not in the frame
    lines : (n,) each row as its file wrote it, where that is JSON already
    """

    first: int
    last: int
    rows: NDArray[np.int64]
    frame: pl.DataFrame
    not_text: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()
    lines: pl.Series | None = None


class Input(Protocol):
    """One file of rows. Its content does not change while it is read.

    `columns` looks at the beginning (and end) only; `digest` reads everything, and refuses what cannot be
    read whole, so that no row of a damaged file is stored. Both raise ContractError (HF200).
    """

    @property
    def name(self) -> str:
        """Short name, as it appears in origins."""
        ...

    @property
    def may_omit(self) -> bool:
        """Whether each row names its own columns, so that it may leave some out."""
        ...

    def columns(self) -> tuple[str, ...]:
        """Return the columns that the file says it has."""
        ...

    def digest(self) -> str:
        """Return the content hash of the file."""
        ...

    def chunks(self, columns: Sequence[str], *, skip: int, size: int) -> Iterator[Chunk]:
        """Yield the rows after the first `skip`, at most `size` at a time, in memory bounded by `size`.

        Only the named columns are parsed; a row with a value under another name is broken (HF209).
        """
        ...


class Lake(Protocol):
    """Append-only tables with snapshots.

    Atomicity: an append is visible whole or not at all. Idempotency: an append whose (app, batch) was
    committed before, at the same or a later batch, changes nothing. Ordering: versions of a table only grow.
    Reads see the version they name, by default the latest at the time of the call, including this process's
    own appends. Any number of readers; appends of one app come from one process at a time.

    Proved for every adapter by `holdfast.testing.lake_contract.LakeContract`.
    """

    def version(self, table: str) -> int | None:
        """Return the latest version of a table, or None where the table does not exist."""
        ...

    def applied(self, table: str, *, app: str) -> int | None:
        """Return the latest batch of the app that the table holds, or None where there is none."""
        ...

    def append(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        app: str,
        batch: int,
        note: Mapping[str, str] | None = None,
        staged: str | None = None,
    ) -> int:
        """Append rows under (app, batch), creating the table if need be; return a version that holds them.

        New columns of the frame are added to the table; columns it lacks are null; a changed type is refused
        (ContractError).

        Parameters
        ----------
        staged
            Path of a Parquet file of these very rows, named by its content. The lake may keep it under a name
            of its own instead of writing the rows again; it never changes nor removes it.
        """
        ...

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        version: int | None = None,
    ) -> pl.DataFrame:
        """Return rows (no promised order); the filter is pushed down to the files.

        Raises
        ------
        NotFoundError
            If the table or the version does not exist.
        """
        ...


class BatchLog(Protocol):
    """The numbered batches of one shard, appended before they are applied.

    Durable when `append` returns; where it raises, nothing was recorded, and a kill meanwhile may leave the
    first of its batches. One holder at a time: `lease` refuses a second process with ConflictError (HF303). A
    torn last entry, left by a killed process, is dropped when the lease is taken. Damage anywhere else is
    refused, never skipped. Bounded: `compact` replaces settled batches by their summary, so what `read`
    returns grows with what is not settled, with the files ever loaded and with the journals that exist, not
    with time.
    """

    def lease(self) -> AbstractContextManager[None]:
        """Hold the shard; released at exit or when the process dies."""
        ...

    def append(self, *batches: Batch) -> None:
        """Record batches, in one flush.

        Raises
        ------
        UnavailableError
            If the log cannot be written; none was recorded.
        """
        ...

    def settle(self, number: int) -> None:
        """Record that every batch up to this one is wholly in the lake."""
        ...

    def read(self) -> Logged:
        """Return what the log holds; needs no lease."""
        ...

    def entries(self) -> Iterator[Batch]:
        """Yield the batches that are not summarised, in order."""
        ...

    def compact(self, journals: Collection[str]) -> bool:
        """Summarise settled batches if the log has grown long; return whether it was done.

        Parameters
        ----------
        journals : those that exist; positions of others are forgotten
        """
        ...


class Beside(Protocol):
    """Where work is done beside that of the caller.

    One piece at a time, in the order given; a caller with a further piece waits for the one before, so that
    at most one is under way. What a piece raises is raised by the next call of `do` or `wait`, once.
    """

    def do(self, work: Callable[[], None]) -> None:
        """Begin a piece of work when the one before is done."""
        ...

    def wait(self) -> None:
        """Return when nothing is under way."""
        ...


class EventId(NamedTuple):
    """What duplicates are found by: the day of an event, and 16 bytes made of its source and id."""

    day: int
    digest: bytes


class StateWriter(Protocol):
    """The online state as the applier writes it: by one process, one thread at a time.

    Atomicity: a commit is stored whole, with its batch number, or not at all, also if the process is killed.
    Idempotency: a commit of a batch at or before `batch` changes nothing and returns False. Ordering: batches
    grow; numbers may be left out. Reads see the writer's own commits.
    """

    @property
    def batch(self) -> int | None:
        """The last batch committed, or None while the state is being filled."""
        ...

    def get(self, keys: Sequence[bytes]) -> list[Blob]:
        """Return the blob of each key as of the last commit, empty where there is none; valid forever."""
        ...

    def find_ids(self, ids: Sequence[EventId]) -> list[bytes]:
        """Return the content digest stored for each id, empty where it is not known."""
        ...

    def fill(self, puts: Mapping[bytes, Blob], *, ids: Mapping[EventId, bytes] | None = None) -> None:
        """Store blobs and ids under no batch, before the first commit; a killed fill is never current.

        Raises
        ------
        ConflictError
            If a batch was committed before (HF302).
        """
        ...

    def commit(
        self,
        batch: int,
        puts: Mapping[bytes, Blob],
        *,
        ids: Mapping[EventId, bytes] | None = None,
        forget_before: int | None = None,
        verdicts: bytes | None = None,
    ) -> bool:
        """Store everything about a batch in one transaction; False if it was committed before.

        Parameters
        ----------
        ids : content digest by id, of the events that were accepted
        forget_before : ids of earlier days are forgotten, in this commit or in later ones
        verdicts : what was judged of the batch's events, kept until `drop_verdicts`

        Raises
        ------
        UnavailableError
            If the store cannot be written (HF600); nothing was stored.
        """
        ...

    def verdicts(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (batch, verdicts) of later batches that still have them, in order."""
        ...

    def drop_verdicts(self, until: int) -> None:
        """Forget the verdicts of batches up to this one."""
        ...


class Staging(Protocol):
    """Local folder of judged rows waiting for their commit. A file is visible only when complete."""

    def write(self, frame: pl.DataFrame) -> str:
        """Store a frame durably under its content's name and return the name."""
        ...

    def read(self, name: str) -> pl.DataFrame:
        """Return a staged frame.

        Raises
        ------
        NotFoundError
            If there is none of that name.
        """
        ...

    def path(self, name: str) -> str | None:
        """Return the path of the Parquet file that a staged frame is, or None where it is none."""
        ...

    def remove(self, name: str) -> None:
        """Forget a staged frame; harmless if it is gone."""
        ...

    def list_names(self) -> list[str]:
        """Return the names of all staged frames."""
        ...


Raw = Mapping[str, Any]
"""One row as Python values, before it is judged."""
