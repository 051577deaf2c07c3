"""What building datasets needs of the world: the lake's rows, and a place for snapshots."""

from __future__ import annotations

from typing import Protocol

from holdfast.datasets.snapshot import Snapshot
from holdfast.features.ports import EventReader


class VersionedReader(EventReader, Protocol):
    """The lake, with the version of each table."""

    def version(self, table: str) -> int | None:
        """Return the latest version of a table, or None where it does not exist."""
        ...


class SnapshotStore(Protocol):
    """Immutable snapshots by id. Saving an id that exists changes nothing; a snapshot is visible whole."""

    def save(self, snapshot: Snapshot) -> None:
        """Store a snapshot under its id."""
        ...

    def load(self, snapshot_id: str) -> Snapshot:
        """Return a stored snapshot, its content checked against its id.

        Raises
        ------
        NotFoundError
            If there is none of that id.
        DeterminismError
            If the stored rows do not have the recorded content.
        """
        ...
