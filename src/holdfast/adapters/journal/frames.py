"""The bytes of a frame, version 1; `docs/reference/formats/journal-frame.md` says the same in words."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from holdfast.events.journal import MAX_FRAME_BYTES, MAX_SOURCE_BYTES, Entry, Frame
from holdfast.kernel.errors import ConflictError, ContractError

MAGIC = b"HFJ1"
VERSION = 1
MORE = 0x80
"""Set in the kind of a frame that the next frame was appended together with."""

HEAD = struct.Struct("<4sBBHIqI")
_SIGNED = struct.Struct("<BBHIq")


def encode(frames: Sequence[Entry]) -> bytes:
    """Return the bytes of one append.

    Raises
    ------
    ContractError
        If a source or payload is too long (HF208).
    """
    parts: list[bytes] = []
    last = len(frames) - 1
    for i, (kind, source, arrived_us, payload) in enumerate(frames):
        name = source.encode()
        if len(payload) > MAX_FRAME_BYTES or len(name) > MAX_SOURCE_BYTES:
            raise ContractError(
                f"a frame of source {source[:40]!r} has {len(payload):,} bytes of payload; a journal takes "
                f"{MAX_FRAME_BYTES:,}.",
                code="HF208",
                hint="send less in one event",
            )
        if i < last:
            kind |= MORE
        signed = _SIGNED.pack(kind, VERSION, len(name), len(payload), arrived_us)
        body = name + payload
        check = zlib.crc32(body, zlib.crc32(signed))
        parts += (MAGIC, signed, check.to_bytes(4, "little"), body)
    return b"".join(parts)


class DamageError(Exception):
    """A frame does not hold what its head says; carries its offset, and of which file."""

    def __init__(self, offset: int, at: str = "") -> None:
        super().__init__(offset, at)
        self.offset = offset
        self.at = at


class Decoded(NamedTuple):
    """What bytes hold: the frames of whole appends, and what stands behind the last whole frame.

    Attributes
    ----------
    offset : where the first frame begins that is not whole
    wanting : how many bytes it wants at least
    """

    frames: list[Frame]
    offset: int
    wanting: int


def decode(content: bytes, first: int, *, at: str, limit: int | None = None) -> Decoded:
    """Return the frames of all whole appends.

    Parameters
    ----------
    content : bytes of a segment from the beginning of a frame on
    first : position of the first of them in the journal
    at : name of the segment, for messages
    limit : frames after which the next append is left

    Raises
    ------
    DamageError
        At the first frame that is not sound, if its bytes are all there and no whole append stands before it.
    ConflictError
        If a newer version wrote a frame (HF304).
    """
    frames: list[Frame] = []
    whole = 0  # frames that belong to whole appends
    offset, size = 0, len(content)
    wanting = HEAD.size
    most = size if limit is None else limit
    while offset + HEAD.size <= size:
        magic, kind, version, n_source, n_payload, arrived_us, check = HEAD.unpack_from(content, offset)
        start = offset + HEAD.size
        end = start + n_source + n_payload
        if magic != MAGIC or n_payload > MAX_FRAME_BYTES:
            return _sound(frames[:whole], offset)
        if end > size:
            wanting = end - size
            break
        body = content[start:end]
        signed = _SIGNED.pack(kind, version, n_source, n_payload, arrived_us)
        if zlib.crc32(body, zlib.crc32(signed)) != check:
            return _sound(frames[:whole], offset)
        if version > VERSION:
            if whole:
                break
            raise ConflictError(
                f"a frame has format {version}; this version reads up to {VERSION}.",
                code="HF304",
                at=f"{at} at byte {offset}",
                hint="use the newer holdfast that wrote it",
            )
        try:
            source = body[:n_source].decode()
        except UnicodeDecodeError:  # no writer of ours wrote it, however well its check fits
            return _sound(frames[:whole], offset)
        frames.append(
            Frame(
                kind & ~MORE,
                source,
                arrived_us,
                body[n_source:],
                first + offset,
                first + end,
            )
        )
        offset = end
        if not kind & MORE:
            whole = len(frames)
            if whole >= most:
                break
    else:
        wanting = offset + HEAD.size - size
    return Decoded(frames[:whole], offset, wanting)


def _sound(frames: list[Frame], offset: int) -> Decoded:
    """Return what stands before damage; the damage itself once nothing does."""
    if frames:
        return Decoded(frames, offset, 0)
    raise DamageError(offset)


def has_whole_frame(content: bytes, after: int) -> bool:
    """Whether a sound frame begins anywhere behind an offset."""
    at = content.find(MAGIC, after + 1)
    while at >= 0:
        if at + HEAD.size <= len(content):
            _, kind, version, n_source, n_payload, arrived_us, check = HEAD.unpack_from(content, at)
            end = at + HEAD.size + n_source + n_payload
            signed = _SIGNED.pack(kind, version, n_source, n_payload, arrived_us)
            if end <= len(content) and zlib.crc32(content[at + HEAD.size : end], zlib.crc32(signed)) == check:
                return True
        at = content.find(MAGIC, at + 1)
    return False
