"""One generation in LMDB: snapshots for its readers, transactions for its one writer.

Databases of the environment: `state` (blobs by key), `ids` (content digest by day and id), `verdicts` (by
batch) and `meta`. Keys and values of `state` are multiples of 8 bytes, so blobs are aligned in the map.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import lmdb

from holdfast.adapters.lmdb.environment import (
    BATCH_KEY,
    PLAN_KEY,
    Environment,
    open_environment,
    release,
    to_error,
    translated,
)
from holdfast.events.ports import Blob, EventId
from holdfast.features.ports import Generation
from holdfast.kernel.errors import ConflictError, ContractError, UsageError

FORGET_MOST = 20_000
"""Ids that one commit forgets at most, so that none takes long."""

_LOCK = "writer.lock"
_SIGN = 1 << 63  # days before 1970 stand before the others


class LmdbSnapshot:
    """One read transaction; `get` gives views of the map itself."""

    __slots__ = ("_environment", "_transaction")

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._transaction: Any = None

    def __enter__(self) -> LmdbSnapshot:
        try:
            self._transaction = self._environment.begin()
        except lmdb.Error as error:
            raise to_error(error, self._environment.folder) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._environment.end(self._transaction)
        self._transaction = None

    @property
    def batch(self) -> int:
        """The last batch applied."""
        return _batch(self._transaction, self._environment) or 0

    def get(self, keys: Sequence[bytes]) -> list[Blob]:
        """Return the blob of each key, empty where there is none; valid inside the snapshot only."""
        get = self._transaction.get
        try:
            return [get(key, b"") for key in keys]
        except lmdb.Error as error:
            raise to_error(error, self._environment.folder) from error


class LmdbReader:
    """One generation, for reading."""

    def __init__(self, folder: Path, generation: Generation, map_bytes: int) -> None:
        self.generation = generation
        self._environment: Environment | None = open_environment(folder, map_bytes=map_bytes)
        self.plan = _plan(self._environment)

    def snapshot(self) -> LmdbSnapshot:
        """Begin to read what is committed now."""
        if self._environment is None:
            raise UsageError(f"the reader of generation {self.generation} is closed.")
        return LmdbSnapshot(self._environment)

    def close(self) -> None:
        """Let go of it."""
        if self._environment is not None:
            release(self._environment)
            self._environment = None


class LmdbWriter:
    """One generation, for writing; holds a lock on a file in its folder as long as it is open."""

    def __init__(self, folder: Path, generation: Generation, map_bytes: int) -> None:
        self.generation = generation
        self._lock: BinaryIO | None = hold(folder)
        try:
            self._environment = open_environment(folder, map_bytes=map_bytes)
            try:
                self._environment.mark()
                self.plan = _plan(self._environment)
                with translated(folder), self._environment.env.begin() as transaction:
                    self.batch = _batch(transaction, self._environment)
            except BaseException:
                release(self._environment)
                raise
        except BaseException:
            self._lock.close()
            raise

    def get(self, keys: Sequence[bytes]) -> list[Blob]:
        """Return the blob of each key as of the last commit, empty where there is none."""
        return self._found(keys, "state")

    def find_ids(self, ids: Sequence[EventId]) -> list[bytes]:
        """Return the content digest stored for each id, empty where it is not known."""
        return self._found([_id_key(each) for each in ids], "ids")

    def _found(self, keys: Sequence[bytes], database: str) -> list[Any]:
        environment = self._held()
        with (
            translated(environment.folder),
            environment.env.begin(getattr(environment, database)) as transaction,
        ):
            return [transaction.get(key, b"") for key in keys]

    def fill(self, puts: Mapping[bytes, Blob], *, ids: Mapping[EventId, bytes] | None = None) -> None:
        """Store blobs and ids under no batch, before the first commit."""
        if self.batch is not None:
            raise ConflictError(
                f"generation {self.generation} holds batch {self.batch}; it is not filled any more.",
                code="HF302",
                hint="create another generation",
            )
        self._write(lambda transaction: self._put(transaction, puts, ids))

    def commit(
        self,
        batch: int,
        puts: Mapping[bytes, Blob],
        *,
        ids: Mapping[EventId, bytes] | None = None,
        forget_before: int | None = None,
        verdicts: bytes | None = None,
    ) -> bool:
        """Store everything about a batch in one transaction; False if it was committed before."""
        if self.batch is not None and batch <= self.batch:
            return False

        def work(transaction: Any) -> None:
            environment = self._environment
            self._put(transaction, puts, ids)
            if forget_before is not None:
                _forget(transaction.cursor(environment.ids), forget_before)
            if verdicts is not None:
                transaction.put(_number_key(batch), verdicts, db=environment.verdicts)
            transaction.put(BATCH_KEY, batch.to_bytes(8, "little"), db=environment.meta)

        self._write(work)
        self.batch = batch
        return True

    def verdicts(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (batch, verdicts) of later batches that still have them, in order."""
        environment, position = self._held(), after
        while True:
            with (
                translated(environment.folder),
                environment.env.begin(environment.verdicts) as transaction,
                transaction.cursor() as cursor,
            ):
                if not cursor.set_range(_number_key(position + 1)):
                    return
                position, found = int.from_bytes(cursor.key(), "big"), cursor.value()
            yield position, found

    def drop_verdicts(self, until: int) -> None:
        """Forget the verdicts of batches up to this one."""

        def work(transaction: Any) -> None:
            cursor, last = transaction.cursor(self._environment.verdicts), _number_key(until)
            there = cursor.first()
            while there and cursor.key() <= last:
                there = cursor.delete()

        self._write(work)

    def close(self) -> None:
        """Bring everything to disk and let go of the generation."""
        if self._lock is None:
            return
        try:
            self._environment.settle()
        finally:
            release(self._environment)
            self._lock.close()
            self._lock = None

    def _held(self) -> Environment:
        if self._lock is None:
            raise UsageError(f"the writer of generation {self.generation} is closed.")
        return self._environment

    def _write(self, work: Callable[[Any], None]) -> None:
        environment = self._held()
        with translated(environment.folder):
            environment.write(work)

    def _put(self, transaction: Any, puts: Mapping[bytes, Blob], ids: Mapping[EventId, bytes] | None) -> None:
        for key, blob in puts.items():
            if len(key) % 8 or len(blob) % 8:
                raise ContractError(
                    f"keys and blobs are multiples of 8 bytes; found {len(key)} and {len(blob)}.",
                    code="HF404",
                )
        transaction.cursor(self._environment.state).putmulti(sorted(puts.items()))
        if ids:
            pairs = sorted((_id_key(each), digest) for each, digest in ids.items())
            transaction.cursor(self._environment.ids).putmulti(pairs)


