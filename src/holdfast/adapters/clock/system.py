"""The system's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Wall time of this machine, never running backwards within the process."""

    def __init__(self) -> None:
        self._last = 0

    def now_us(self) -> int:
        """Return the current instant in microseconds UTC."""
        self._last = max(self._last, time.time_ns() // 1_000)
        return self._last
