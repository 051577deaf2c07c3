"""The generations of a project's online state in one folder.

``<root>/<state fingerprint>/<number>/`` holds a generation, ``<root>/current`` names the live one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from holdfast.adapters.durable import sync_folder
from holdfast.adapters.lmdb.environment import (
    BATCH_KEY,
    MAP_BYTES,
    make_environment,
    open_environment,
    release,
    translated,
)
from holdfast.adapters.lmdb.generation import LmdbReader, LmdbWriter, hold
from holdfast.features.ports import Generation
from holdfast.kernel.errors import ConflictError, NotFoundError, UnavailableError

_CURRENT = "current"
_GONE = ".gone-"


class LmdbOnline:
    """Implements the online store port in a folder of this machine.

    Parameters
    ----------
    root : the folder; made when the first generation is created
    map_bytes : address space of an environment to begin with
    """

    def __init__(self, root: str | Path, *, map_bytes: int = MAP_BYTES) -> None:
        self.root = Path(root)
        self._map_bytes = map_bytes

    def create(self, state: str, plan: bytes) -> Generation:
        """Make an empty generation with the next number."""
        above = self.root / state
        with translated(above):
            above.mkdir(parents=True, exist_ok=True)
            while True:
                number = (
                    max((each.number for each in self.generations() if each.state == state), default=0) + 1
                )
                try:
                    (above / str(number)).mkdir()
                    break
                except FileExistsError:
                    continue
            make_environment(above / str(number), plan, map_bytes=self._map_bytes)
            sync_folder(above)
            sync_folder(self.root)
        return Generation(state, number)

    def writer(self, generation: Generation) -> LmdbWriter:
        """Hold a generation for writing."""
        return LmdbWriter(self._existing(generation), generation, self._map_bytes)

    def reader(self, generation: Generation) -> LmdbReader:
        """Open a generation for reading."""
        return LmdbReader(self._existing(generation), generation, self._map_bytes)

    def current(self) -> Generation | None:
        """Return the live generation, or None where there is none."""
        try:
            text = (self.root / _CURRENT).read_text()
        except FileNotFoundError:
            return None
        state, _, number = text.strip().partition("/")
        if not state or not number.isdecimal():
            raise UnavailableError(
                f"{_CURRENT} names no generation of online state: {text!r}.",
                at=str(self.root),
                hint="holdfast materialize builds the state anew",
            )
        return Generation(state, int(number))

    def make_current(self, generation: Generation) -> None:
        """Make a generation the live one, atomically and durably."""
        environment = open_environment(self._existing(generation), map_bytes=self._map_bytes)
        try:
            with translated(self.root), environment.env.begin(environment.meta) as transaction:
                filled = transaction.get(BATCH_KEY) is not None
        finally:
            release(environment)
        if not filled:
            raise ConflictError(
                f"generation {generation} is not filled: no batch was committed to it.",
                code="HF302",
                at=str(self.root),
            )
        part = self.root / f".{_CURRENT}-{os.getpid()}"
        with translated(self.root):
            with part.open("w") as file:
                file.write(f"{generation}\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.root / _CURRENT)
            sync_folder(self.root)

    def generations(self) -> list[Generation]:
        """Return all generations in order."""
        if not self.root.is_dir():
            return []
        return sorted(
            Generation(above.name, int(each.name))
            for above in self.root.iterdir()
            if above.is_dir()
            for each in above.iterdir()
            if each.name.isdecimal()
        )

    def remove(self, generation: Generation) -> None:
        """Delete a generation; harmless if it is gone."""
        if generation == self.current():
            raise ConflictError(f"generation {generation} is the live one.", code="HF302", at=str(self.root))
        folder = self._folder(generation)
        if not folder.is_dir():
            return
        lock = hold(folder)
        try:
            gone = folder.with_name(f"{_GONE}{folder.name}")
            with translated(folder):
                folder.replace(gone)
                shutil.rmtree(gone)
        finally:
            lock.close()

    def _folder(self, generation: Generation) -> Path:
        return self.root / generation.state / str(generation.number)

    def _existing(self, generation: Generation) -> Path:
        folder = self._folder(generation)
        if not folder.is_dir():
            raise NotFoundError(
                f"there is no generation {generation} of online state.",
                at=str(self.root),
                has=[str(each) for each in self.generations()],
            )
        return folder