def hold(folder: Path) -> BinaryIO:
    """Return the locked file that says who writes the generation in a folder.

    Raises
    ------
    ConflictError
        If another writer holds it (HF303).
    """
    with translated(folder):
        file = (folder / _LOCK).open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            file.close()
            raise ConflictError(
                f"another writer (pid {holder}) holds the online state {folder.name}.",
                code="HF303",
                at=str(folder),
                hint=f"wait for it, or stop it: kill {holder}",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        return file


def _batch(transaction: Any, environment: Environment) -> int | None:
    found = transaction.get(BATCH_KEY, None, environment.meta)
    return None if found is None else int.from_bytes(found, "little")


def _plan(environment: Environment) -> bytes:
    with translated(environment.folder), environment.env.begin(environment.meta) as transaction:
        return transaction.get(PLAN_KEY) or b""


def _number_key(number: int) -> bytes:
    return number.to_bytes(8, "big")


@cache
def _day_key(day: int) -> bytes:
    return (day + _SIGN).to_bytes(8, "big")


def _id_key(each: EventId) -> bytes:
    return _day_key(each.day) + each.digest


def _forget(cursor: Any, before: int) -> None:
    limit, there, left = _day_key(before), cursor.first(), FORGET_MOST
    while there and left and cursor.key() < limit:
        there, left = cursor.delete(), left - 1
