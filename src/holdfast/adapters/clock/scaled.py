"""A clock that all processes of one demo or test share through a file: it may run faster, and jump forward.

The file says which instant of the project it was at which instant of the machine, and how fast time goes
since. Whoever moves the clock replaces the file; every process looks at it many times a second.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from holdfast.kernel.errors import UnavailableError, UsageError

HIGHEST_FACTOR = 60.0
"""A faster clock would let the milliseconds of processing distort short windows."""
_LOOK_EVERY_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class ClockState:
    """The project's `epoch_us` was the machine's `wall_us`; since then time goes `factor` times as fast."""

    epoch_us: int
    wall_us: int
    factor: float


class ScaledClock:
    """Implements the clock port on a file; never running backwards within the process.

    Parameters
    ----------
    path : the file, which must exist

    Raises
    ------
    UnavailableError
        If the file does not exist or is none of this kind (HF600).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._last = 0
        self._looked = 0
        self._version: tuple[int, int] | None = None
        self._state = self._look()

    @property
    def factor(self) -> float:
        """How many seconds of the project pass in one of the machine."""
        return self._state.factor

    def now_us(self) -> int:
        """Return the current instant in microseconds UTC, of the project."""
        if time.monotonic_ns() - self._looked > _LOOK_EVERY_NS:
            self._state = self._look()
        state = self._state
        now = state.epoch_us + int((time.time_ns() // 1_000 - state.wall_us) * state.factor)
        self._last = max(self._last, now)
        return self._last

    def _look(self) -> ClockState:
        self._looked = time.monotonic_ns()
        try:
            status = self.path.stat()
        except OSError as error:
            raise UnavailableError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        version = status.st_mtime_ns, status.st_ino
        if version != self._version:
            self._state, self._version = read_state(self.path), version
        return self._state


def read_state(path: Path) -> ClockState:
    """Return what the file of a scaled clock says.

    Raises
    ------
    UnavailableError
        If it cannot be read, or says something else (HF600).
    """
    try:
        found = json.loads(path.read_text())
        state = ClockState(int(found["epoch_us"]), int(found["wall_us"]), float(found["factor"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnavailableError(f"{path} is not the file of a scaled clock: {error}.") from error
    _check(state.factor)
    return state


def write_state(path: Path, now_us: int, factor: float = 1.0) -> ClockState:
    """Let it be this instant now, for every process that shares the file.

    Raises
    ------
    UsageError
        If the factor is not above 0 and at most `HIGHEST_FACTOR`.
    """
    _check(factor)
    state = ClockState(now_us, time.time_ns() // 1_000, factor)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{os.getpid()}")
    part.write_text(json.dumps(asdict(state)) + "\n")
    part.replace(path)
    return state


def _check(factor: float) -> None:
    if not 0 < factor <= HIGHEST_FACTOR:
        raise UsageError(
            f"a scaled clock runs at most {HIGHEST_FACTOR:g} times as fast as time, found {factor:g}.",
            hint="let it jump between bursts instead",
        )
