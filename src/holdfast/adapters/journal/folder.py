"""All journals of a project, read from their segment files while other processes append to them."""

from __future__ import annotations

import fcntl
import itertools
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from holdfast.adapters.journal.frames import DamageError, decode, has_whole_frame
from holdfast.adapters.journal.writer import SEGMENTS, segment_name
from holdfast.events.journal import Frame
from holdfast.kernel.errors import UnavailableError

KEEP_S = 3600.0
"""Seconds that a segment is kept after it was last written to, where nothing else is said."""
_SECTOR = 512
_ATTEMPTS = 4


class JournalFolder:
    """Implements the journal reader port on the folder that `JournalFileWriter` writes to.

    Parameters
    ----------
    root : folder of all journals
    keep_s : seconds that a segment is kept after it was last written to, though all of it may be dropped
    """

    def __init__(self, root: str | Path, *, keep_s: float = KEEP_S) -> None:
        self.root = Path(root) / SEGMENTS
        self.keep_s = keep_s
        self._read: dict[str, set[Path]] = {}

    def journals(self) -> list[str]:
        """Return the ids of all journals, oldest first; folders that their process left empty go."""
        found = []
        with _translated(self.root):
            if not self.root.is_dir():
                return []
            for folder in self.root.iterdir():
                if _segments(folder):
                    found.append(folder.name)
                elif self._is_old(folder):
                    _remove_if_left(folder, [], partial(_is_empty, folder))
        return sorted(found, key=_by_start)

    def read(
        self, journal: str, position: int, limit_bytes: int, limit_frames: int | None = None
    ) -> list[Frame]:
        """Return whole frames from a position on, of one segment after the other."""
        found: list[Frame] = []
        left = limit_bytes
        while not found or (left > 0 and (limit_frames is None or len(found) < limit_frames)):
            most = None if limit_frames is None else limit_frames - len(found)
            try:
                some = self._sound(journal, position, left, most)
            except UnavailableError:
                if found:
                    break  # first what stands before the damage
                raise
            if not some:
                break
            found += some
            left -= some[-1].next - position
            position = some[-1].next
        return found

    def _sound(self, journal: str, position: int, limit_bytes: int, limit_frames: int | None) -> list[Frame]:
        """Return whole frames of one segment."""
        with _translated(self.root / journal):
            for attempt in range(_ATTEMPTS):
                # A failed append that is being cut off can look like damage, for that moment.
                try:
                    return self._frames(journal, position, limit_bytes, limit_frames)
                except DamageError as damage:
                    if attempt == _ATTEMPTS - 1:
                        raise UnavailableError(
                            f"journal {journal} is damaged at byte {damage.offset} of {damage.at}.",
                            at=str(self.root / journal / damage.at),
                            hint="restore the file from a backup; until then nothing behind it is read",
                        ) from damage
        raise AssertionError

    def sync(self, journal: str) -> None:
        """Flush the segments read since the last time."""
        paths = self._read.pop(journal, set())
        for path in sorted(paths):
            with _translated(path):
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fdatasync(handle)
                finally:
                    os.close(handle)

    def drop(self, journal: str, before: int, *, at_once: bool = False) -> bool:
        """Remove segments that lie wholly before a position and were not written to lately."""
        folder = self.root / journal
        with _translated(folder):
            segments = _segments(folder)
            for first, following in itertools.pairwise(segments):
                path = folder / segment_name(first)
                if following > before or not (at_once or self._is_old(path)):
                    return False
                path.unlink(missing_ok=True)
            if not segments:
                return False
            last = segments[-1]
            path = folder / segment_name(last)
            if not (at_once or self._is_old(path)):
                return False
            return _remove_if_left(folder, [path], lambda: self._is_consumed(journal, path, last, before))

    def _frames(self, journal: str, position: int, limit_bytes: int, limit_frames: int | None) -> list[Frame]:
        folder = self.root / journal
        segments = _segments(folder)
        at = bisect_right(segments, position) - 1
        if at < 0:
            begins = f"it begins at {segments[0]}" if segments else "nothing of it is left"
            raise UnavailableError(
                f"journal {journal} no longer holds byte {position}: {begins}.",
                at=str(folder),
                hint="restore the journal, or the whole state from a backup",
            )
        first = segments[at]
        following = segments[at + 1] if at + 1 < len(segments) else None
        path = folder / segment_name(first)
        offset = position - first
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size < offset:
                raise UnavailableError(
                    f"journal {journal} ends at byte {first + size}; byte {position} was read before.",
                    at=str(path),
                    hint="restore the journal, or the whole state from a backup",
                )
            limit = max(limit_bytes, 1)
            while True:
                content = _pread(file.fileno(), min(limit, size - offset), offset)
                try:
                    found = decode(content, position, at=str(path), limit=limit_frames)
                except DamageError as damage:
                    if following is None and self._is_torn(file.fileno(), offset):
                        return []
                    raise DamageError(offset + damage.offset, path.name) from damage
                if found.frames or len(content) < limit:
                    break
                limit = max(2 * limit, limit + found.wanting)
        if found.frames:
            self._read.setdefault(journal, set()).add(path)
        elif following is not None or has_whole_frame(content, found.offset):
            # An earlier segment ends with a whole append; nothing stands behind one that is being written.
            raise DamageError(offset + found.offset, path.name)
        return found.frames

    def _is_torn(self, fd: int, offset: int) -> bool:
        """Whether what lies at the end was never finished: the power failed before it was flushed.

        The file then ends in whole sectors of zeros, and no sound frame lies behind.
        """
        content = _pread(fd, os.fstat(fd).st_size - offset, offset)
        end = offset + len(content.rstrip(b"\0"))
        flushed = -(-end // _SECTOR) * _SECTOR
        return flushed < offset + len(content) and not has_whole_frame(content, 0)

    def _is_consumed(self, journal: str, path: Path, first: int, before: int) -> bool:
        """Whether a journal holds nothing behind a position, an unfinished append aside."""
        try:
            return before >= first + path.stat().st_size or not self._frames(journal, before, 1, None)
        except DamageError:
            return False

    def _is_old(self, path: Path) -> bool:
        return time.time() - path.stat().st_mtime >= self.keep_s


def _segments(folder: Path) -> list[int]:
    """Return the first positions of a journal's segments, in order."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name[:-4]) for name in names if len(name) == 24 and name.endswith(".seg"))


def _is_empty(folder: Path) -> bool:
    return not _segments(folder)


def _pread(fd: int, size: int, offset: int) -> bytes:
    """Return `size` bytes, fewer only at the end of the file."""
    content = os.pread(fd, size, offset)
    if len(content) == size:
        return content
    parts = [content]
    while parts[-1]:
        offset += len(parts[-1])
        size -= len(parts[-1])
        parts.append(os.pread(fd, size, offset))
    return b"".join(parts)


def _remove_if_left(folder: Path, segments: list[Path], is_consumed: Callable[[], bool]) -> bool:
    """Remove a journal whose process is gone and that holds nothing more; return whether it was removed."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        # Asked under the lock: nobody appends any more.
        if not is_consumed():
            return False
        for path in segments:
            path.unlink(missing_ok=True)
        folder.rmdir()
        return True
    finally:
        os.close(handle)


def _by_start(journal: str) -> tuple[str, str]:
    parts = journal.rsplit("-", 2)
    return (parts[1] if len(parts) == 3 else "", journal)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror or error}.") from error
