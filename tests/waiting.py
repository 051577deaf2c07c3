"""Waits for what another thread or process brings about."""

import time
from collections.abc import Callable


def until(holds: Callable[[], bool]) -> None:
    """Return once something holds; fail after a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
