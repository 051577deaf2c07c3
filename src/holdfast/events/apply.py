"""Apply what was received: journals become batches, batches become online state and rows of the lake.

One process holds the shard. Each step reads every journal once, logs one batch for each that has something
new, decides what is new, duplicate or refused, and commits state and verdicts together. Appends to the lake
are coarser: `flush` writes the rows of all batches since the last one. Killed between any two of these and
started again, it reads the same frames again, under the verdicts that were committed with the state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl

from holdfast.events.batch import Batch
from holdfast.events.duplicates import NEW
from holdfast.events.fate import Judge, Judged, packed, unpacked
from holdfast.events.handover import HandOver
from holdfast.events.inbox import Group, Inbox, journal_of
from holdfast.events.journal import JournalReader
from holdfast.events.live import digests_by_id
from holdfast.events.load import Loads
from holdfast.events.logged import APP
from holdfast.events.ports import QUARANTINE, BatchLog, Blob, EventId, History, Lake, Staging, StateWriter
from holdfast.events.reason import Reason
from holdfast.events.records import Recorder, records, rejections
from holdfast.events.refusals import QUARANTINE_SCHEMA
from holdfast.events.rule import RuleTable, compile_rules
from holdfast.events.source import Source
from holdfast.events.statefold import Fold, Get, StateFold
from holdfast.events.waiting import Waiting
from holdfast.kernel.errors import ContractError, HoldfastError, UnavailableError
from holdfast.kernel.ports import Clock
from holdfast.kernel.time import DAY

HELD_ROWS = 200_000
"""Rows that wait for the lake at most; then a step begins with a flush."""
LIVE_STEPS = ("read", "logged", "judged", "committed", "appended", "flushed", "settled", "dropped")
LOAD_STEPS = ("load staged", "load logged", "load stored", "load committed", "load answered")
STEPS = (*LIVE_STEPS, *LOAD_STEPS)
"""What the `faults` argument of an applier hears of; `appended` after each table."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did.

    Attributes
    ----------
    batch : last batch that the online state holds
    frames : frames read from journals
    events, duplicates : events that are new, and that were known
    quarantined : frames by the code of their reason, rejected ones included
    records : frames of kinds that have a table of their own
    loaded : rows of a load that was handed over
    oldest_us : arrival of the oldest frame of this step, None where there was none
    pending : rows that wait for `flush`
    more : whether something is left that the next step could take at once
    problems : what is wrong with journals that could not be read; the others were
    """

    batch: int
    frames: int = 0
    events: int = 0
    duplicates: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    records: int = 0
    loaded: int = 0
    oldest_us: int | None = None
    pending: int = 0
    more: bool = False
    problems: tuple[HoldfastError, ...] = ()


class Applier:
    """The one writer of a shard's batch log, online state and tables. For one thread.

    A context manager: it takes the lease and recovers, and at the end flushes and lets go::

        with Applier(sources, lake=..., log=..., ...) as applier:
            while running:
                report = applier.step()
                if due:
                    applier.flush()

    A call that raises UnavailableError may be repeated: nothing is lost or doubled by it. After any other
    error make a new one.

    Parameters
    ----------
    sources : all sources of the project; events of others go into quarantine
    lake, log, journals, online, staging, clock : what it needs of the world
    fold : of online features; none where there are no views
    recorders : by kind of frame, tables of records; predictions, for one
    hand_over : where processes without the lease leave batch loads
    fixed_point_bounded : by source, columns that enter sum, mean, std or var
    remember_us : how long ids are remembered online; duplicates of older events are found in the lake
    faults : called with the name of each finished step (`STEPS`); tests die there

    Notes
    -----
    Law: every journalled event is in the lake and in the state exactly once, and every record once, wherever
    the process dies (tests/faults/test_applier_kill.py).
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        lake: Lake,
        log: BatchLog,
        journals: JournalReader,
        online: StateWriter,
        staging: Staging,
        clock: Clock,
        fold: Fold | None = None,
        recorders: Mapping[int, Recorder] | None = None,
        hand_over: HandOver | None = None,
        fixed_point_bounded: Mapping[str, frozenset[str]] | None = None,
        remember_us: int = 40 * DAY,
        faults: Callable[[str], None] | None = None,
    ) -> None:
        bounded = fixed_point_bounded or {}
        self.sources = {source.name: source for source in sources}
        self.tables: dict[str, RuleTable] = {
            name: compile_rules(source.schema, fixed_point_bounded=bounded.get(name, frozenset()))
            for name, source in self.sources.items()
        }
        self.lake, self.log, self.online = lake, log, online
        self.staging, self.clock, self.hand_over = staging, clock, hand_over
        self.recorders = dict(recorders or {})
        self.remember_us = remember_us
        self.faults = faults or (lambda step: None)
        self.settled = 0
        """Every batch up to this one is wholly in the lake."""
        self.batch = 0
        """The last batch that the online state holds."""
        self._number = 0  # the last batch in the log
        self._todo: Group = []  # logged, not on their way to the lake
        self._load: tuple[str, Batch] | None = None  # logged, not wholly applied
        self._inbox = Inbox(journals, log)
        self._loads = Loads(
            self.sources,
            self.tables,
            hand_over,
            self.faults,
            lake=lake,
            log=log,
            staging=staging,
            clock=clock,
        )
        self._waiting = Waiting(lake)
        self._judge = Judge(self.sources, self.tables, lake)
        self._state = StateFold(self.sources, self.tables, lake, self._waiting, fold or _fold_nothing)
        self._held = ExitStack()

    # --- life -----------------------------------------------------------------------------------------

    def __enter__(self) -> Applier:
        """Take the lease and recover.

        Raises
        ------
        ConflictError
            If another process holds the shard (HF303).
        """
        with ExitStack() as stack:
            stack.enter_context(self.log.lease())
            if self.hand_over is not None:
                stack.enter_context(self.hand_over.serve())
            self.recover()
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush after a clean end, let the journals go that are wholly in the lake, and release the lease."""
        with self._held:
            if kind is None:
                self.flush()
                self._drop(at_once=True)

    @property
    def fold(self) -> Fold:
        """What folds rows into the state; replaced together with the state by `adopt`."""
        return self._state.fold

    @property
    def pending(self) -> int:
        """Rows that wait for `flush`."""
        return self._waiting.height

    # --- steps ----------------------------------------------------------------------------------------

    def step(self) -> StepReport:
        """Read every journal once and bring what is new into the online state; take one load, if one waits.

        Raises
        ------
        UnavailableError
            If a store cannot be read or written; call again later.
        """
        if self._waiting.height >= HELD_ROWS:
            self.flush()
        done = self._finish()
        loaded = self._take_load()
        loads_wait = self._loads.wait()
        group, more, problems = self._inbox.gather(self._number)
        if group:
            self.faults("read")
            self._inbox.log(group)
            self._number, self._todo = group[-1][0].number, group
            self.faults("logged")
            done = _together(done, self._finish())
        return replace(
            done,
            batch=self.batch,
            loaded=loaded,
            pending=self.pending,
            more=more or loads_wait,
            problems=tuple(problems),
        )

    def flush(self) -> int:
        """Append to the lake what it does not have yet; return the batch up to which it has everything.

        Raises
        ------
        UnavailableError
            If the lake or the log cannot be written; what was not appended waits on.
        """
        self._finish()
        self._append_waiting()
        self.faults("flushed")
        if self.batch > self.settled:
            self.log.settle(self.batch)
            self.settled = self.batch
            self.faults("settled")
            self.online.drop_verdicts(self.settled)
            self._judge.late.clear()
            self.log.compact(self._inbox.positions)
        self._drop()
        self.faults("dropped")
        return self.settled

    def adopt(self, online: StateWriter, fold: Fold | None = None) -> StateWriter:
        """Go on with another build of the state, brought up to this batch; return the one before.

        Parameters
        ----------
        fold : of the features that it holds; none means those of the one before
        """
        self.flush()
        self._state.fold = fold or self._state.fold
        self._state.catch_up(online, self.settled, self._since() - 2)
        before, self.online = self.online, online
        return before

    def recover(self) -> int:
        """Bring lake and state up to the log, as after a kill; return how many batches that took.

        The lease must be held.

        Raises
        ------
        UnavailableError
            If log, lake, state and journals are not of one piece.
        """
        logged = self.log.read()
        self._number, self.settled = logged.number, logged.settled
        self._inbox.positions = logged.positions()
        self._loads.recover(logged)
        self._check_together()
        self._state.catch_up(self.online, self.settled, self._since() - 2)
        self.batch = self.online.batch or 0
        verdicts = self._verdicts()
        late = [batch for batch in logged.batches if batch.number > self.settled]
        for batch in late:
            if batch.journal is None:
                self._append_waiting()
                self._apply_load("", batch)
            else:
                self._bring([(batch, self._inbox.again(batch))], verdicts)
        self._inbox.applied = dict(self._inbox.positions)
        self.flush()
        for name in self.staging.list_names():
            self.staging.remove(name)
        return len(late)

    # --- batches --------------------------------------------------------------------------------------

    def _finish(self) -> StepReport:
        """Go on with what was logged; a failure leaves it for the next call."""
        report = StepReport(self.batch)
        if self._todo:
            report = self._bring(self._todo, None)
            self._todo = []
        if self._load is not None:
            self._apply_load(*self._load)
        return report

    def _bring(self, group: Group, verdicts: Mapping[int, bytes] | None) -> StepReport:
        """Bring consecutive live batches into the state, and let their rows wait for the lake.

        Parameters
        ----------
        verdicts : those that are stored with the state; none means that they are looked up there
        """
        last = group[-1][0].number
        if last > (self.online.batch or 0):
            judged = self._judge.decide(group, self.online, self._since())
            self.faults("judged")
            self._commit(group, judged)
            self.faults("committed")
        else:
            stored = self._verdicts() if verdicts is None else verdicts
            if any(batch.number not in stored for batch, _ in group):
                raise UnavailableError(
                    f"batch {last} is in the online state, and what was decided of its events is not.",
                    code="HF600",
                    hint="build the state anew",
                )
            judged = self._judge.repeat(group, stored, self._since())
        self.batch = max(self.batch, last)
        report = self._let_wait(group, judged)
        self._inbox.applied.update({journal_of(batch): batch.last for batch, _ in group})
        return report

    def _commit(self, group: Group, judged: list[Judged]) -> None:
        """Store state, ids and verdicts of consecutive batches in one transaction."""
        puts: dict[bytes, Blob] = {}
        before = group[0][0].number - 1
        for each in judged:
            if each.source in self.sources:
                try:
                    puts.update(self._state.folded(self.online, each.source, each.new, puts, before))
                except ContractError:
                    self._refuse_unfoldable(each)
                    puts.update(self._state.folded(self.online, each.source, each.new, puts, before))
        since = self._since()
        found = {key: digest for each in judged for key, digest in each.ids.items()}
        self.online.commit(
            group[-1][0].number,
            puts,
            ids={key: digest for key, digest in found.items() if key.day >= since},
            forget_before=since - 2,  # a margin, for the days that a clock may be off by
            verdicts=packed(group, judged),
        )
        self._judge.late.update({key: digest for key, digest in found.items() if key.day < since})

    def _refuse_unfoldable(self, judged: Judged) -> None:
        """Put events into quarantine that no state can hold."""
        for row in np.flatnonzero(judged.kind == NEW).tolist():
            try:
                self.fold(judged.source, judged.rows[row : row + 1], lambda keys: [b""] * len(keys))
            except ContractError as error:
                judged.refuse(row, Reason(error.code, "", error.problem.message))
        schema = self.sources[judged.source].schema
        judged.ids = dict(digests_by_id(judged.source, schema, judged.new))

    def _let_wait(self, group: Group, judged: list[Judged]) -> StepReport:
        """Let the rows of committed batches wait for the lake."""
        last = group[-1][0].number
        refused = [row for each in judged for row in each.refusals(self.tables.get(each.source))]
        recorded = []
        for batch, frames in group:
            made, unreadable = records(batch, frames, self.recorders)
            refused += [*rejections(batch, frames), *unreadable]
            recorded.append((batch.number, made))
        # Nothing may fail from here on, or a repeat would let rows wait twice.
        events = 0
        for each in judged:
            events += each.new.height
            self._waiting.add(each.source, last, each.new)
        for number, made in recorded:
            for table, rows in made.items():
                self._waiting.add(table, number, rows)
        self._waiting.add(QUARANTINE, last, pl.DataFrame(refused, schema=QUARANTINE_SCHEMA, orient="row"))
        arrivals = [frame.arrived_us for _, frames in group for frame in frames]
        return StepReport(
            last,
            len(arrivals),
            events,
            sum(each.duplicates for each in judged),
            dict(sorted(Counter(row[1] for row in refused).items())),
            sum(rows.height for _, made in recorded for rows in made.values()),
            oldest_us=min(arrivals, default=None),
        )

    def _append_waiting(self) -> None:
        self._waiting.append(lambda: self.faults("appended"))

    def _drop(self, *, at_once: bool = False) -> None:
        """Let journals forget what the lake has."""
        if self.batch <= self.settled:
            self._inbox.drop(at_once=at_once)

    # --- state ----------------------------------------------------------------------------------------

    def _since(self) -> int:
        """Return the first day of which every event's id is remembered."""
        return (self.clock.now_us() - self.remember_us) // DAY + 1

    def _verdicts(self) -> dict[int, bytes]:
        """Return what was decided of batches that the lake may not have, by batch."""
        return {
            number: kinds
            for _, verdicts in self.online.verdicts(self.settled)
            for number, kinds in unpacked(verdicts).items()
        }

    def _check_together(self) -> None:
        """Refuse stores that are not of one piece."""
        tables = [*self.sources, QUARANTINE, *(recorder.table for recorder in self.recorders.values())]
        held = {f"table `{table}`": self.lake.applied(table, app=APP) for table in tables}
        held["the online state"] = self.online.batch
        for what, applied in held.items():
            if (applied or 0) > self._number:
                raise UnavailableError(
                    f"{what} holds batch {applied}, but the batch log ends at {self._number}.",
                    code="HF600",
                    hint="restore lake and batch log from the same backup, and build the state anew",
                )

    # --- loads ----------------------------------------------------------------------------------------

    def _take_load(self) -> int:
        """Take the oldest load that was handed over; return how many rows it had."""
        found = self._loads.take(self._number + 1, self._append_waiting)
        if found is None:
            return 0
        name, batch = self._load = found
        self._number = batch.number
        self.faults("load logged")
        self._apply_load(name, batch)
        return batch.last - batch.first

    def _apply_load(self, name: str, batch: Batch) -> None:
        """Bring a logged load into the lake, then into the state, and say so to whoever handed it over."""
        self._loads.store(batch)
        self.faults("load stored")
        if batch.number > self.batch:
            puts: Mapping[bytes, Blob] = {}
            ids: Mapping[EventId, bytes] = {}
            source = self.sources.get(batch.source)
            if source is not None and batch.staged:
                rows = self._state.stored(source.name, batch.number - 1, batch.number)
                puts = self._state.folded(self.online, source.name, rows, {}, batch.number - 1)
                ids = digests_by_id(source.name, source.schema, rows, self._since() - 2)
            self.online.commit(batch.number, puts, ids=ids)
            self.batch = batch.number
        self.faults("load committed")
        self._loads.finish(name, batch)
        self._load = None


def _fold_nothing(
    source: str, rows: pl.DataFrame, get: Get, history: History | None = None, /
) -> Mapping[bytes, Blob]:
    return {}


def _together(a: StepReport, b: StepReport) -> StepReport:
    """Return two reports as one."""
    added: dict[str, Any] = {
        name: getattr(a, name) + getattr(b, name) for name in ("frames", "events", "duplicates", "records")
    }
    oldest = [each.oldest_us for each in (a, b) if each.oldest_us is not None]
    quarantined = dict(Counter(a.quarantined) + Counter(b.quarantined))
    return StepReport(b.batch, quarantined=quarantined, oldest_us=min(oldest, default=None), **added)
