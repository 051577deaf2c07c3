"""Journals in memory: the ports' semantics without files, for tests of whatever writes or reads journals."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from holdfast.events.journal import MAX_FRAME_BYTES, MAX_SOURCE_BYTES, Entry, Frame
from holdfast.kernel.errors import ContractError, UnavailableError

_HEAD = 24


class MemoryJournal:
    """A `holdfast.events.journal.JournalReader` that lives as long as the object, and makes its writers."""

    def __init__(self) -> None:
        self._frames: dict[str, list[tuple[Frame, bool]]] = {}
        self._ends: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._open: set[str] = set()
        self._lock = threading.Lock()
        self._count = 0

    def writer(self, name: str) -> MemoryJournalWriter:
        """Begin a journal, as a process that starts."""
        with self._lock:
            self._count += 1
            journal = f"{name}-{self._count:011d}-1"
            self._frames[journal], self._ends[journal], self._dropped[journal] = [], 0, 0
            self._open.add(journal)
        return MemoryJournalWriter(journal, self)

    def journals(self) -> list[str]:
        """Return the ids of all journals, oldest first."""
        return list(self._frames)

    def read(
        self, journal: str, position: int, limit_bytes: int, limit_frames: int | None = None
    ) -> list[Frame]:
        """Return whole appends from a position on."""
        with self._lock:
            if journal not in self._frames or position < self._dropped[journal]:
                raise UnavailableError(f"journal {journal} no longer holds byte {position}.")
            if position > self._ends[journal]:
                raise UnavailableError(f"journal {journal} ends at byte {self._ends[journal]}.")
            found: list[Frame] = []
            for frame, is_last in self._frames[journal]:
                if frame.position >= position:
                    found.append(frame)
                    enough = limit_frames is not None and len(found) >= limit_frames
                    if is_last and (enough or frame.next - position >= limit_bytes):
                        break
            return found

    def sync(self, journal: str) -> None:
        """Do nothing."""

    def drop(self, journal: str, before: int, *, at_once: bool = False) -> bool:
        """Forget what lies before a position, and a closed journal wholly."""
        with self._lock:
            if journal not in self._frames:
                return False
            self._dropped[journal] = max(before, self._dropped[journal])
            self._frames[journal] = [pair for pair in self._frames[journal] if pair[0].next > before]
            if self._frames[journal] or journal in self._open:
                return False
            del self._frames[journal], self._ends[journal], self._dropped[journal]
            return True

    def _append(self, journal: str, frames: Sequence[Entry]) -> int:
        with self._lock:
            if journal not in self._open:
                raise UnavailableError(f"journal {journal} is closed.")
            position = self._ends[journal]
            added = []
            for kind, source, arrived_us, payload in frames:
                if len(payload) > MAX_FRAME_BYTES or len(source.encode()) > MAX_SOURCE_BYTES:
                    raise ContractError("a frame is too long for a journal.", code="HF208")
                end = position + _HEAD + len(source.encode()) + len(payload)
                added.append((Frame(kind, source, arrived_us, payload, position, end), False))
                position = end
            if added:
                added[-1] = (added[-1][0], True)
            self._frames[journal] += added
            self._ends[journal] = position
            return position

    def _close(self, journal: str) -> None:
        with self._lock:
            if journal in self._open:
                self._open.discard(journal)
                if not self._ends[journal]:
                    del self._frames[journal], self._ends[journal], self._dropped[journal]


class MemoryJournalWriter:
    """A `holdfast.events.journal.JournalWriter` of a `MemoryJournal`."""

    def __init__(self, journal: str, journals: MemoryJournal) -> None:
        self.id = journal
        self._journals = journals

    def append(self, frames: Sequence[Entry]) -> int:
        """Append frames and return the position behind them."""
        return self._journals._append(self.id, frames)

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """End the journal."""
        self._journals._close(self.id)
