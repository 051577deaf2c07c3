"""Warming up: the kernels compiled once, so that no process waits for it later. Imports nothing before."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

KERNELS = (
    "holdfast.kernel.kernels",
    "holdfast.features.kernels",
    "holdfast.features.grouping_kernels",
    "holdfast.features.online_kernels",
    "holdfast.adapters.lightgbm.kernels",
)
"""Modules whose import compiles them, or loads them from the cache."""
EVENT = "numba:compile"
"""What numba tells where it compiles; a function that is in the cache is not told of."""
COMPILING = (
    "compiling the kernels, once for this installation: about a minute, later starts load them from the cache"
)


def warm_up(say: Callable[[str], None]) -> dict[str, float]:
    """Compile every kernel, or load it from the cache; return seconds by module.

    Notes
    -----
    Of several processes that begin at once, one compiles and the others load what it has stored.
    """
    with compiled_once(say):
        return import_kernels()


def import_kernels(kernels: Sequence[str] = KERNELS) -> dict[str, float]:
    """Import every kernel; return seconds by module."""
    spent = {}
    for name in kernels:
        began = time.perf_counter()
        importlib.import_module(name)
        spent[name] = time.perf_counter() - began
    return spent


@contextlib.contextmanager
def compiled_once(say: Callable[[str], None], kernels: Sequence[str] = KERNELS) -> Iterator[None]:
    """Import kernels inside: where that compiles them, it is said, and other processes wait for the result.

    Then the others are compiled too, so that it is said once. Where they come from the cache nothing is said
    and nobody waits.
    """
    from numba.core import event

    with contextlib.ExitStack() as held:
        listener = _listener(say, held)
        event.register(EVENT, listener)
        try:
            yield
            if listener.told:
                import_kernels(kernels)
        finally:
            event.unregister(EVENT, listener)


def _listener(say: Callable[[str], None], held: contextlib.ExitStack) -> Any:
    from numba.core.event import Event, Listener

    class Compiling(Listener):  # type: ignore[misc]
        """Hears of functions that were not in the cache."""

        told = False

        def on_start(self, _event: Event) -> None:
            if not self.told:
                self.told = True
                say(COMPILING)
                held.enter_context(cache_lock())

        def on_end(self, _event: Event) -> None:
            pass

    return Compiling()


def said_on_stderr(line: str) -> None:
    """Write a line where a person or a log sees it."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def cache_lock() -> Iterator[None]:
    """Hold a lock beside the cache; where none can be made, go on without."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parent / "__pycache__")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "warmup.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
