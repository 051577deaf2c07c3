"""The worker: the one process that applies what others accepted, and looks after state, lake and journals.

It holds the lease of the shard as long as it lives. Killed at any moment and started again, it goes on where
the batch log, the state and the lake say that it was.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.adapters.delta import DeltaLake
from holdfast.app.alone import find_up
from holdfast.app.applied import applied_project
from holdfast.app.load import find_folder
from holdfast.app.log import configure_log
from holdfast.app.materialize import answer_of, build, in_words, remove_old, requests_of
from holdfast.app.state import folder_of, make_applier, wanted_state
from holdfast.app.stopping import Stop, on_stop
from holdfast.app.wire import Wiring
from holdfast.events.apply import Applier, StepReport
from holdfast.features.backfill import Backfilled
from holdfast.features.online import load_plan
from holdfast.features.ports import OnlineWriter
from holdfast.features.tile import StatePlan
from holdfast.kernel.errors import (
    ConflictError,
    ContractError,
    HoldfastError,
    NotFoundError,
    UnavailableError,
)
from holdfast.kernel.ids import short
from holdfast.kernel.ports import Clock
from holdfast.project.compiled import CompiledProject

LOGGER = logging.getLogger("holdfast.worker")

IDLE_S, LONGEST_IDLE_S = 0.005, 0.05
"""Wait after a step, longer each time that nothing was found; with the step itself what freshness costs."""
FLUSH_EVERY_S = 1.0
"""Seconds between two appends to the lake."""
LOOK_EVERY_S = 1.0
"""Seconds between two looks at the definition, the versions and requests."""
BEAT_EVERY_S = 0.2
COMPACT_EVERY = 200
"""Flushes between two times that small files of the lake are merged."""
REMEMBERED_STEPS = 5_000
_LONGEST_WAIT_S = 5.0
STATUS = "worker.json"
"""File beside the journals in which the worker says how it is."""


class _ReopenError(Exception):
    """A store has failed for a while: recover from what is on disk, as after a kill."""


@dataclass
class Worker:
    """One worker of one project.

    Parameters
    ----------
    folder : of the project
    clock : for tests; by default the project's
    """

    folder: Path
    clock: Clock | None = None
    stopping: Stop = field(default_factory=Stop)
    _waited_us: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED_STEPS))
    _last: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=20))
    _counts: Counter[str] = field(default_factory=Counter)
    _problems: tuple[str, ...] = ()
    _building: _Build | None = None
    _compacting: threading.Thread | None = None
    _failed: tuple[str, float] = ("", 0.0)

    def __post_init__(self) -> None:
        self.wiring = Wiring(self.folder, self.clock)
        self.status = self.wiring.settings.journal / STATUS

    def run(self) -> None:
        """Work until `stopping` is set, then flush.

        Raises
        ------
        ConflictError
            If another worker holds the shard (HF303).
        RefusedError
            If the project was not applied.
        """
        try:
            while not self.stopping.is_set():
                try:
                    self._run_definition(applied_project(self.wiring))
                except _ReopenError:
                    LOGGER.warning("opening every store again")
        finally:
            self._stop_building()
            if self._compacting is not None:
                self._compacting.join()
            self.status.unlink(missing_ok=True)

    # --- one definition -------------------------------------------------------------------------------

    def _run_definition(self, project: CompiledProject) -> None:
        """Apply under one definition, until it changes or the worker is stopped."""
        wanted = wanted_state(self.wiring, project)
        online = self._open_state(project, wanted)
        applier = make_applier(self.wiring, project, online)
        try:
            with applier:
                self._make_live(applier.online)
                LOGGER.info(
                    "ready: applied up to batch %d, lake whole up to %d, online state %s, views: %d",
                    applier.batch,
                    applier.settled,
                    in_words(applier.online.generation),  # type: ignore[attr-defined]
                    len(load_plan(applier.online.plan).views),  # type: ignore[attr-defined]
                )
                self._loop(applier, project, wanted)
        finally:
            applier.online.close()  # type: ignore[attr-defined]

    def _open_state(self, project: CompiledProject, wanted: StatePlan) -> OnlineWriter:
        """Return the live generation for writing; a new, empty one where there is none or it is damaged.

        An empty one is filled from the lake when the applier recovers.
        """
        store = self.wiring.online
        try:
            current = store.current()
            if current is not None:
                held = store.writer(current)
                try:
                    load_plan(held.plan, current.state)
                except ContractError:
                    held.close()
                    raise
                return held
        except (UnavailableError, NotFoundError, ContractError) as error:
            LOGGER.warning("the online state cannot be used and is built anew: %s", error.problem.message)
        LOGGER.info("building the online state from the lake")
        self._beat(None)
        built = build(self.wiring, project, wanted, stop=self.stopping)
        if built is None:
            raise KeyboardInterrupt
        built_is = in_words(built.writer.generation)
        LOGGER.info("built online state %s: %d events, %d blobs", built_is, built.rows, built.blobs)
        return built.writer

    def _make_live(self, online: Any) -> None:
        store = self.wiring.online
        current = None
        with suppress(UnavailableError):
            current = store.current()
        if current != online.generation:
            store.make_current(online.generation)
            remove_old(self.wiring, online.generation, *([] if current is None else [current]))

    def _loop(self, applier: Applier, project: CompiledProject, wanted: StatePlan) -> None:
        flushed = looked = beat = time.monotonic()
        flushes, wait, idle = 0, IDLE_S, IDLE_S
        while not self.stopping.is_set():
            now = time.monotonic()
            try:
                report = applier.step()
                self._note(report)
                if now - flushed >= FLUSH_EVERY_S:
                    applier.flush()
                    flushed, flushes = now, flushes + 1
                    if flushes % COMPACT_EVERY == 0:
                        self._compact(project)
                wait = IDLE_S
            except UnavailableError as error:
                self._problems = (error.problem.message,)
                LOGGER.error("%s; trying again in %.2f s", error.problem.message, wait)
                self.stopping.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)
                if wait == _LONGEST_WAIT_S and not self.stopping.is_set():
                    raise _ReopenError from error
                continue
            self._adopt(applier)
            if now - looked >= LOOK_EVERY_S:
                looked = now
                fresh = self._look(applier, project, wanted)
                if fresh is None:
                    return
                wanted = fresh
            if now - beat >= BEAT_EVERY_S:
                beat = now
                self._beat(applier)
            idle = IDLE_S if report.frames or report.loaded else min(1.5 * idle, LONGEST_IDLE_S)
            if not report.more:
                self.stopping.wait(idle)

    def _look(self, applier: Applier, project: CompiledProject, wanted: StatePlan) -> StatePlan | None:
        """Begin to build another state where one is wanted; None if the definition changed."""
        try:
            now = applied_project(self.wiring)
            if now.fingerprint != project.fingerprint:
                LOGGER.info("the definition changed to %s", short(now.fingerprint))
                return None
            wanted = wanted_state(self.wiring, project)
        except HoldfastError as error:
            LOGGER.warning("cannot look for changes: %s", error.problem.message)
            return wanted
        if self._building is None:
            asked = requests_of(self.wiring).asked()
            held = applier.online.generation.state  # type: ignore[attr-defined]
            failed, again_at = self._failed
            differs = wanted.fingerprint != held
            if asked is not None or (
                differs and (failed != wanted.fingerprint or time.monotonic() >= again_at)
            ):
                LOGGER.info("building online state %s beside the live one", short(wanted.fingerprint))
                self._building = _Build(self.folder, self.clock, project, wanted, asked)
                self._building.start()
        return wanted

    def _adopt(self, applier: Applier) -> None:
        """Go on with a state that was built beside the live one, as soon as it is there."""
        build_, began = self._building, time.monotonic()
        if build_ is None or build_.is_alive():
            return
        self._building = None
        if build_.built is None:
            self._failed = (build_.plan.fingerprint, time.monotonic() + 60)
            words = build_.problem or "it was stopped"
            LOGGER.error("the online state was not built: %s", words)
            if build_.asked is not None:
                requests_of(self.wiring).answer(build_.asked, {"error": words})
            return
        built = build_.built
        before = applier.adopt(built.writer, folder_of(build_.plan))
        self.wiring.online.make_current(built.writer.generation)
        before.close()  # type: ignore[attr-defined]
        remove_old(self.wiring, built.writer.generation, before.generation)  # type: ignore[attr-defined]
        seconds = time.monotonic() - build_.began
        LOGGER.info(
            "online state %s is live: %d events in %.1f s, applying stood still for %.2f s",
            in_words(built.writer.generation),
            built.rows,
            seconds,
            time.monotonic() - began,
        )
        if build_.asked is not None:
            requests_of(self.wiring).answer(build_.asked, answer_of(built, applier.batch, seconds))

    def _stop_building(self) -> None:
        if self._building is not None:
            self._building.stopping.set()
            self._building.join()
            if self._building.built is not None:
                self._building.built.writer.close()

    def _compact(self, project: CompiledProject) -> None:
        """Merge small files of the lake, beside the work."""
        if self._compacting is not None and self._compacting.is_alive():
            return
        tables = [*project.sources, "_predictions", "_quarantine"]
        self._compacting = threading.Thread(
            target=_compact_tables, args=(self.wiring.settings.lake, tables), name="compact"
        )
        self._compacting.start()

    # --- how it is ------------------------------------------------------------------------------------

    def _note(self, report: StepReport) -> None:
        problems = tuple(error.problem.message for error in report.problems)
        if problems != self._problems:
            for words in problems:
                LOGGER.error(words)
        self._problems = problems
        if report.oldest_us is not None:
            self._waited_us.append(max(0, self.wiring.clock.now_us() - report.oldest_us))
        if report.frames or report.loaded:
            self._counts.update(
                {
                    "frames": report.frames,
                    "events": report.events,
                    "duplicates": report.duplicates,
                    "records": report.records,
                    "loaded": report.loaded,
                    "quarantined": sum(report.quarantined.values()),
                }
            )
            self._last.append(
                {
                    "batch": report.batch,
                    "at_us": self.wiring.clock.now_us(),
                    "events": report.events,
                    "records": report.records,
                    "loaded": report.loaded,
                }
            )

    def _beat(self, applier: Applier | None) -> None:
        """Say how the worker is, for whoever supervises it and for the status page."""
        waited = np.array(self._waited_us or [0], np.int64) / 1e6
        said = {
            "pid": os.getpid(),
            "beat": time.time(),
            "ready": applier is not None,
            "batch": 0 if applier is None else applier.batch,
            "settled": 0 if applier is None else applier.settled,
            "pending": 0 if applier is None else applier.pending,
            "generation": "" if applier is None else str(applier.online.generation),  # type: ignore[attr-defined]
            "building": applier is None or self._building is not None,
            "freshness_p50_s": float(np.quantile(waited, 0.50)),
            "freshness_p99_s": float(np.quantile(waited, 0.99)),
            "counts": dict(self._counts),
            "last": list(self._last),
            "problems": list(self._problems),
        }
        part = self.status.with_name(f".{self.status.name}")
        try:
            self.status.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(said))
            part.replace(self.status)
        except OSError as error:
            LOGGER.warning("%s cannot be written: %s", self.status, error.strerror or error)


class _Build(threading.Thread):
    """Builds a generation beside the live one, with stores of its own."""

    def __init__(
        self,
        folder: Path,
        clock: Clock | None,
        project: CompiledProject,
        plan: StatePlan,
        asked: str | None,
    ) -> None:
        super().__init__(name="materialize")
        self.plan, self.asked = plan, asked
        self.stopping = Stop()
        self.began = time.monotonic()
        self.built: Backfilled | None = None
        self.problem = ""
        self._folder, self._clock, self._project = folder, clock, project

    def run(self) -> None:
        """Fill the generation."""
        try:
            wiring = Wiring(self._folder, self._clock)
            self.built = build(wiring, self._project, self.plan, stop=self.stopping)
        except HoldfastError as error:
            self.problem = error.problem.message
        except Exception as error:
            LOGGER.exception("building the online state failed")
            self.problem = str(error)


def _compact_tables(lake: Path, tables: list[str]) -> None:
    own = DeltaLake(lake)
    for table in tables:
        try:
            if own.version(table) is not None and (merged := own.compact(table)):
                LOGGER.info("merged %d small files of `%s`", merged, table)
        except HoldfastError as error:
            LOGGER.info("`%s` was not compacted: %s", table, error.problem.message)


def run_worker(folder: Path) -> None:
    """Run a worker in this process until it is asked to stop."""
    configure_log("worker")
    worker = Worker(find_folder(Path(folder)))
    try:
        with on_stop(worker.stopping.set):
            worker.run()
    except KeyboardInterrupt:
        pass
    except ConflictError as error:
        up = find_up(worker.folder) if error.code == "HF303" else None
        if up is None or up.pid == os.getppid():
            raise
        raise ConflictError(
            f"the worker of `holdfast up` (pid {up.pid}) runs for this project already.",
            code="HF303",
            at=str(worker.folder),
            hint=up.way_out,
        ) from error
    LOGGER.info("stopped; everything accepted and read is in the lake")


def worker_status(wiring: Wiring) -> dict[str, Any] | None:
    """Return what the worker said last, or None where none runs."""
    try:
        found: dict[str, Any] = json.loads((wiring.settings.journal / STATUS).read_text())
    except (OSError, ValueError):
        return None
    return found
