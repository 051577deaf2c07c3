"""Clocks: the system's, and one that demos and tests may scale and move."""

from holdfast.adapters.clock.scaled import HIGHEST_FACTOR, ScaledClock, read_state, write_state
from holdfast.adapters.clock.system import SystemClock

__all__ = ["HIGHEST_FACTOR", "ScaledClock", "SystemClock", "read_state", "write_state"]
