"""Parquet: a typed file, read by row groups and checked at both ends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from holdfast.adapters.files.text import READ_BYTES, read_head, refuse
from holdfast.events.ports import Chunk
from holdfast.kernel.errors import UnavailableError

_MAGIC = b"PAR1"


class ParquetInput:
    """A Parquet file.

    Parameters
    ----------
    path : the file
    name : as it appears in origins
    """

    may_omit = False

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = name or path.name
        self._digest: str | None = None

    def columns(self) -> tuple[str, ...]:
        """Return the names in the footer."""
        return tuple(self._schema)

    def digest(self) -> str:
        """Return the content hash; refuses a file whose footer cannot be read."""
        if self._digest is None:
            self.columns()
            state = hashlib.blake2b(digest_size=20)
            try:
                with self.path.open("rb") as file:
                    while block := file.read(READ_BYTES):
                        state.update(block)
            except OSError as error:
                raise UnavailableError(f"{self.path} cannot be read: {error.strerror or error}.") from error
            self._digest = state.hexdigest()
        return self._digest

    def chunks(self, columns: Sequence[str], *, skip: int, size: int) -> Iterator[Chunk]:
        """Yield the rows after the first `skip`."""
        wanted = [name for name in self._schema if name in columns]
        rows = pl.scan_parquet(self.path, hive_partitioning=False).select(wanted).slice(skip)
        first = skip
        try:
            for frame in rows.collect_batches(chunk_size=size, maintain_order=True):
                last = first + frame.height
                if frame.height:
                    yield Chunk(first, last, np.arange(first, last), frame)
                first = last
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            _if_interrupted(error)
            raise refuse(self.name, f"is damaged after row {first}: {_first_line(error)}.") from error

    @cached_property
    def _schema(self) -> pl.Schema:
        head = read_head(self.path, 16)
        if not head:
            raise refuse(self.name, "is empty (0 bytes).", "the file was perhaps not written to its end")
        if not head.startswith(_MAGIC):
            raise refuse(self.name, f"says it is Parquet, but begins with {head!r}.")
        with self.path.open("rb") as file:
            size = self.path.stat().st_size
            file.seek(max(size - 8, 0))
            tail = file.read()
        if size < 12 or not tail.endswith(_MAGIC) or int.from_bytes(tail[:4], "little") > size - 12:
            raise refuse(
                self.name,
                f"is Parquet cut short: its {size} bytes have no footer at the end.",
                "the copy or the writer was interrupted; write the file again",
            )
        try:
            return pl.Schema(pl.read_parquet_schema(self.path))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            _if_interrupted(error)
            raise refuse(
                self.name, f"has a Parquet footer that cannot be read: {_first_line(error)}."
            ) from error


def _if_interrupted(error: Exception) -> None:
    """Raise the interrupt that Polars met at work and reports as an error of its own."""
    if "KeyboardInterrupt" in str(error):
        raise KeyboardInterrupt from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
