"""What ingestion needs of the world: inputs, a lake of tables, a batch log, and staged files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
        self, table: str, frame: pl.DataFrame, *, app: str, batch: int, note: Mapping[str, str] | None = None
    ) -> int:
        """Append rows under (app, batch), creating the table if need be; return a version that holds them.

        New columns of the frame are added to the table; columns it lacks are null; a changed type is refused
        (ContractError).
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


@dataclass(frozen=True, slots=True)
class Batch:
    """One numbered unit of work of the applier: the rows of one range of one input.

    Attributes
    ----------
    number : 1, 2, 3 ... without gaps within a shard
    source : name of the source
    input : digest of the input file
    first, last : half-open row range within the input, ``[first, last)``
    staged : name of the staged file that holds the accepted rows until it is applied; empty if there are none
    refused : the same for the quarantined rows
    counts : ``stored``, ``duplicates`` and, by code, ``HF...`` rows; together they are ``last - first``
    """

    number: int
    source: str
    input: str
    first: int
    last: int
    staged: str
    counts: dict[str, int]
    refused: str = ""


class BatchLog(Protocol):
    """The numbered batches of one shard, appended before they are applied.

    Durable when `append` returns. One holder at a time: `lease` refuses a second process with ConflictError
    (HF303). A torn last entry, left by a killed process, is dropped when the lease is taken. Damage anywhere
    else is refused, never skipped.
    """

    def lease(self) -> AbstractContextManager[None]:
        """Hold the shard; released at exit or when the process dies."""
        ...

    def append(self, batch: Batch) -> None:
        """Record the batch."""
        ...

    def entries(self) -> Iterator[Batch]:
        """Yield all batches in order."""
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

    def remove(self, name: str) -> None:
        """Forget a staged frame; harmless if it is gone."""
        ...

    def list_names(self) -> list[str]:
        """Return the names of all staged frames."""
        ...


Raw = Mapping[str, Any]
"""One row as Python values, before it is judged."""
