"""The journal: what a process accepted, in order, before it answered; the port, and what a frame may carry.

Each process appends to a journal of its own. The applier reads all of them and brings what they hold into the
online state and the lake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol

import msgspec

from holdfast.kernel.errors import ContractError
from holdfast.kernel.time import instant_of

EVENT: Final = 1
"""An accepted event; payload: its stored values by column, missing ones left out."""
PREDICTION: Final = 2
"""An answer; payload: the fields of its prediction record by name."""
FEEDBACK: Final = 3
"""An outcome that was reported; payload: an event of the source that takes feedback."""
REJECTED: Final = 4
"""An event that broke its contract; payload: `code`, `column`, `reason` and `raw`, all text."""
KINDS: Final = (EVENT, PREDICTION, FEEDBACK, REJECTED)
"""Kinds of frames that version 1 knows."""

MAX_FRAME_BYTES: Final = 16 * 2**20
"""Longest payload of one frame; a longer one is refused when it is appended."""
MAX_SOURCE_BYTES: Final = 65_535
"""Longest name of a source."""

Durability = Literal["process", "power"]
"""What an acknowledged frame survives: the death of any process, or also the loss of power."""

Entry = tuple[int, str, int, bytes]
"""A frame to be appended: kind, source, arrival time in microseconds UTC, payload."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One accepted fact, as it lies in a journal.

    Attributes
    ----------
    source : name of the source, or of the model for a prediction record
    arrived_us : when the process received it
    payload : MessagePack, by the kind
    position, next : byte positions of the frame and behind it, counted from the journal's beginning
    """

    kind: int
    source: str
    arrived_us: int
    payload: bytes
    position: int
    next: int


class JournalWriter(Protocol):
    """The one journal of one process, appended to before an answer leaves.

    Atomicity: the entries of one append are seen by readers, and survive, all together or not at all. An
    append that raises has left nothing behind, and the next one is clean. Ordering: positions grow in the
    order in which appends return; threads may append together. Durability: when `append` returns, its frames
    survive the death of the process (``process``); when `sync` returns, everything appended before also
    survives the loss of power (``power``; otherwise `sync` does nothing). Journals are never reopened: a
    process that starts again has a new one.

    Proved for every adapter by `holdfast.testing.journal_contract.JournalContract`.
    """

    @property
    def id(self) -> str:
        """Name of the journal, unique for ever: ``<name>-<start>-<process id>``."""
        ...

    def append(self, frames: Sequence[Entry]) -> int:
        """Append frames and return the position behind them.

        Raises
        ------
        ContractError
            If a frame is longer than a frame can be (HF208).
        UnavailableError
            If the journal cannot be written, such as on a full disk; nothing was appended.
        """
        ...

    def sync(self) -> None:
        """Return when everything appended so far is as durable as was promised.

        Threads that wait at the same time share one flush.

        Raises
        ------
        UnavailableError
            If the flush failed; the writer then accepts nothing more.
        """
        ...

    def close(self) -> None:
        """End the journal; one that nothing was appended to leaves nothing behind. Repeats are harmless."""
        ...


class JournalReader(Protocol):
    """All journals of a project, read by its one applier while their writers append.

    Consistency: a read sees whole appends only, in order and without gaps; what was seen once is seen again
    by every later read, until it is dropped. An append that its process did not finish is not there. Damage
    is refused (UnavailableError, HF600, with file and offset), never skipped.

    Proved for every adapter by `holdfast.testing.journal_contract.JournalContract`.
    """

    def journals(self) -> list[str]:
        """Return the ids of all journals that hold something or still may, oldest first."""
        ...

    def read(
        self, journal: str, position: int, limit_bytes: int, limit_frames: int | None = None
    ) -> list[Frame]:
        """Return whole frames from a position on, as long as both limits last; of one append at least.

        Parameters
        ----------
        position : 0, or the `next` of a frame
        limit_bytes, limit_frames : what ends the reading; the append that exceeds one of them may be whole

        Raises
        ------
        UnavailableError
            If the position was dropped, or the journal is damaged there.
        ConflictError
            If a newer version wrote the frames (HF304).
        """
        ...

    def sync(self, journal: str) -> None:
        """Return when everything read from the journal so far survives the loss of power."""
        ...

    def drop(self, journal: str, before: int, *, at_once: bool = False) -> bool:
        """Allow everything before a position to be forgotten; return whether that removed the whole journal.

        Segments that lie wholly before it go after the retention time of the adapter, or now with `at_once`.
        A journal whose writer is gone and that holds nothing behind the position goes as a whole.
        """
        ...


# --------------------------------------------------------------------------------------------- payloads

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder()


def encode_payload(values: Mapping[str, Any]) -> bytes:
    """Return the payload of a frame: a MessagePack map without missing values, times as microseconds."""
    return _ENCODER.encode(
        {
            name: instant_of(value) if isinstance(value, datetime) else value
            for name, value in values.items()
            if value is not None
        }
    )


def decode_payload(payload: bytes) -> dict[str, Any]:
    """Return the map that a payload holds.

    Raises
    ------
    ContractError
        If it holds no map (HF214).
    """
    try:
        values = _DECODER.decode(payload)
    except (msgspec.DecodeError, ValueError) as error:
        raise ContractError(f"the payload of a frame cannot be parsed: {error}.", code="HF214") from error
    if not isinstance(values, dict):
        raise ContractError(f"the payload of a frame is a map, found {type(values).__name__}.", code="HF214")
    return values
