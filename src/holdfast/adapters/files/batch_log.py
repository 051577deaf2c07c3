"""The batch log: one append-only file of framed entries, under an exclusive lock.

Frame (version 1): magic ``HFBL`` (4 bytes), version (1), payload length (u32, little endian), CRC-32 of
version, length and payload (u32, little endian), payload (canonical JSON of the batch).
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from holdfast.adapters.files.staging import sync_folder
from holdfast.events.ports import Batch
from holdfast.kernel.errors import ConflictError, ContractError, UnavailableError
from holdfast.kernel.ids import canonical_json, from_data

MAGIC = b"HFBL"
VERSION = 1
_HEAD = struct.Struct("<4sBII")
_SIGNED = struct.Struct("<BI")


class BatchLogFile:
    """Implements the batch log port as a file; a lock file beside it names the holder.

    Parameters
    ----------
    path : the log; made when first written to
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._held: BinaryIO | None = None

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
                with self.path.open("a+b") as log:
                    self._drop_torn_tail(log)
                    self._held = log
                    yield
            finally:
                self._held = None
                fcntl.flock(file, fcntl.LOCK_UN)

    def append(self, batch: Batch) -> None:
        """Record the batch durably; the lease must be held."""
        if self._held is None:
            raise ConflictError("the batch log is appended to without its lease.", code="HF303")
        payload = canonical_json(batch)
        signed = _SIGNED.pack(VERSION, len(payload)) + payload
        frame = _HEAD.pack(MAGIC, VERSION, len(payload), zlib.crc32(signed)) + payload
        try:
            self._held.write(frame)
            self._held.flush()
            os.fsync(self._held.fileno())
        except OSError as error:
            raise UnavailableError(f"{self.path} cannot be written: {error.strerror or error}.") from error

    def entries(self) -> Iterator[Batch]:
        """Yield all batches in order; a torn last entry is not one."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        position = 0
        while (payload := self._payload(content, position)) is not None:
            yield from_data(Batch, msgspec.json.decode(payload))
            position += _HEAD.size + len(payload)
        self._check_tail(content, position)

    def _drop_torn_tail(self, log: BinaryIO) -> None:
        log.seek(0)
        content = log.read()
        position = 0
        while (payload := self._payload(content, position)) is not None:
            position += _HEAD.size + len(payload)
        self._check_tail(content, position)
        if position < len(content):
            log.truncate(position)
            log.flush()
            os.fsync(log.fileno())
        if not position:
            sync_folder(self.path.parent)

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
                raise ContractError(
                    f"{self.path.name} is damaged at byte {position}; whole entries lie behind the damage.",
                    code="HF200",
                    at=str(self.path),
                    hint="restore it from a backup",
                )
            later = content.find(MAGIC, later + 1)
