"""Being asked to stop: signals become a flag that loops look at, so that work is drained, not cut off."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_EVERY_S = 0.05
"""Seconds after which one who waits notices at the latest."""


class Stop:
    """A flag that is set once, from any thread and from a signal handler.

    Notes
    -----
    A `threading.Event` will not do: its `wait` and `set` take a lock which the very thread that a signal
    interrupts may hold, and then it waits for itself for ever. That happens: a child gets one signal for each
    thread of a parent that is killed, so the second comes while the first is being handled. Nothing here
    takes a lock.
    """

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        """Ask to stop."""
        self._asked = True

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._asked

    def wait(self, timeout_s: float) -> bool:
        """Wait so long, or until it is set; return whether it is."""
        until = time.monotonic() + timeout_s
        while not self._asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_EVERY_S))
        return self._asked


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask a process to drain and end.

    A terminal that closes hangs up; where that is ignored, as under `nohup`, it stays ignored.
    """
    asked = (signal.SIGTERM, signal.SIGINT)
    return asked if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*asked, signal.SIGHUP)


@contextmanager
def on_stop(act: Callable[[], None]) -> Iterator[None]:
    """Call `act`, in the main thread and between any two of its instructions, for each such signal."""
    before = {number: signal.signal(number, lambda *_: act()) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def die_of_signals() -> None:
    """Let signals end this process at once; for a child between fork and exec.

    Until then it has the handlers of its parent, whose effect is lost with the exec.
    """
    for number in stop_signals():
        signal.signal(number, signal.SIG_DFL)
