"""The journal of this process: segment files that are only appended to."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from holdfast.adapters.durable import sync_folder
from holdfast.adapters.journal.frames import encode
from holdfast.events.journal import Durability, Entry
from holdfast.kernel.errors import ContractError, UnavailableError
from holdfast.kernel.ports import Clock

SEGMENT_BYTES = 64 * 2**20
"""Size at which a segment is followed by the next; one append never spans two."""
SEGMENTS = "segments"
"""Folder of all journals below the journal's root."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ATTEMPTS = 100


class JournalFileWriter:
    """Implements the journal writer port in a folder of its own.

    The folder is locked as long as the process lives, so that readers know whether more may come.

    Parameters
    ----------
    root : folder of all journals; made if need be
    name : what the process is, such as ``serve``
    clock : says when it started
    durability : ``process``, or ``power`` for a flush in `sync`
    segment_bytes : size at which a segment is followed by the next
    """

    def __init__(
        self,
        root: str | Path,
        name: str,
        clock: Clock,
        durability: Durability = "process",
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        if _NAME.fullmatch(name) is None:
            raise ContractError(
                f"a journal is named by lower-case letters, digits, `_` and `-`; found {name!r}."
            )
        self.durability: Durability = durability
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()  # guards what is appended
        self._sync_lock = threading.Lock()  # guards what is flushed; taken after the other, never before
        self._closed = False
        self._failure: OSError | None = None
        self._must_roll = False
        self._first = 0
        self._size = 0
        self._synced = 0
        start = clock.now_us()
        try:
            for attempt in range(_ATTEMPTS):
                self.id = f"{name}-{_base36(start + attempt)}-{os.getpid()}"
                self.folder = Path(root) / SEGMENTS / self.id
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self.folder.mkdir()
                    self._folder_fd, self._fd = self._open()
                except (FileExistsError, FileNotFoundError):
                    # Taken; or a reader removed it as left behind before it was locked.
                    continue
                sync_folder(self.folder.parent)
                return
        except OSError as error:
            raise self._unavailable(error) from error
        raise UnavailableError(f"{Path(root) / SEGMENTS} has no free name for a journal `{name}`.")

    def append(self, frames: Sequence[Entry]) -> int:
        """Append frames in one write and return the position behind them."""
        content = encode(frames)
        n = len(content)
        with self._lock:
            if self._failure is not None or self._closed:
                self._recover()
            if self._must_roll or (self._size + n > self._segment_bytes and self._size and n):
                self._roll()
            try:
                written = os.write(self._fd, content) if n else 0
                while written < n:
                    written += os.write(self._fd, memoryview(content)[written:])
                self._size += n
            except BaseException as error:
                self._roll_back()
                if isinstance(error, OSError):
                    raise self._unavailable(error) from error
                raise
            return self._first + self._size

    def sync(self) -> None:
        """Flush what was appended, once for all threads that wait; nothing to do for `process`."""
        if self.durability == "process":
            return
        wanted = self._first + self._size
        with self._sync_lock:
            if self._synced < wanted:
                self._flush()

    def close(self) -> None:
        """End the journal; one that nothing was appended to leaves nothing behind."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with self._sync_lock:
                try:
                    if self.durability == "power" and self._failure is None:
                        self._flush()
                finally:
                    os.close(self._fd)
                    if self._first + self._size == 0:
                        self._segment(0).unlink(missing_ok=True)
                        self.folder.rmdir()
                    os.close(self._folder_fd)

    def _recover(self) -> None:
        """Refuse, or undo what an earlier failure left behind."""
        if self._closed:
            raise UnavailableError(f"journal {self.id} is closed.", hint="start the process again")
        self._roll_back()
        if self._failure is not None:
            raise self._unavailable(self._failure)

    def _roll_back(self) -> None:
        """Cut off what a failed append wrote."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            self._failure = error
        else:
            if not isinstance(self._failure, _FlushError):
                self._failure = None

    def _roll(self) -> None:
        with self._sync_lock:
            if self.durability == "power":
                self._flush()
            first = self._first + self._size
            # From here on a reader may know the new segment, so nothing more goes into the old one.
            self._must_roll = True
            try:
                fd = self._new_segment(first, self._folder_fd)
            except OSError as error:
                raise self._unavailable(error) from error
            os.close(self._fd)
            self._first, self._size, self._fd = first, 0, fd
            self._must_roll = False

    def _open(self) -> tuple[int, int]:
        """Lock the folder and begin the first segment."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            return folder, self._new_segment(0, folder)
        except OSError:
            os.close(folder)
            raise

    def _new_segment(self, first: int, folder: int) -> int:
        fd = os.open(self._segment(first), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.fsync(folder)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _segment(self, first: int) -> Path:
        return self.folder / segment_name(first)

    def _flush(self) -> None:
        """Make the current segment durable; the lock of flushes is held."""
        if isinstance(self._failure, _FlushError):
            raise self._unavailable(self._failure)
        upto = self._first + self._size
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            # What the kernel could not write it may have forgotten: a second flush would lie.
            self._failure = _FlushError(*error.args)
            raise self._unavailable(error) from error
        self._synced = upto

    def _unavailable(self, error: OSError) -> UnavailableError:
        return UnavailableError(
            f"journal {self.id} cannot be written: {error.strerror or error}.",
            at=str(self.folder),
            hint="make room on the disk, or start the process again",
        )


class _FlushError(OSError):
    """A flush failed, so nothing more may be acknowledged."""


def segment_name(first: int) -> str:
    """Return the file name of the segment that begins at a position."""
    return f"{first:020d}.seg"


def _base36(number: int) -> str:
    """Return at least 11 digits, so that names sort by time."""
    digits = ""
    while number or len(digits) < 11:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits
