"""From a file, a folder or a pattern to inputs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from holdfast.adapters.files.columnar import ParquetInput
from holdfast.adapters.files.delimited import CsvInput
from holdfast.adapters.files.jsonlines import JsonLinesInput
from holdfast.kernel.errors import ContractError, NotFoundError

AnyInput = ParquetInput | CsvInput | JsonLinesInput

FORMATS: dict[str, type[AnyInput]] = {
    ".parquet": ParquetInput,
    ".csv": CsvInput,
    ".jsonl": JsonLinesInput,
    ".ndjson": JsonLinesInput,
    ".json": JsonLinesInput,
}
"""Readable formats by the suffix of the file's name."""


class Files:
    """The inputs at a place, in the order of their names.

    Parameters
    ----------
    place : a file, a folder (with the folders in it), or a pattern such as ``data/2026-*.csv``

    Attributes
    ----------
    ignored : files of the folder or pattern whose suffix says nothing; hidden files are not counted

    Raises
    ------
    NotFoundError
        If nothing is there.
    ContractError
        If no file there is of a known format (HF200).
    """

    def __init__(self, place: str | Path) -> None:
        paths, root = _find(place)
        known = [path for path in paths if path.suffix.lower() in FORMATS]
        self.ignored = tuple(str(path) for path in paths if path.suffix.lower() not in FORMATS)
        if not known:
            found = ", ".join(path.name for path in paths[:5]) or "none"
            raise ContractError(
                f"{place} has no file of a known format; found {found}.",
                code="HF200",
                at=str(place),
                hint=f"known are {', '.join(FORMATS)}; decompress first what is compressed",
            )
        self._inputs: tuple[AnyInput, ...] = tuple(
            FORMATS[path.suffix.lower()](path, path.relative_to(root).as_posix()) for path in known
        )

    def __iter__(self) -> Iterator[AnyInput]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)


def _find(place: str | Path) -> tuple[list[Path], Path]:
    path = Path(place)
    if path.is_dir():
        return _visible(path.rglob("*"), path), path
    if path.is_file():
        return [path], path.parent
    if os.path.lexists(path):
        raise ContractError(
            f"{place} is no file that can be read from its beginning to its end.",
            code="HF200",
            at=str(place),
            hint="give a plain file or a folder; a pipe, a device or a link to nothing is neither",
        )
    if glob.has_magic(str(place)):
        found = [Path(each) for each in glob.glob(str(place), recursive=True)]
        root = _root(str(place))
        found = [inner for each in found for inner in (each.rglob("*") if each.is_dir() else (each,))]
        if paths := _visible(found, root):
            return paths, root
    raise NotFoundError(f"{place} does not exist.", code="HF300", at=str(place))


def _visible(paths: Iterator[Path] | list[Path], root: Path) -> list[Path]:
    return sorted(
        {
            path
            for path in paths
            if path.is_file() and not any(part[0] in "._" for part in path.relative_to(root).parts)
        }
    )


def _root(pattern: str) -> Path:
    """Return the folder of a pattern up to its first wildcard."""
    parts = Path(pattern).parts
    fixed = parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))]
    return Path(*fixed) if fixed else Path()
