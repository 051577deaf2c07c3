"""What journals hold: read, logged as batches, read again after a kill, dropped once it is elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from holdfast.events.batch import JOURNAL, Batch
from holdfast.events.journal import EVENT, FEEDBACK, KINDS, PREDICTION, REJECTED, Frame, JournalReader
from holdfast.events.ports import BatchLog
from holdfast.kernel.errors import ConflictError, HoldfastError, UnavailableError

MAX_BYTES = 4 * 2**20
MAX_FRAMES = 5_000
"""What one step reads of one journal at most."""

Group = list[tuple[Batch, list[Frame]]]
"""Consecutive batches with their frames, one a journal."""

_COUNTED = {EVENT: "events", PREDICTION: "predictions", FEEDBACK: "feedback", REJECTED: "rejected"}


class Inbox:
    """How far every journal was read.

    Attributes
    ----------
    positions : by journal, the position behind what is in the log
    applied : the same for what is in the online state, and not dropped yet
    """

    def __init__(self, journals: JournalReader, log: BatchLog) -> None:
        self._journals, self._log = journals, log
        self.positions: dict[str, int] = {}
        self.applied: dict[str, int] = {}

    def gather(self, after: int) -> tuple[Group, bool, list[HoldfastError]]:
        """Read every journal once; one that cannot be read does not hold up the others.

        Parameters
        ----------
        after : number of the last batch in the log

        Returns
        -------
        Batches to be logged, whether a journal may hold more, and what is wrong with those not read.
        """
        group: Group = []
        problems: list[HoldfastError] = []
        more = False
        for journal in self._journals.journals():
            try:
                frames = self._journals.read(journal, self.positions.get(journal, 0), MAX_BYTES, MAX_FRAMES)
                _check_kinds(journal, frames)
            except (UnavailableError, ConflictError) as error:
                problems.append(error)
                continue
            if not frames:
                continue
            more = more or len(frames) >= MAX_FRAMES or frames[-1].next - frames[0].position >= MAX_BYTES
            frames = frames[:MAX_FRAMES]
            kinds = Counter(frame.kind for frame in frames)
            batch = Batch(
                after + len(group) + 1,
                "",
                f"{JOURNAL}{journal}",
                frames[0].position,
                frames[-1].next,
                "",
                {_COUNTED[kind]: n for kind, n in sorted(kinds.items())},
            )
            group.append((batch, frames))
        return group, more, problems

    def log(self, group: Group) -> None:
        """Append batches to the log, their frames durable before."""
        for batch, _ in group:
            self._journals.sync(journal_of(batch))
        self._log.append(*(batch for batch, _ in group))
        self.positions.update({journal_of(batch): batch.last for batch, _ in group})

    def again(self, batch: Batch) -> list[Frame]:
        """Read the frames of a logged batch once more."""
        journal = journal_of(batch)
        frames: list[Frame] = []
        position = batch.first
        while position < batch.last:
            some = self._journals.read(journal, position, batch.last - position)
            some = [frame for frame in some if frame.position < batch.last]
            if not some:
                raise UnavailableError(
                    f"journal {journal} ends at byte {position}, but batch {batch.number} at {batch.last}.",
                    code="HF600",
                    hint="restore the journal, or the whole state from a backup",
                )
            frames += some
            position = some[-1].next
        return frames

    def drop(self, *, at_once: bool = False) -> None:
        """Let journals forget what was applied; the lake has it."""
        for journal, position in list(self.applied.items()):
            if self._journals.drop(journal, position, at_once=at_once):
                del self.applied[journal], self.positions[journal]


def journal_of(batch: Batch) -> str:
    """Return the journal that a live batch was read from."""
    assert batch.journal is not None
    return batch.journal


def _check_kinds(journal: str, frames: Sequence[Frame]) -> None:
    unknown = sorted({frame.kind for frame in frames} - set(KINDS))
    if unknown:
        raise ConflictError(
            f"journal {journal} holds frames of kind {unknown[0]}, which this version does not know.",
            code="HF304",
            at=journal,
            hint="use the newer holdfast that wrote it",
        )
