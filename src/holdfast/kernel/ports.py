"""What every stage may need of the world: the time. Randomness is a seed, handed in as a number."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The one clock of a project; all its processes share it.

    `now_us` never runs backwards within a process and may be scaled in tests and demos.
    """

    def now_us(self) -> int:
        """Return the current instant in microseconds UTC."""
        ...


class Progress(Protocol):
    """Where long work says how far it is. Calls are cheap, ordered, and made from one thread."""

    def start(self, label: str, total: int | None) -> None:
        """Begin a piece of work of `total` units; None when unknown."""
        ...

    def advance(self, units: int) -> None:
        """Add finished units."""
        ...

    def finish(self) -> None:
        """End the piece of work."""
        ...


class NoProgress:
    """Says nothing; the default of every verb."""

    def start(self, label: str, total: int | None) -> None:
        """Do nothing."""

    def advance(self, units: int) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""
