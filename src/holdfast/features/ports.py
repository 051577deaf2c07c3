"""What features need of the world: rows of the lake, and a store of online state."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from holdfast.events.ports import Blob, StateWriter


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


class OnlineWriter(StateWriter, Protocol):
    """One generation, for writing, under the contract of `holdfast.events.ports.StateWriter`."""

    @property
    def generation(self) -> Generation:
        """The generation that is written."""
        ...

    @property
    def plan(self) -> bytes:
        """The state plan that was given when the generation was created."""
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
