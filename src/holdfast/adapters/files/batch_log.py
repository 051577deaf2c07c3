"""The batch log: one append-only file of framed entries, under an exclusive lock.

Frame (version 1): magic ``HFBL`` (4 bytes), version (1), payload length (u32, little endian), CRC-32 of
version, length and payload (u32, little endian), payload (canonical JSON). A payload is a batch, a mark of
what is settled, or, in the first frame only, the summary of batches that the file no longer lists.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from holdfast.adapters.durable import sync_folder
from holdfast.events.batch import Batch, Load, Logged
from holdfast.kernel.errors import ConflictError, ContractError, UnavailableError
from holdfast.kernel.ids import canonical_json, from_data

MAGIC = b"HFBL"
VERSION = 1
COMPACT_BYTES = 4 * 2**20
"""Size at which settled batches are replaced by their summary."""
_HEAD = struct.Struct("<4sBII")
_SIGNED = struct.Struct("<BI")


@dataclass(frozen=True, slots=True)
class _Summary:
    """Payload of the first frame of a file that was compacted."""

    through: int
    loads: tuple[Load, ...]
    consumed: dict[str, int]


class BatchLogFile:
    """Implements the batch log port as a file; a lock file beside it names the holder.

    Parameters
    ----------
    path : the log; made when first written to
    compact_bytes : size from which `compact` does something
    """

    def __init__(self, path: str | Path, *, compact_bytes: int = COMPACT_BYTES) -> None:
        self.path = Path(path)
        self.compact_bytes = compact_bytes
        self._held: BinaryIO | None = None
        self._size = 0

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Hold the shard; the operating system releases it when the process dies."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_name(f"{self.path.name}.lock")
        with lock.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().decode(errors="replace").strip() or "unknown"
                raise ConflictError(
                    f"another process (pid {holder}) holds {self.path.name}.",
                    code="HF303",
                    at=str(self.path),
                    hint=f"wait for it, or stop it: kill {holder}",
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
            file.flush()
            try:
                self._part.unlink(missing_ok=True)
                self._hold(self.path.open("a+b", buffering=0))
                yield
            finally:
                if self._held is not None:
                    self._held.close()
                self._held = None
                fcntl.flock(file, fcntl.LOCK_UN)

    def append(self, *batches: Batch) -> None:
        """Record batches durably, in one flush; the lease must be held."""
        self._append(b"".join(_frame(batch) for batch in batches))

    def settle(self, number: int) -> None:
        """Record that every batch up to this one is wholly in the lake; the lease must be held."""
        self._append(_frame({"settled": number}))

    def read(self) -> Logged:
        """Return what the log holds; a torn last entry is not part of it."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return Logged()
        except OSError as error:
            raise UnavailableError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        return self._parse(content)[0]

    def entries(self) -> Iterator[Batch]:
        """Yield the batches that are not summarised, in order."""
        yield from self.read().batches

    def compact(self, journals: Collection[str]) -> bool:
        """Replace the file by one that summarises settled batches, if it has grown long."""
        self._held_log()
        if self._size < self.compact_bytes:
            return False
        logged = self.read()
        if logged.settled <= logged.through:
            return False
        listed = tuple(batch for batch in logged.batches if batch.number > logged.settled)
        old = Logged(
            logged.through, logged.loads, logged.consumed, logged.batches[: len(logged.batches) - len(listed)]
        )
        summary = _Summary(
            logged.settled,
            tuple(old.loaded().values()),
            {name: at for name, at in old.positions().items() if name in journals},
        )
        try:
            with self._part.open("wb") as file:
                file.write(_frame(summary) + b"".join(map(_frame, listed)))
                file.flush()
                os.fsync(file.fileno())
            self._part.replace(self.path)
            sync_folder(self.path.parent)
            self._hold(self.path.open("a+b", buffering=0))
        except OSError as error:
            raise self._unavailable(error) from error
        return True

    @property
    def _part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    def _held_log(self) -> BinaryIO:
        if self._held is None:
            raise ConflictError("the batch log is written to without its lease.", code="HF303")
        return self._held

    def _append(self, frames: bytes) -> None:
        log = self._held_log()
        try:
            if os.fstat(log.fileno()).st_size != self._size:
                os.ftruncate(log.fileno(), self._size)  # what an earlier failure left behind
            written = 0
            while written < len(frames):
                written += os.write(log.fileno(), frames[written:])
            os.fsync(log.fileno())
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(log.fileno(), self._size)
            raise self._unavailable(error) from error
        self._size += len(frames)

    def _hold(self, log: BinaryIO) -> None:
        """Go on with an open log: drop its torn tail, and append to it from now on."""
        if self._held is not None:
            self._held.close()
        self._held = log
        log.seek(0)
        content = log.read()
        _, self._size = self._parse(content)
        if self._size < len(content):
            log.truncate(self._size)
            os.fsync(log.fileno())
        if not self._size:
            sync_folder(self.path.parent)

    def _parse(self, content: bytes) -> tuple[Logged, int]:
        """Return what the frames say, and where the last whole one ends."""
        summary = _Summary(0, (), {})
        batches: list[Batch] = []
        settled = position = 0
        while (payload := self._payload(content, position)) is not None:
            data = msgspec.json.decode(payload)
            if "number" in data:
                batches.append(from_data(Batch, data))
            elif "settled" in data:
                settled = max(settled, int(data["settled"]))
            elif "through" in data and not position:
                summary = from_data(_Summary, data)
            else:
                raise self._damaged(position, "an entry is none that this version writes")
            position += _HEAD.size + len(payload)
        self._check_tail(content, position)
        settled = max(settled, summary.through)
        return Logged(summary.through, summary.loads, summary.consumed, tuple(batches), settled), position

    def _payload(self, content: bytes, position: int) -> bytes | None:
        """Return the payload of the frame at a position, or None where no whole frame begins."""
        if position + _HEAD.size > len(content):
            return None
        magic, version, length, check = _HEAD.unpack_from(content, position)
        payload = content[position + _HEAD.size : position + _HEAD.size + length]
        if magic != MAGIC or len(payload) < length:
            return None
        if zlib.crc32(_SIGNED.pack(version, length) + payload) != check:
            return None
        if version > VERSION:
            raise ContractError(
                f"{self.path.name} has format {version}; this version reads up to {VERSION}.",
                code="HF304",
                at=str(self.path),
                hint="use the newer holdfast that wrote it",
            )
        return payload

    def _check_tail(self, content: bytes, position: int) -> None:
        """Refuse damage that is not a torn last entry: a whole frame lies behind it."""
        later = content.find(MAGIC, position + 1)
        while later >= 0:
            if self._payload(content, later) is not None:
                raise self._damaged(position, "whole entries lie behind the damage")
            later = content.find(MAGIC, later + 1)

    def _damaged(self, position: int, why: str) -> ContractError:
        return ContractError(
            f"{self.path.name} is damaged at byte {position}; {why}.",
            code="HF200",
            at=str(self.path),
            hint="restore it from a backup",
        )

    def _unavailable(self, error: OSError) -> UnavailableError:
        return UnavailableError(f"{self.path} cannot be written: {error.strerror or error}.")


def _frame(value: Any) -> bytes:
    payload = canonical_json(value)
    signed = _SIGNED.pack(VERSION, len(payload)) + payload
    return _HEAD.pack(MAGIC, VERSION, len(payload), zlib.crc32(signed)) + payload
