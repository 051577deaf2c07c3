"""JSON lines: numbers stay the text they were written as, and every key counts once.

Lines in the shape of an earlier line are taken apart by one regular expression for that shape, which also
proves that no key is twice; every other line is parsed by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.adapters.files.text import BOM, Block, blocks, check_text_head, read_head, refuse, scan
from holdfast.events.ports import Broken, Chunk

SHAPES = 8
"""Greatest number of shapes tried on one block before its lines are parsed one by one."""

_SPACE = r"[ \t\r]*"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_SCALAR = f"{_STRING}|{_NUMBER}|true|false|null|NaN|-?Infinity"


class Token(NamedTuple):
    """A value that was not text: its JSON text."""

    text: str


Pairs = list[tuple[str, Any]]


class _Object(NamedTuple):
    pairs: tuple[tuple[str, Any], ...]


_DECODER = json.JSONDecoder(
    object_pairs_hook=lambda pairs: _Object(tuple(pairs)),
    parse_float=Token,
    parse_int=Token,
    parse_constant=Token,
)


class JsonLinesInput:
    """A file of one JSON object a line, in UTF-8.

    Parameters
    ----------
    path : the file
    name : as it appears in origins
    """

    may_omit = True

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = name or path.name
        self._digest: str | None = None

    def columns(self) -> tuple[str, ...]:
        """Return the keys of the first object."""
        return self._first[0]

    def digest(self) -> str:
        """Return the content hash; refuses damaged text."""
        if self._digest is None:
            self.columns()
            self._digest = scan(self.path, self.name, quotes=False)
        return self._digest

    def chunks(self, columns: Sequence[str], *, skip: int, size: int) -> Iterator[Chunk]:
        """Yield the rows after the first `skip`."""
        self.digest()
        offset = self._first[1]
        for block in blocks(self.path, quotes=False, offset=offset, line=1, skip=skip, size=size):
            yield _Lines(block, tuple(columns)).parse()

    @cached_property
    def _first(self) -> tuple[tuple[str, ...], int]:
        """Keys of the first object, and the position of the first byte."""
        head = read_head(self.path)
        check_text_head(self.name, head, "JSON lines")
        if b"\r" in head and b"\n" not in head:
            scan(self.path, self.name, quotes=False)
        start = len(BOM) if head.startswith(BOM) else 0
        lines = [line for line in head[start:].split(b"\n") if line.strip()][:10]
        for line in lines:
            try:
                value = _DECODER.decode(line.decode().strip())
            except (ValueError, RecursionError):
                continue
            if isinstance(value, _Object):
                return tuple(dict.fromkeys(key for key, _ in value.pairs)), start
        first = lines[0].decode(errors="replace").strip()
        if first.startswith("["):
            raise refuse(
                self.name,
                "holds one JSON array; one object a line is expected.",
                f"write it as lines: jq -c '.[]' {self.name} > {Path(self.name).stem}.jsonl",
            )
        if first == "{":
            raise refuse(
                self.name,
                "spreads an object over several lines; one object a line is expected.",
                f"write it as lines: jq -c . {self.name} > {Path(self.name).stem}.jsonl",
            )
        raise refuse(self.name, f"says it is JSON lines, but begins with {first[:60]!r}.")


@dataclass
class _Lines:
    """Takes the lines of one block apart."""

    block: Block
    columns: tuple[str, ...]
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    frames: list[pl.DataFrame] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def parse(self) -> Chunk:
        """Return the block as a chunk."""
        lines = _split(self.block)
        left: NDArray[np.int64] = np.arange(len(lines))
        for _ in range(SHAPES):
            if not len(left):
                break
            taken = self._take_shape(lines, left)
            if taken is None:
                break
            left = left[~taken]
        if len(left):
            self._take_singly(lines, left)
        return self._chunk(lines)

    def _take_shape(self, lines: pl.Series, left: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Take the lines that have the shape of the first one left; None where it has no simple shape."""
        keys = self._simple_keys(lines[int(left[0])])
        if keys is None:
            return None
        some = lines if len(left) == len(lines) else lines.gather(left)
        pairs = ",".join(f'{_SPACE}"{re.escape(key)}"{_SPACE}:{_SPACE}({_SCALAR}){_SPACE}' for key in keys)
        found = some.str.extract_groups(f"^{_SPACE}\\{{{pairs}\\}}{_SPACE}$").struct.unnest()
        found.columns = list(keys)
        taken = found.to_series(0).is_not_null()
        if not taken.all():
            found = found.filter(taken)
        self.rows.append(left[taken.to_numpy()])
        self.frames.append(found)
        return taken.to_numpy()

    def _simple_keys(self, line: str) -> tuple[str, ...] | None:
        try:
            value = _DECODER.decode(line.strip())
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, _Object) or not value.pairs:
            return None
        keys = tuple(key for key, _ in value.pairs)
        if len(set(keys)) < len(keys) or not set(keys) <= set(self.columns):
            return None
        scalar = all(item is None or isinstance(item, (str, bool, Token)) for _, item in value.pairs)
        plain = all(re.fullmatch(r'[^"\\\x00-\x1f]*', key) for key in keys)
        return keys if scalar and plain else None

    def _take_singly(self, lines: pl.Series, left: NDArray[np.int64]) -> None:
        rows: list[int] = []
        cells: dict[str, list[str | None]] = {column: [] for column in self.columns}
        for row, line in zip(left.tolist(), lines.gather(left).to_list(), strict=True):
            found = self._object(row, line)
            if isinstance(found, Broken):
                self.broken.append(found)
                continue
            rows.append(row)
            for column, values in cells.items():
                values.append(found.get(column))
        if rows:
            self.rows.append(np.array(rows, np.int64))
            self.frames.append(pl.DataFrame(cells, schema=dict.fromkeys(self.columns, pl.String)))

    def _object(self, row: int, line: str) -> dict[str, str | None] | Broken:
        """Return each value's JSON text, or why the line is broken."""
        try:
            value = _DECODER.decode(line.strip())
        except RecursionError:
            return self._break(row, line, "nests too deeply")
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            return self._break(row, line, f"is not JSON: {reason[:1].lower()}{reason[1:]}")
        if not isinstance(value, _Object):
            return self._break(row, line, f"is {_kind(value)}, expected an object")
        keys = [key for key, _ in value.pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            return self._break(row, line, f"names `{twice}` twice")
        for key, item in value.pairs:
            if key not in self.columns and item is not None:
                return Broken(
                    self.block.first + row,
                    "HF209",
                    f"line {self.block.line_of(row)} has `{key}`, which the schema does not have.",
                    line.strip(),
                    key,
                )
        return {key: None if item is None else _dump(item) for key, item in value.pairs}

    def _break(self, row: int, line: str, what: str) -> Broken:
        message = f"line {self.block.line_of(row)} {what}."
        return Broken(self.block.first + row, "HF214", message, json.dumps(line, ensure_ascii=False))

    def _chunk(self, lines: pl.Series) -> Chunk:
        block = self.block
        frame = pl.DataFrame(schema=dict.fromkeys(self.columns, pl.String))
        rows: NDArray[np.int64] = np.zeros(0, np.int64)
        if self.frames:
            whole = [each for each in self.frames if each.height]
            tokens = pl.concat(whole or self.frames[:1], how="diagonal")
            rows = np.concatenate(self.rows)
            if len(self.rows) > 1:
                order = np.argsort(rows)
                tokens, rows = tokens[order], rows[order]
            frame, not_text, bad = _untoken(tokens)
            if bad.any():
                for row in rows[bad]:
                    message = "has half of a surrogate pair"
                    self.broken.append(self._break(int(row), block.record(int(row)), message))
                frame, rows = frame.filter(~bad), rows[~bad]
                not_text = {name: mask[~bad] for name, mask in not_text.items()}
        else:
            not_text = {}
        kept = lines if len(rows) == len(lines) else lines.gather(rows)
        broken = tuple(sorted(self.broken, key=lambda each: each.row))
        return Chunk(
            block.first, block.first + block.height, rows + block.first, frame, not_text, broken, kept
        )


def _split(block: Block) -> pl.Series:
    # NUL was refused by the scan, so it separates nothing: every line is one field.
    lines = pl.read_csv(
        block.data,
        has_header=False,
        separator="\0",
        quote_char=None,
        infer_schema=False,
        new_columns=["line"],
    ).to_series()
    assert len(lines) == block.height
    return lines


def _untoken(
    tokens: pl.DataFrame,
) -> tuple[pl.DataFrame, dict[str, NDArray[np.bool_]], NDArray[np.bool_]]:
    """Return texts, which of them were not text, and the rows that hold no valid text."""
    bad = np.zeros(tokens.height, np.bool_)
    not_text: dict[str, NDArray[np.bool_]] = {}
    columns = []
    for column in tokens.get_columns():
        quoted = column.str.starts_with('"').fill_null(True)
        if quoted.all():
            text = column.str.strip_prefix('"').str.strip_suffix('"')
        else:
            not_text[column.name] = ~quoted.to_numpy()
            null = column == "null"
            if null.any():
                column = column.set(null, None)
            stripped = column.str.strip_prefix('"').str.strip_suffix('"')
            text = stripped if quoted.any() else column
        escaped = (column.str.contains("\\", literal=True) & quoted).fill_null(False)
        if escaped.any():
            where = np.flatnonzero(escaped.to_numpy())
            decoded = [json.loads(token) for token in column.gather(where).to_list()]
            for row, value in zip(where, decoded, strict=True):
                bad[row] |= any("\ud800" <= character <= "\udfff" for character in value)
            clean = [None if bad[row] else value for row, value in zip(where, decoded, strict=True)]
            text = text.scatter(where, pl.Series(clean, dtype=pl.String))
        columns.append(text)
    return pl.DataFrame(columns), not_text, bad


def _dump(item: Any) -> str:
    """Return the JSON text of a parsed value, numbers as they were written."""
    if isinstance(item, Token):
        return item.text
    if isinstance(item, _Object):
        return "{" + ", ".join(f"{json.dumps(key)}: {_dump(value)}" for key, value in item.pairs) + "}"
    if isinstance(item, list):
        return "[" + ", ".join(map(_dump, item)) + "]"
    return json.dumps(item)


def _kind(value: Any) -> str:
    match value:
        case Token():
            return "a number"
        case str():
            return "a string"
        case bool():
            return "true or false"
        case None:
            return "null"
        case _:
            return "an array"
