"""One `holdfast up` for a project: a lock beside the journals, in which it says where it answers."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from holdfast.app.config import read_settings
from holdfast.kernel.errors import ConflictError

LOCK = "up.lock"
"""File in the folder of the journals."""
TRIES = 10


@dataclass(frozen=True, slots=True)
class Running:
    """The `holdfast up` that runs.

    Attributes
    ----------
    pid : 0 if it has not said yet
    service, page : addresses, empty if it has not said yet
    """

    pid: int = 0
    service: str = ""
    page: str = ""

    @property
    def way_out(self) -> str:
        """What to do about it."""
        use = f"use it at {self.service} (status page {self.page}), or " if self.service else ""
        stop = f"kill {self.pid}" if self.pid else "Ctrl-C where it runs"
        return f"{use}stop it, which drains and ends everything that it started: {stop}"


@contextmanager
def alone(folder: Path) -> Iterator[Callable[[tuple[str, str]], None]]:
    """Be the one `up` of a project; yields what tells the addresses of the service and the status page.

    The system lets go of the lock when the process ends, however it ends.

    Raises
    ------
    ConflictError
        If another one runs (HF303).
    """
    path = read_settings(folder).journal / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if not _lock(file):
            other = _read(file)
            who = f" (pid {other.pid})" if other.pid else ""
            raise ConflictError(
                f"`holdfast up` runs for this project already{who}.",
                code="HF303",
                at=str(folder),
                hint=other.way_out,
            )

        def tell(addresses: tuple[str, str]) -> None:
            said = {"pid": os.getpid(), "service": addresses[0], "page": addresses[1]}
            file.truncate(0)
            file.write(json.dumps(said).encode())
            file.flush()

        tell(("", ""))
        yield tell


def find_up(folder: Path) -> Running | None:
    """Return the `up` that runs for a project, None where none does."""
    try:
        with (read_settings(folder).journal / LOCK).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(file)
    except OSError:
        pass
    return None


def _lock(file: BinaryIO) -> bool:
    """Take the lock, unless another process has it for longer than a look takes."""
    for _ in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.01)
    return False


def _read(file: BinaryIO) -> Running:
    file.seek(0)
    try:
        return Running(**json.loads(file.read()))
    except (ValueError, TypeError):
        return Running()
