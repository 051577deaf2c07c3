"""What features need of the world: rows of the lake, and a store of online state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from holdfast.events.ports import Blob as Blob
from holdfast.events.ports import EventId as EventId
from holdfast.events.ports import History as History


class EventReader(Protocol):
    """Rows of the lake's tables, as `holdfast.events.ports.Lake.read` gives them."""

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        version: int | None = None,
    ) -> pl.DataFrame:
        """Return rows (no promised order); the filter is pushed down to the files."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Generation:
    """One build of online state: the fingerprint of its plan, and a number.

    Attributes
    ----------
    state : fingerprint of the state plan
    number : from 1, growing for each state; a removed number is not used again while a later one exists
    """

    state: str
    number: int

    def __str__(self) -> str:
        return f"{self.state}/{self.number}"


class OnlineSnapshot(Protocol):
    """The state as of one batch; for one thread, and only inside its context."""

    @property
    def batch(self) -> int:
        """The last batch applied, read in the same transaction as all blobs."""
        ...

    def get(self, keys: Sequence[bytes]) -> list[Blob]:
        """Return the blob of each key, empty where there is none; valid inside the snapshot only."""
        ...


class OnlineReader(Protocol):
    """One generation, for reading, by any number of processes and threads.

    A snapshot sees whole batches: all that was committed before it began, nothing after, however long it is
    held. It never waits for the writer, nor the writer for it. It is made in the process that uses it, after
    any fork.
    """

    @property
    def generation(self) -> Generation:
        """The generation that is read."""
        ...

    @property
    def plan(self) -> bytes:
        """The state plan that was given when the generation was created."""
        ...

    def snapshot(self) -> AbstractContextManager[OnlineSnapshot]:
        """Begin to read; sees every commit that has returned, of this process and others.

        Raises
        ------
        UnavailableError
            If the store cannot be read (HF600); the hint says how to build it anew.
        """
        ...

    def close(self) -> None:
        """Let go of it; harmless if repeated. No snapshot may be open."""
        ...


class OnlineWriter(Protocol):
    """One generation, for writing: by one process, one thread at a time.

    Atomicity: a commit is stored whole, with its batch number, or not at all, also if the process is killed.
    Idempotency: a commit of a batch at or before `batch` changes nothing and returns False. Ordering: batches
    grow; numbers may be left out. Reads see the writer's own commits.
    """

    @property
    def generation(self) -> Generation:
        """The generation that is written."""
        ...

    @property
    def plan(self) -> bytes:
        """The state plan that was given when the generation was created."""
        ...

    @property
    def batch(self) -> int | None:
        """The last batch committed, or None while the generation is being filled."""
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

    def close(self) -> None:
        """Let go of the generation, so that another may write it; harmless if repeated."""
        ...


class OnlineStore(Protocol):
    """All generations of a project's online state, and which one is live.

    A generation is created, filled by its only writer, given its first batch, and then made current in one
    step; until then no reader sees it. Readers of an earlier one go on undisturbed.

    Proved for every adapter by `holdfast.testing.online_contract.OnlineStoreContract`.
    """

    def create(self, state: str, plan: bytes) -> Generation:
        """Make an empty generation with the next number."""
        ...

    def writer(self, generation: Generation) -> OnlineWriter:
        """Hold a generation for writing.

        Raises
        ------
        ConflictError
            If another writer, of this process or another, holds it (HF303).
        NotFoundError
            If there is no such generation.
        UnavailableError
            If it is damaged, or the machine stopped while it was written (HF600): create another one.
        """
        ...

    def reader(self, generation: Generation) -> OnlineReader:
        """Open a generation for reading; raises like `writer`, except that any number may hold it."""
        ...

    def current(self) -> Generation | None:
        """Return the live generation, or None where there is none; cheap enough to ask every second."""
        ...

    def make_current(self, generation: Generation) -> None:
        """Make a generation the live one, atomically and durably.

        Raises
        ------
        NotFoundError
            If there is no such generation.
        ConflictError
            If no batch was committed to it: it is not filled (HF302).
        """
        ...

    def generations(self) -> list[Generation]:
        """Return all generations in order, those that were never filled among them."""
        ...

    def remove(self, generation: Generation) -> None:
        """Delete a generation; harmless if it is gone.

        Raises
        ------
        ConflictError
            If it is the live one (HF302), or a writer holds it (HF303).
        """
        ...
