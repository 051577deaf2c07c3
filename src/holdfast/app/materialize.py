"""Materialize: the online state built anew from the lake, by the running worker or, without one, here."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holdfast.app.applied import applied_project
from holdfast.app.state import kept_sources, make_applier, remembered_of, settled_in_lake, wanted_state
from holdfast.app.wire import Wiring
from holdfast.features.backfill import Backfilled, Stopping, backfill
from holdfast.features.ports import Generation
from holdfast.features.tile import StatePlan
from holdfast.kernel.errors import ConflictError, HoldfastError, UnavailableError
from holdfast.kernel.ids import short
from holdfast.kernel.ports import NoProgress, Progress
from holdfast.project.compiled import CompiledProject

_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Materialized:
    """A generation that is live now.

    Attributes
    ----------
    batch : last batch it held when it went live
    rows, entities : events folded, and blobs written
    by_worker : whether the running worker built it
    """

    generation: str
    batch: int
    rows: int
    entities: int
    seconds: float
    by_worker: bool = False


def materialize_state(wiring: Wiring, *, progress: Progress | None = None) -> Materialized:
    """Build the state anew and let it go live.

    Raises
    ------
    RefusedError
        If the project was not applied.
    UnavailableError
        If the worker ended before it was done, or could not do it.
    """
    project = applied_project(wiring)
    if not wiring.hand_over.is_served():
        try:
            return materialize_here(wiring, project, progress=progress)
        except ConflictError as error:
            if error.code != "HF303" or not wiring.hand_over.is_served():
                raise
    return _ask_worker(wiring, progress or NoProgress())


def materialize_here(
    wiring: Wiring, project: CompiledProject, *, progress: Progress | None = None
) -> Materialized:
    """Build the state in this process, under the lease of the shard."""
    began = time.monotonic()
    built = build(wiring, project, wanted_state(wiring, project), progress=progress)
    assert built is not None
    try:
        # Entering recovers: what was logged and not applied reaches lake and state.
        with make_applier(wiring, project, built.writer) as applier:
            wiring.online.make_current(built.writer.generation)
            batch = applier.batch
    finally:
        built.writer.close()
    remove_old(wiring, built.writer.generation)
    seconds = time.monotonic() - began
    return Materialized(_shown(built.writer.generation), batch, built.rows, built.blobs, seconds)


def build(
    wiring: Wiring,
    project: CompiledProject,
    plan: StatePlan,
    *,
    progress: Progress | None = None,
    stop: Stopping | None = None,
) -> Backfilled | None:
    """Fill a generation of a plan with what is settled in the lake; None if it was stopped."""
    return backfill(
        plan,
        kept_sources(project),
        wiring.lake,
        wiring.online,
        batch=settled_in_lake(wiring),
        remembered=remembered_of(wiring, project),
        progress=progress,
        stop=stop,
    )


def remove_old(wiring: Wiring, live: Generation, *before: Generation) -> None:
    """Remove generations that nobody needs: all but the live one and those named."""
    for each in wiring.online.generations():
        if each != live and each not in before:
            with suppress(HoldfastError):  # somebody fills it, or it went meanwhile
                wiring.online.remove(each)


def _shown(generation: Generation) -> str:
    return f"{short(generation.state)}/{generation.number}"


def in_words(generation: Generation) -> str:
    """Return how a generation is called in the log."""
    return f"{short(generation.state)}, generation {generation.number}"


# --- asking the worker --------------------------------------------------------------------------------


class Requests:
    """Requests to build the state anew, left in a file for the worker.

    Parameters
    ----------
    folder : the hand-over folder
    """

    def __init__(self, folder: Path) -> None:
        self._asked, self._done = folder / "materialize.json", folder / "materialize.done"

    def ask(self) -> str:
        """Leave a request and return its name."""
        name = f"{time.time_ns()}-{os.getpid()}"
        _write(self._asked, {"name": name})
        return name

    def asked(self) -> str | None:
        """Return the name of the request that waits, or None."""
        found = _read(self._asked)
        return None if found is None else str(found["name"])

    def answer(self, name: str, told: dict[str, Any]) -> None:
        """Say what became of a request."""
        _write(self._done, {"name": name, **told})
        if self.asked() == name:
            self._asked.unlink(missing_ok=True)

    def tell(self, name: str) -> dict[str, Any] | None:
        """Return what became of a request, or None as long as nobody knows."""
        found = _read(self._done)
        return found if found is not None and found.pop("name") == name else None


def requests_of(wiring: Wiring) -> Requests:
    """Return the requests of a project."""
    return Requests(wiring.hand_over.root)


def answer_of(built: Backfilled, batch: int, seconds: float) -> dict[str, Any]:
    """Return what the worker says of a generation that went live."""
    shown = _shown(built.writer.generation)
    return asdict(Materialized(shown, batch, built.rows, built.blobs, seconds, by_worker=True))


def _ask_worker(wiring: Wiring, progress: Progress) -> Materialized:
    requests = requests_of(wiring)
    name = requests.ask()
    progress.start("the worker builds the online state", None)
    try:
        while (told := requests.tell(name)) is None:
            if not wiring.hand_over.is_served():
                raise UnavailableError(
                    "the worker ended before the state was built.", hint="holdfast materialize, once more"
                )
            time.sleep(_POLL_S)
    finally:
        progress.finish()
    if "error" in told:
        raise UnavailableError(
            f"the worker could not build the state: {told['error']}", hint=told.get("hint", "")
        )
    return Materialized(**told)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{os.getpid()}")
    part.write_text(json.dumps(value))
    part.replace(path)
