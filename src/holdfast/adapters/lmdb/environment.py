"""LMDB environments: opened once in a process, checked before they are trusted, grown when they are full.

Commits are not synchronised to disk: a killed process loses nothing, a stopped machine may leave a torn file.
So the one that writes leaves the boot's id beside the file and takes it away when all is on disk; a file with
the id of another boot is not opened.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from holdfast.adapters.durable import sync_folder
from holdfast.kernel.errors import ContractError, HoldfastError, NotFoundError, UnavailableError, UsageError

FORMAT = 1
MAP_BYTES = 16 * 2**30
"""Address space of a new environment; the file is as long as what it holds."""
MAX_READERS = 1024
PATIENCE_S = 10.0
"""How long growing waits for snapshots of this process."""

FORMAT_KEY, BATCH_KEY, PLAN_KEY = b"format\0\0", b"batch\0\0\0", b"plan\0\0\0\0"
REBUILD = "holdfast materialize builds it anew from the lake"

_MARK = "unsynced"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_open: dict[str, Environment] = {}
_opening = threading.Lock()


class Environment:
    """One open LMDB environment, shared by everyone in this process who reads or writes it.

    `open_environment` makes it and `release` gives it back.
    """

    def __init__(self, folder: Path, map_bytes: int, *, create: bool) -> None:
        self.folder = folder
        self.users = 0
        self.is_inherited = False
        self._active = self._waiting = 0
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        with translated(folder):
            self.env = lmdb.open(
                str(folder),
                map_size=map_bytes,
                max_dbs=4,
                max_readers=MAX_READERS,
                sync=False,
                metasync=False,
            )
            try:
                if not create:
                    self._check_length()
                self.env.reader_check()
                self.state, self.ids, self.verdicts, self.meta = (
                    self.env.open_db(name, create=create) for name in (b"state", b"ids", b"verdicts", b"meta")
                )
            except BaseException:
                self.env.close()
                raise

    def _check_length(self) -> None:
        """Refuse a file that is shorter than it says: reading behind its end would kill the process."""
        needed = (self.env.info()["last_pgno"] + 1) * self.env.stat()["psize"]
        found = (self.folder / "data.mdb").stat().st_size
        if found < needed:
            raise UnavailableError(
                f"the online state has {found:,} bytes of {needed:,}.", at=str(self.folder), hint=REBUILD
            )

    def begin(self) -> Any:
        """Begin a read transaction, which `end` ends."""
        if self.is_inherited:
            raise UsageError(
                "online state was opened before the process forked.",
                at=str(self.folder),
                hint="open it in the process that reads it",
            )
        with self._lock:
            try:
                found = self.env.begin(self.state, None, False, True)
            except lmdb.MapResizedError:
                self._resize(0)  # another process let it grow
                found = self.env.begin(self.state, None, False, True)
            self._active += 1
            return found

    def end(self, transaction: Any) -> None:
        """End a read transaction."""
        transaction.abort()
        with self._lock:
            self._active -= 1
            if self._waiting:
                self._idle.notify_all()

    def write(self, work: Callable[[Any], None]) -> None:
        """Do the work in one write transaction, again in a larger map if it does not fit."""
        while True:
            try:
                with self.env.begin(write=True) as transaction:
                    work(transaction)
                return
            except lmdb.MapResizedError:
                size = 0
            except lmdb.MapFullError:
                size = 2 * self.env.info()["map_size"]
            with self._lock:
                self._resize(size)

    def _resize(self, size: int) -> None:
        """Change the size of the map, 0 to that of the file, when no snapshot of this process needs it."""
        self._waiting += 1
        try:
            if not self._idle.wait_for(lambda: not self._active, PATIENCE_S):
                raise UnavailableError(
                    f"the online state is full; {self._active} snapshots of this process hinder its growth.",
                    at=str(self.folder),
                    hint="snapshots are held for one request only",
                )
            self.env.set_mapsize(size)
        finally:
            self._waiting -= 1

    def mark(self) -> None:
        """Note durably that from now on the file may be ahead of the disk."""
        _write_durably(self.folder / _MARK, boot_id())

    def settle(self) -> None:
        """Bring everything to disk, and note it."""
        with translated(self.folder):
            self.env.sync(True)
        (self.folder / _MARK).unlink(missing_ok=True)


def _after_fork() -> None:
    """Let a child know that what it has inherited is not its own."""
    global _opening
    _opening = threading.Lock()
    for environment in _open.values():
        environment.is_inherited = True


os.register_at_fork(after_in_child=_after_fork)


def open_environment(folder: Path, *, map_bytes: int = MAP_BYTES) -> Environment:
    """Return the environment of a generation, opened at most once in a process.

    Raises
    ------
    NotFoundError
        If there is no such folder.
    UnavailableError
        If the file is damaged, or the machine stopped while it was written (HF600).
    ContractError
        If a newer version wrote it (HF304).
    """
    path = os.path.realpath(folder)
    with _opening:
        found = _open.get(path)
        if found is not None and found.is_inherited:
            found.env.close()  # the copy of the parent's; the parent's own is not touched
            found = None
        if found is None:
            if not folder.is_dir():
                raise NotFoundError(
                    f"there is no generation of online state {folder.name}.", at=str(folder.parent)
                )
            _check(folder)
            found = Environment(folder, map_bytes, create=False)
            try:
                _check_format(found)
            except HoldfastError:
                found.env.close()
                raise
            _open[path] = found
        found.users += 1
        return found


def release(environment: Environment) -> None:
    """Give an environment back; the last one closes it."""
    with _opening:
        environment.users -= 1
        if environment.users == 0:
            path = os.path.realpath(environment.folder)
            if _open.get(path) is environment:
                del _open[path]
            environment.env.close()


def make_environment(folder: Path, plan: bytes, *, map_bytes: int = MAP_BYTES) -> None:
    """Make the environment of an empty generation in an empty folder."""
    environment = Environment(folder, map_bytes, create=True)
    try:
        with translated(folder), environment.env.begin(write=True, db=environment.meta) as transaction:
            transaction.put(FORMAT_KEY, FORMAT.to_bytes(8, "little"))
            transaction.put(PLAN_KEY, plan)
        environment.settle()
    finally:
        environment.env.close()


def _check(folder: Path) -> None:
    data = folder / "data.mdb"
    if not data.is_file() or not data.stat().st_size:
        raise UnavailableError(f"the online state {folder.name} has no data.", at=str(folder), hint=REBUILD)
    mark = folder / _MARK
    if mark.is_file() and mark.read_text() != boot_id():
        raise UnavailableError(
            "the machine stopped while the online state was written; the file may be torn.",
            at=str(folder),
            hint=REBUILD,
        )


def _check_format(environment: Environment) -> None:
    with translated(environment.folder), environment.env.begin(environment.meta) as transaction:
        found, plan = transaction.get(FORMAT_KEY), transaction.get(PLAN_KEY)
    if found is None or plan is None:
        raise UnavailableError(
            "the online state was never completely made.", at=str(environment.folder), hint=REBUILD
        )
    version = int.from_bytes(found, "little")
    if version > FORMAT:
        raise ContractError(
            f"the online state has format {version}; this version reads up to {FORMAT}.",
            code="HF304",
            at=str(environment.folder),
            hint="use the newer holdfast that wrote it, or holdfast materialize",
        )


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Raise what the driver and the operating system raise inside the block as errors of ours."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise to_error(error, folder) from error


def to_error(error: Exception, folder: Path) -> UnavailableError:
    """Return the error of ours that says what a driver's error means."""
    if isinstance(error, (lmdb.DiskError, lmdb.ReadonlyError, lmdb.LockError, OSError)):
        hint = "is there space on the disk, and may this user read and write the folder?"
    elif isinstance(error, lmdb.ReadersFullError):
        hint = f"more than {MAX_READERS} snapshots are open at once: end some of the processes"
    else:
        hint = REBUILD
    return UnavailableError(
        f"the online state cannot be read or written: {error}.", at=str(folder), hint=hint
    )


def boot_id() -> str:
    """Return what is different after the machine has started again."""
    return _BOOT.read_text().strip() if _BOOT.is_file() else "unknown"


def _write_durably(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
