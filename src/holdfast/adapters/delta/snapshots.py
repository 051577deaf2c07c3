"""Dataset snapshots on disk: one folder each, its rows a Delta table that other tools can read too.

``<root>/_datasets/<id>/`` holds the table ``rows``, ``recipe.json``, ``profile.json`` and ``snapshot.json``,
which names format, id and content. A folder is written aside and renamed, so it is visible whole or not
at all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError
from polars.exceptions import PanicException, PolarsError

from holdfast.datasets.profile import Profile
from holdfast.datasets.snapshot import Recipe, Snapshot, verify
from holdfast.datasets.spine import ROW_KEY, T
from holdfast.kernel.errors import (
    ConflictError,
    ContractError,
    DeterminismError,
    NotFoundError,
    UnavailableError,
    did_you_mean,
)
from holdfast.kernel.ids import canonical_json, from_data

FORMAT = 1
"""Version of the folder's layout; a newer one is refused."""
_ID = re.compile(r"d-[0-9a-f]{40}")
_DAMAGE = (DeltaError, PolarsError, ContractError, ValueError, KeyError, FileNotFoundError)
_ROWS, _RECIPE, _PROFILE, _HEAD = "rows", "recipe.json", "profile.json", "snapshot.json"


class DeltaSnapshots:
    """A `holdfast.datasets.ports.SnapshotStore` in a local folder.

    Any number of processes may save and load; two that save the same snapshot leave one folder. A process
    killed while saving leaves a folder whose name begins with a dot, which nothing reads.

    Parameters
    ----------
    root : folder of the lake; created when the first snapshot is saved
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._folder = Path(root) / "_datasets"

    def save(self, snapshot: Snapshot) -> None:
        """Store a snapshot under its id, after checking that it is the one the id names.

        Raises
        ------
        DeterminismError
            If rows, recipe and id do not belong together.
        UnavailableError
            If the folder cannot be written.
        """
        verify(snapshot)
        target = self._folder / snapshot.id
        with _translated(f"dataset `{snapshot.id}` cannot be written to {self._folder}"):
            if target.exists():
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=".saving-", dir=self._folder))
            try:
                _write(snapshot, aside)
                aside.chmod(0o777 & ~_umask(self._folder))
                try:
                    aside.rename(target)
                except OSError:
                    if not target.exists():
                        raise
            finally:
                shutil.rmtree(aside, ignore_errors=True)

    def load(self, snapshot_id: str) -> Snapshot:
        """Return a stored snapshot, its content checked against its id.

        Raises
        ------
        NotFoundError
            If there is none of that id.
        DeterminismError
            If the stored rows do not have the recorded content, or cannot be understood.
        ConflictError
            If it was written by a newer version (HF304).
        """
        folder = self._folder / snapshot_id
        if not _ID.fullmatch(snapshot_id) or not folder.is_dir():
            stored = self.list_ids()
            raise NotFoundError(
                f"there is no dataset `{snapshot_id}`.",
                has=stored[:5],
                hint=did_you_mean(snapshot_id, stored),
            )
        with _translated(f"dataset `{snapshot_id}` cannot be read from {folder}"):
            try:
                snapshot = _read(snapshot_id, folder)
            except (*_DAMAGE, PanicException) as error:  # a torn Parquet file makes Polars panic
                raise DeterminismError(
                    f"dataset `{snapshot_id}` is stored damaged: {str(error).splitlines()[0]}.",
                    at=str(folder),
                    hint="remove the folder and build the dataset again",
                ) from error
        verify(snapshot)
        return snapshot

    def list_ids(self) -> list[str]:
        """Return the ids of all stored snapshots, sorted."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if _ID.fullmatch(path.name))


def _write(snapshot: Snapshot, folder: Path) -> None:
    write_deltalake(
        folder / _ROWS,
        snapshot.frame,
        name=snapshot.id,
        writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
    )
    head = {
        "format": FORMAT,
        "id": snapshot.id,
        "content": snapshot.content,
        "columns": snapshot.frame.columns,
    }
    for name, value in ((_RECIPE, snapshot.recipe), (_PROFILE, snapshot.profile), (_HEAD, head)):
        (folder / name).write_bytes(canonical_json(value) + b"\n")


def _read(snapshot_id: str, folder: Path) -> Snapshot:
    head = _json(folder / _HEAD)
    if head["format"] > FORMAT:
        raise ConflictError(
            f"dataset `{snapshot_id}` has format {head['format']}; this version reads up to {FORMAT}.",
            code="HF304",
        )
    # A table keeps no order of rows across its files; theirs is by time and key.
    frame = pl.read_delta(str(folder / _ROWS)).select(head["columns"]).sort(T, ROW_KEY)
    return Snapshot(
        id=snapshot_id,
        content=head["content"],
        recipe=from_data(Recipe, _json(folder / _RECIPE)),
        profile=from_data(Profile, _json(folder / _PROFILE)),
        frame=frame,
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _umask(folder: Path) -> int:
    """Return the bits the surrounding folder denies; a folder made aside is private until then."""
    return 0o777 & ~folder.stat().st_mode


@contextmanager
def _translated(fact: str) -> Iterator[None]:
    try:
        yield
    except (OSError, DeltaError) as error:
        raise UnavailableError(f"{fact}: {error}.") from error
