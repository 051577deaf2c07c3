"""Online state in LMDB: one memory-mapped environment for each generation, on this machine."""

from holdfast.adapters.lmdb.store import LmdbOnline

__all__ = ["LmdbOnline"]
