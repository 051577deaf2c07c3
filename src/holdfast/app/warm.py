"""Warming up: the kernels compiled once, so that no process waits for it later. Imports nothing before."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

KERNELS = (
    "holdfast.kernel.kernels",
    "holdfast.features.kernels",
    "holdfast.features.grouping_kernels",
    "holdfast.features.online_kernels",
    "holdfast.adapters.lightgbm.kernels",
)
"""Modules whose import compiles them, or loads them from the cache."""


def warm_up() -> dict[str, float]:
    """Compile every kernel, or load it from the cache; return seconds by module.

    Notes
    -----
    Of several processes that begin at once, one compiles and the others load what it has stored.
    """
    spent = {}
    with _alone():
        for name in KERNELS:
            began = time.perf_counter()
            importlib.import_module(name)
            spent[name] = time.perf_counter() - began
    return spent


@contextlib.contextmanager
def _alone() -> Iterator[None]:
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
