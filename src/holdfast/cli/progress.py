"""Progress bars on standard error, only where a person looks at it."""

from __future__ import annotations

import sys
from typing import Any

from holdfast.kernel.ports import NoProgress, Progress


class _Bar:
    """One bar at a time, erased when its work ends."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def start(self, label: str, total: int | None) -> None:
        """Begin a bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.finish()
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(label, total=total)

    def advance(self, units: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.advance(self._task, units)

    def finish(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def make_progress() -> Progress:
    """Return a bar if standard error is a terminal, else silence."""
    return _Bar() if sys.stderr.isatty() else NoProgress()
