"""The lake on Delta Lake, through delta-rs: transactional appends, snapshots, pushed-down filters."""

from holdfast.adapters.delta.lake import DeltaLake

__all__ = ["DeltaLake"]
