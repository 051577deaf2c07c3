"""Staged rows: frames under their content's name, complete or absent."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import polars as pl

from holdfast.adapters.durable import sync_folder
from holdfast.kernel.errors import DeterminismError, NotFoundError, UnavailableError
from holdfast.kernel.ids import digest

_NAME = re.compile(r"[0-9a-f]{40}\.(?:parquet|arrow)")
"""Arrow files were staged until 0.1; those that a killed process left are still read."""


class StagingFolder:
    """Implements the staging port in one folder, as Parquet files.

    Parameters
    ----------
    root : the folder; made when first written to
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def write(self, frame: pl.DataFrame) -> str:
        """Store a frame durably under its content's name and return the name."""
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="snappy")
        content = buffer.getvalue()
        name = f"{digest(content)}.parquet"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            part = self.root / f"{name}.part"
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.root / name)
            sync_folder(self.root)
        except OSError as error:
            raise UnavailableError(f"{self.root} cannot be written: {error.strerror or error}.") from error
        return name

    def read(self, name: str) -> pl.DataFrame:
        """Return a staged frame, its content checked against its name."""
        try:
            content = (self.root / name).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"no staged file `{name}`.", at=str(self.root)) from None
        if digest(content) != Path(name).stem:
            raise DeterminismError(f"staged file `{name}` does not hold what its name says.", code="HF402")
        return (pl.read_ipc if name.endswith(".arrow") else pl.read_parquet)(io.BytesIO(content))

    def path(self, name: str) -> str | None:
        """Return the path of a staged Parquet file."""
        return str(self.root / name) if name.endswith(".parquet") else None

    def remove(self, name: str) -> None:
        """Forget a staged frame, and parts that were never completed."""
        (self.root / name).unlink(missing_ok=True)

    def list_names(self) -> list[str]:
        """Return the names of all staged frames; drops parts that were never completed."""
        if not self.root.is_dir():
            return []
        for part in self.root.glob("*.part"):
            part.unlink(missing_ok=True)
        return sorted(path.name for path in self.root.iterdir() if _NAME.fullmatch(path.name))
