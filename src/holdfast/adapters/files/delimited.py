"""CSV: every field is text until it is judged, and no row is lost or bent to fit."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.adapters.files.text import BOM, Block, blocks, check_text_head, read_head, refuse, scan
from holdfast.events.ports import Broken, Chunk
from holdfast.kernel.errors import DeterminismError

_FIELD = r'(?:"(?:[^"]|"")*"|[^",]*)'


class CsvInput:
    """A comma-separated file: UTF-8, a header line, quotes as in RFC 4180.

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
        """Return the names in the header line."""
        return self._header[0]

    def digest(self) -> str:
        """Return the content hash; refuses damaged text."""
        if self._digest is None:
            self.columns()
            self._digest = scan(self.path, self.name, quotes=True)
        return self._digest

    def chunks(self, columns: Sequence[str], *, skip: int, size: int) -> Iterator[Chunk]:
        """Yield the rows after the first `skip`."""
        self.digest()
        names, offset, line = self._header
        for block in blocks(self.path, quotes=True, offset=offset, line=line, skip=skip, size=size):
            yield self._parse(block, names, [name for name in names if name in columns])

    @cached_property
    def _header(self) -> tuple[tuple[str, ...], int, int]:
        """Names, position of the first data byte, and its line."""
        head = read_head(self.path)
        check_text_head(self.name, head, "CSV")
        if b"\r" in head and b"\n" not in head:
            scan(self.path, self.name, quotes=False)
        bom = len(BOM) if head.startswith(BOM) else 0
        end, line = _header_end(head, bom)
        try:
            text = head[bom:end].decode().strip("\r\n")
        except UnicodeDecodeError:
            scan(self.path, self.name, quotes=False)
            raise
        if text.lstrip().startswith(("{", "[")):
            raise refuse(self.name, "says it is CSV, but holds JSON.", "name it .jsonl")
        try:
            names = tuple(next(csv.reader([text], strict=True), []))
        except csv.Error:
            raise refuse(self.name, f"has a header that is not CSV: {text[:80]!r}.") from None
        self._check_delimiter(text, names)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            listed = ", ".join(f"`{name}`" for name in twice)
            raise refuse(
                self.name, f"names {listed} more than once in its header.", "give each column one name"
            )
        return names, end, line

    def _check_delimiter(self, text: str, names: tuple[str, ...]) -> None:
        for mark, word in ((";", "semicolon"), ("\t", "tab"), ("|", "vertical bar")):
            if text.count(mark) >= len(names):
                raise refuse(
                    self.name,
                    f"separates its columns with a {word}; a comma is expected.",
                    f"its header is {text[:60]!r}",
                )

    def _parse(self, block: Block, names: tuple[str, ...], wanted: list[str]) -> Chunk:
        good = self._well_formed(block, len(names))
        broken: tuple[Broken, ...] = ()
        rows = np.arange(block.first, block.first + block.height)
        data = block.data
        if not good.all():
            broken = tuple(self._broken(block, index, len(names)) for index in np.flatnonzero(~good).tolist())
            rows = rows[good]
            starts = block.starts
            data = b"".join(data[starts[i] : block.ends[i]] for i in np.flatnonzero(good))
        frame = _read(data, names, len(rows), wanted)
        return Chunk(block.first, block.first + block.height, rows, frame, broken=broken)

    def _well_formed(self, block: Block, fields: int) -> NDArray[np.bool_]:
        if b'"' not in block.data:
            commas = np.flatnonzero(np.frombuffer(block.data, np.uint8) == 44)
            upto = np.searchsorted(commas, block.ends)
            counts: NDArray[np.int64] = np.diff(upto, prepend=0)
            return np.equal(counts, fields - 1)
        records = pl.Series([block.record(index) for index in range(block.height)], dtype=pl.String)
        pattern = f"^{_FIELD}(?:,{_FIELD}){{{fields - 1}}}$"
        return records.str.contains(pattern).to_numpy()

    def _broken(self, block: Block, index: int, fields: int) -> Broken:
        record = block.record(index)
        line = block.line_of(index)
        try:
            found = len(next(csv.reader([record], strict=True)))
        except csv.Error:
            found = fields
        if found == fields:
            message = f"line {line} has a quote where no field begins or ends."
        else:
            message = f"line {line} has {found} field{'s' * (found != 1)}, expected {fields}."
        raw = json.dumps(record, ensure_ascii=False)
        return Broken(block.first + index, "HF214", message, raw)


def _header_end(head: bytes, bom: int) -> tuple[int, int]:
    """Return the position after the header record, and the line that begins there."""
    line = 1
    position = bom
    while True:
        feed = head.find(b"\n", position)
        if feed < 0:
            return len(head), line + 1
        line += 1
        position = feed + 1
        if head[bom:position].strip() and head.count(b'"', bom, position) % 2 == 0:
            return position, line


def _read(data: bytes, names: tuple[str, ...], height: int, wanted: list[str]) -> pl.DataFrame:
    if not height:
        return pl.DataFrame(schema=dict.fromkeys(wanted, pl.String))
    quotes = b'"' in data
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n") if not quotes else data
    frame = pl.read_csv(
        data,
        has_header=False,
        new_columns=list(names),
        infer_schema=False,
        quote_char='"' if quotes else None,
    )
    if frame.height != height:
        raise DeterminismError(f"{height} well-formed CSV records were read as {frame.height} rows.")
    return frame.select(wanted)
