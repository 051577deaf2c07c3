"""The hand-over folder: offers and outcomes as small JSON files, renamed into place."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from holdfast.adapters.files.staging import StagingFolder
from holdfast.events.handover import Offer, Outcome
from holdfast.kernel.errors import ContractError, UnavailableError
from holdfast.kernel.ids import canonical_json, from_data

POLL_S = 0.02
ALIVE_S = 0.5
"""Seconds between two looks at whether the worker lives."""
FORGOTTEN_S = 86_400.0
"""Age at which outcomes that nobody fetched, and rows that nobody offered, are removed."""
_OFFER = re.compile(r"\d{20}-\d+-\d+\.json")

T = TypeVar("T")


class HandOverFolder:
    """Implements the hand-over port in one folder; its lock file is held by the worker.

    Parameters
    ----------
    root : the folder; made when first used
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.staging = StagingFolder(self.root / "staged")
        self._count = itertools.count()

    def is_served(self) -> bool:
        """Whether a worker holds the lock."""
        try:
            handle = os.open(self._lock, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def submit(self, offer: Offer) -> Outcome | None:
        """Leave an offer and wait for its outcome, or until no worker is left."""
        self.root.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(self._count)}.json"
        self._write(name, offer)
        look = time.monotonic() + ALIVE_S
        while (outcome := self._take(name)) is None:
            if time.monotonic() >= look:
                if not self.is_served():
                    (self.root / name).unlink(missing_ok=True)
                    return self._take(name)
                look = time.monotonic() + ALIVE_S
            time.sleep(POLL_S)
        return outcome

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Hold the lock, after clearing away what was forgotten."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # those who only look hold it for an instant
            self._clear()
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)

    def offers(self) -> list[tuple[str, Offer]]:
        """Return what waits for an answer, oldest first; what cannot be read is answered so."""
        try:
            names = sorted(name for name in os.listdir(self.root) if _OFFER.fullmatch(name))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            try:
                offer = self._read(self.root / name, Offer)
            except ContractError as error:
                self._write(_outcome(name), Outcome(0, code=error.code, message=error.problem.message))
                (self.root / name).unlink(missing_ok=True)
                continue
            if offer is not None:
                found.append((name, offer))
        return found

    def answer(self, name: str, outcome: Outcome) -> None:
        """Say what became of an offer, and remove its rows."""
        offer = self._read(self.root / name, Offer)
        self._write(_outcome(name), outcome)
        (self.root / name).unlink(missing_ok=True)
        if offer is not None:
            for staged in (offer.batch.staged, offer.batch.refused):
                if staged:
                    self.staging.remove(staged)

    @property
    def _lock(self) -> Path:
        return self.root / "worker.lock"

    def _take(self, name: str) -> Outcome | None:
        path = self.root / _outcome(name)
        outcome = self._read(path, Outcome)
        if outcome is not None:
            path.unlink(missing_ok=True)
        return outcome

    def _write(self, name: str, value: Any) -> None:
        part = self.root / f"{name}.part"
        try:
            with part.open("wb") as file:
                file.write(canonical_json(value))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.root / name)
        except OSError as error:
            raise UnavailableError(f"{part} cannot be written: {error.strerror or error}.") from error

    def _read(self, path: Path, kind: type[T]) -> T | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return from_data(kind, msgspec.json.decode(content))
        except msgspec.DecodeError as error:
            raise ContractError(f"{path.name} is not JSON: {error}.", at=str(path)) from error

    def _clear(self) -> None:
        oldest = time.time() - FORGOTTEN_S
        left = (self.root.glob("*.done"), self.root.glob("*.part"), self.staging.root.glob("*.*"))
        for path in itertools.chain(*left):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _outcome(name: str) -> str:
    return f"{name.removesuffix('.json')}.done"
