"""The fate of received events: new, known, in conflict with what is known, or against their contract.

It is decided once, with the state as it was before the batch, and stored with the state; a replay takes the
stored verdict and asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.batch import Batch
from holdfast.events.duplicates import CLASH, DUPLICATE, NEW, Memory
from holdfast.events.journal import EVENT, FEEDBACK, Frame
from holdfast.events.live import REFUSED, Received, check, content_digests, digests_by_id, event_ids
from holdfast.events.ports import EventId, Lake, StateWriter
from holdfast.events.reason import Reason
from holdfast.events.rule import RuleTable
from holdfast.events.source import BATCH, Source

Group = Sequence[tuple[Batch, Sequence[Frame]]]
"""Consecutive live batches with their frames."""


@dataclass(slots=True)
class Judged:
    """Events of one source with their fates.

    Attributes
    ----------
    rows : (n,) events as the lake stores them; of an unknown source, none
    kind : (n,) fate of each event
    ids : content digest of the new events, by what duplicates are found by
    """

    source: str
    received: Received
    rows: pl.DataFrame
    kind: NDArray[np.uint8]
    ids: dict[EventId, bytes] = field(default_factory=dict)

    @property
    def new(self) -> pl.DataFrame:
        """The rows that are stored."""
        if not self.rows.width or not (self.kind != NEW).any():
            return self.rows
        return self.rows.filter(pl.Series(self.kind == NEW))

    @property
    def duplicates(self) -> int:
        """Number of events that were known."""
        return int((self.kind == DUPLICATE).sum())

    def refuse(self, row: int, reason: Reason) -> None:
        """Put one event into quarantine after all."""
        self.kind[row] = REFUSED
        self.received.reasons[row] = reason

    def refusals(self, table: RuleTable | None) -> list[tuple[Any, ...]]:
        """Return the rows of the quarantine table; without a rule table, of an unknown source."""
        out = []
        received = self.received
        for row in np.flatnonzero(self.kind >= CLASH).tolist():
            reason = received.reasons[row]
            out.append(
                (
                    self.source,
                    reason.code,
                    reason.message,
                    reason.column or None,
                    received.origins[row],
                    received.raw(row, table),
                    received.arrived[row],
                    received.slots[row][0],
                )
            )
        return out


@dataclass(slots=True)
class Judge:
    """Decides fates; remembers, of days whose ids are forgotten, what the lake does not have yet."""

    sources: Mapping[str, Source]
    tables: Mapping[str, RuleTable]
    lake: Lake
    late: dict[EventId, bytes] = field(default_factory=dict)

    def decide(self, group: Group, online: StateWriter, since: int) -> list[Judged]:
        """Return every event of consecutive batches with its fate.

        Parameters
        ----------
        online : the state before the first of the batches
        since : first day of which every id is in that state
        """
        out = []
        first = group[0][0].number
        for name, received in _events(group).items():
            table = self.tables.get(name)
            if table is None:
                out.append(_of_nobody(name, received))
                continue
            rows = received.rows(table)
            check(table, rows, received.reasons)
            kind = np.zeros(rows.height, np.uint8)
            kind[list(received.reasons)] = REFUSED
            judged = Judged(name, received, rows, kind)
            if self.sources[name].schema.event_id is not None:
                self._tell_apart(judged, online, since, first)
            out.append(judged)
        return out

    def repeat(self, group: Group, verdicts: Mapping[int, bytes], since: int) -> list[Judged]:
        """Return every event of consecutive batches with the fate that was stored."""
        out = []
        for name, received in _events(group).items():
            table = self.tables.get(name)
            if table is None:
                out.append(_of_nobody(name, received))
                continue
            schema = self.sources[name].schema
            rows = received.rows(table)
            kind = np.array([verdicts[number][place] for number, place in received.slots], np.uint8)
            kind[[row for row in received.reasons if kind[row] == NEW]] = REFUSED
            check(table, rows, received.reasons)
            judged = Judged(name, received, rows, kind)
            for row in np.flatnonzero(kind >= CLASH).tolist():
                if kind[row] == CLASH and schema.event_id is not None:
                    received.reasons[row] = _clash(schema.event_id.name, rows[schema.event_id.name][row])
                received.reasons.setdefault(row, Reason("HF200", "", "it was refused when it was applied."))
            known = digests_by_id(name, schema, judged.new)
            self.late.update({each: digest for each, digest in known.items() if each.day < since})
            out.append(judged)
        return out

    def _tell_apart(self, judged: Judged, online: StateWriter, since: int, first: int) -> None:
        """Find duplicates among what is remembered, what waits for the lake, and the lake."""
        source = self.sources[judged.source]
        column = source.schema.event_id
        assert column is not None
        places = np.flatnonzero(judged.kind == NEW)
        rows = judged.rows[places]
        ids = event_ids(source.name, source.schema, rows)
        digests = content_digests(source.schema, rows)
        known = [self.late.get(each) or found for each, found in zip(ids, online.find_ids(ids), strict=True)]
        old = [i for i, each in enumerate(ids) if not known[i] and each.day < since]
        fates: dict[int, tuple[int, str]] = {}
        if old:
            # Of a batch that is decided again the lake may have rows already, so it asks for earlier ones.
            memory = Memory(source, self.lake, among=pl.col(BATCH) < first)
            fate = memory.compare(rows[old].select(source.schema.names))
            messages = iter(fate.messages)
            fates = {
                i: (kind, next(messages) if kind == CLASH else "")
                for i, kind in zip(old, fate.kind.tolist(), strict=True)
            }
        for i, (each, digest) in enumerate(zip(ids, digests, strict=True)):
            seen = judged.ids.get(each) or known[i]
            if seen:
                kind, message = (DUPLICATE if seen == digest else CLASH), ""
            else:
                kind, message = fates.get(i, (NEW, ""))
            if kind == NEW:
                judged.ids[each] = digest
            elif kind == CLASH:
                reason = _clash(column.name, rows[column.name][i])
                judged.received.reasons[int(places[i])] = (
                    Reason(reason.code, reason.column, message) if message else reason
                )
            judged.kind[places[i]] = kind


def packed(group: Group, judged: Sequence[Judged]) -> bytes:
    """Return the fates of all events as they are stored: by batch, one byte for each of its events."""
    out = {
        batch.number: bytearray(sum(frame.kind in (EVENT, FEEDBACK) for frame in frames))
        for batch, frames in group
    }
    for each in judged:
        for (number, place), kind in zip(each.received.slots, each.kind.tolist(), strict=True):
            out[number][place] = kind
    return msgspec.msgpack.encode({number: bytes(kinds) for number, kinds in out.items()})


def unpacked(verdicts: bytes) -> dict[int, bytes]:
    """Return what `packed` packed."""
    return msgspec.msgpack.decode(verdicts, type=dict[int, bytes])


def _events(group: Group) -> dict[str, Received]:
    """Return the events of consecutive batches by source, in order."""
    out: dict[str, Received] = {}
    for batch, frames in group:
        place = 0
        for frame in frames:
            if frame.kind in (EVENT, FEEDBACK):
                origin = f"{batch.input}/{frame.position}"
                out.setdefault(frame.source, Received()).add(frame, (batch.number, place), origin)
                place += 1
    return out


def _of_nobody(name: str, received: Received) -> Judged:
    count = len(received.slots)
    reason = Reason("HF300", "", f"there is no source `{name}`.")
    received.reasons = dict.fromkeys(range(count), reason)
    return Judged(name, received, pl.DataFrame(), np.full(count, REFUSED, np.uint8))


def _clash(column: str, value: Any) -> Reason:
    return Reason("HF210", column, f"`{column}` {value!r} was seen with different content.")
