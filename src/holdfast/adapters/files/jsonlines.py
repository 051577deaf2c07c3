"""JSON lines: numbers stay the text they were written as, and every key counts once.

Lines in the shape of an earlier line are taken apart by one regular expression for that shape, which also
proves that no key is twice: first those with the same kinds of values, then those with any. Every other line
is parsed by itself.
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
WIDEST_SHAPE = 40
"""Greatest number of keys of a shape; wider ones are slower as a regular expression than one by one."""
ODD_LINES = 64
"""Greatest number of lines without a shape that are passed over in search of one."""

_SPACE = r"[ \t\r]*"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
# No two branches begin alike, so that the regular expression needs one pass and no backtracking.
_NUMBER = r"(?:-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|Infinity)|NaN)"
_SCALAR = f"{_STRING}|{_NUMBER}|true|false|null"
_PLAIN = {
    "text": r'"([^"\\\x00-\x1f]*)"',
    "number": f"({_NUMBER})",
    "bool": "(true|false)",
}


class Token(NamedTuple):
    """A value that was not text: its JSON text."""

    text: str


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
                f"write it as lines: jq -c '.[]' {self.name} > {Path(self.name).stem}-lines.jsonl",
            )
        if first == "{":
            raise refuse(
                self.name,
                "spreads an object over several lines; one object a line is expected.",
                f"write it as lines: jq -c . {self.name} > {Path(self.name).stem}-lines.jsonl",
            )
        raise refuse(self.name, f"says it is JSON lines, but begins with {first[:60]!r}.")


@dataclass(frozen=True, slots=True)
class _Part:
    """Some lines of a block, taken apart: texts, and by column which of them were something else."""

    rows: NDArray[np.int64]
    frame: pl.DataFrame
    not_text: dict[str, NDArray[np.bool_]]


@dataclass
class _Lines:
    """Takes the lines of one block apart."""

    block: Block
    columns: tuple[str, ...]
    parts: list[_Part] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def parse(self) -> Chunk:
        """Return the block as a chunk."""
        lines = _split(self.block)
        left: NDArray[np.int64] = np.arange(len(lines))
        odd: list[int] = []
        shapes = 0
        while len(left) and shapes < SHAPES and len(odd) < ODD_LINES:
            kinds = self._simple_kinds(lines[int(left[0])])
            if kinds is None:
                odd.append(int(left[0]))
                left = left[1:]
                continue
            shapes += 1
            left = self._take_plain(lines, left, kinds)
            if len(left):
                left = self._take_shape(lines, left, tuple(kinds))
        left = np.sort(np.concatenate((left, np.array(odd, np.int64))))
        if len(left):
            self._take_singly(lines, left)
        return self._chunk(lines)

    def _take_plain(
        self, lines: pl.Series, left: NDArray[np.int64], kinds: dict[str, str]
    ) -> NDArray[np.int64]:
        """Take the lines with these keys and kinds of values, or null, and no escapes; return the others."""
        pairs = ",".join(
            f'{_SPACE}"{re.escape(key)}"{_SPACE}:{_SPACE}(?:{_PLAIN[kind]}|null){_SPACE}'
            for key, kind in kinds.items()
        )
        found, rows, others = _extract(lines, left, f"^{_SPACE}\\{{{pairs}(\\}}){_SPACE}$", (*kinds, "}"))
        if found is not None:
            alien = {key: np.ones(len(rows), np.bool_) for key, kind in kinds.items() if kind != "text"}
            self.parts.append(_Part(rows, found.drop("}"), alien))
        return others

    def _take_shape(
        self, lines: pl.Series, left: NDArray[np.int64], keys: tuple[str, ...]
    ) -> NDArray[np.int64]:
        """Take the lines with these keys in this order, whatever scalars they hold; return the others."""
        pairs = ",".join(f'{_SPACE}"{re.escape(key)}"{_SPACE}:{_SPACE}({_SCALAR}){_SPACE}' for key in keys)
        found, rows, others = _extract(lines, left, f"^{_SPACE}\\{{{pairs}\\}}{_SPACE}$", keys)
        if found is not None:
            self._add_tokens(rows, found)
        return others

    def _add_tokens(self, rows: NDArray[np.int64], tokens: pl.DataFrame) -> None:
        """Add lines of which the JSON text of each value is known."""
        frame, not_text, bad = _untoken(tokens)
        if bad.any():
            for row in rows[bad].tolist():
                self.broken.append(self._break(row, self.block.record(row), "has half of a surrogate pair"))
            frame, rows = frame.filter(~bad), rows[~bad]
            not_text = {name: mask[~bad] for name, mask in not_text.items()}
        if len(rows):
            self.parts.append(_Part(rows, frame, not_text))

    def _simple_kinds(self, line: str) -> dict[str, str] | None:
        """Return the kind of each value by key, or None where the line is broken or not flat."""
        try:
            value = _DECODER.decode(line.strip())
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, _Object) or not value.pairs:
            return None
        kinds = {key: _kind_of_scalar(item) for key, item in value.pairs}
        flat = len(kinds) == len(value.pairs) <= WIDEST_SHAPE and "" not in kinds.values()
        plain = all(key in self.columns and re.fullmatch(r'[^"\\\x00-\x1f]*', key) for key in kinds)
        return kinds if flat and plain else None

    def _take_singly(self, lines: pl.Series, left: NDArray[np.int64]) -> None:
        rows: list[int] = []
        cells: dict[str, list[str | None]] = {column: [] for column in self.columns}
        for row, line in zip(left.tolist(), lines.gather(left).to_list(), strict=True):
            try:
                found = self._object(row, line)
            except RecursionError:
                found = self._break(row, line, "nests too deeply")
            if isinstance(found, Broken):
                self.broken.append(found)
                continue
            rows.append(row)
            for column, values in cells.items():
                values.append(found.get(column))
        if rows:
            tokens = pl.DataFrame(cells, schema=dict.fromkeys(self.columns, pl.String))
            self._add_tokens(np.array(rows, np.int64), tokens)

    def _object(self, row: int, line: str) -> dict[str, str | None] | Broken:
        """Return each value's JSON text, or why the line is broken."""
        try:
            value = _DECODER.decode(line.strip())
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
        not_text: dict[str, NDArray[np.bool_]] = {}
        if len(self.parts) == 1:
            rows, frame, not_text = self.parts[0].rows, self.parts[0].frame, self.parts[0].not_text
        elif self.parts:
            rows = np.concatenate([part.rows for part in self.parts])
            order = np.argsort(rows)
            rows = rows[order]
            frame = pl.concat([part.frame for part in self.parts], how="diagonal")[order]
            for name in {name for part in self.parts for name in part.not_text}:
                masks = [part.not_text.get(name, np.zeros(len(part.rows), np.bool_)) for part in self.parts]
                not_text[name] = np.concatenate(masks)[order]
        kept = lines if len(rows) == len(lines) else lines.gather(rows)
        broken = tuple(sorted(self.broken, key=lambda each: each.row))
        return Chunk(
            block.first, block.first + block.height, rows + block.first, frame, not_text, broken, kept
        )


def _extract(
    lines: pl.Series, left: NDArray[np.int64], pattern: str, names: tuple[str, ...]
) -> tuple[pl.DataFrame | None, NDArray[np.int64], NDArray[np.int64]]:
    """Return the groups of the lines that match, their rows, and the rows of the others."""
    some = lines if len(left) == len(lines) else lines.gather(left)
    try:
        found = some.str.extract_groups(pattern).struct.unnest()
    except pl.exceptions.PolarsError:
        return None, left[:0], left
    found.columns = list(names)
    # The last group is never null where the pattern matched.
    taken = found.to_series(len(names) - 1).is_not_null()
    if taken.all():
        return found, left, left[:0]
    mask = taken.to_numpy()
    return (found.filter(taken) if mask.any() else None), left[mask], left[~mask]


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


def _kind_of_scalar(value: Any) -> str:
    """Return the kind of a value, null counting as text; empty where it is no scalar."""
    match value:
        case bool():
            return "bool"
        case None | str():
            return "text"
        case Token():
            return "number"
        case _:
            return ""


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
