"""One thread that does what the caller hands it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures


class OneThread:
    """Implements the port of work done beside, in one thread, which ends with the object."""

    def __init__(self) -> None:
        self._pool = futures.ThreadPoolExecutor(1, thread_name_prefix="beside")
        self._last: futures.Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Begin a piece of work when the one before is done."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Return when nothing is under way; raise what the piece before raised."""
        last = self._last
        if last is None:
            return
        futures.wait((last,))  # where this is interrupted, the piece still counts as under way
        self._last = None
        last.result()
