"""Text files by records: one pass that refuses damage, and record-aligned blocks of bounded size."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.kernel.errors import ContractError, UnavailableError

READ_BYTES = 4 << 20
BLOCK_BYTES = 64 << 20
LONGEST_RECORD_LINES = 10_000
"""Lines after which a quoted CSV field counts as never closed."""
BOM = codecs.BOM_UTF8

_MAGIC = (
    (b"\x1f\x8b", "gzip-compressed data", "gunzip it first"),
    (b"PK\x03\x04", "a ZIP archive", "unzip it first"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data", "decompress it with `zstd -d` first"),
    (b"BZh", "bzip2-compressed data", "decompress it with `bunzip2` first"),
    (b"\xfd7zXZ\x00", "xz-compressed data", "decompress it with `unxz` first"),
    (b"PAR1", "Parquet", "name it .parquet"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV or Parquet"),
    (codecs.BOM_UTF32_LE, "UTF-32 text (little endian, with a byte order mark)", "save it as UTF-8"),
    (codecs.BOM_UTF32_BE, "UTF-32 text (big endian, with a byte order mark)", "save it as UTF-8"),
    (codecs.BOM_UTF16_LE, "UTF-16 text (little endian, with a byte order mark)", "save it as UTF-8"),
    (codecs.BOM_UTF16_BE, "UTF-16 text (big endian, with a byte order mark)", "save it as UTF-8"),
)


def refuse(name: str, message: str, hint: str = "") -> ContractError:
    """Return the error that a file is not what it says."""
    return ContractError(f"{name} {message}", code="HF200", at=name, hint=hint)


def read_head(path: Path, size: int = 1 << 20) -> bytes:
    """Return the first bytes of a file."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror or error}.") from error


def check_text_head(name: str, head: bytes, kind: str) -> None:
    """Refuse a beginning that is no text at all: empty, compressed, Parquet, another encoding."""
    if not head:
        raise refuse(name, "is empty (0 bytes).", "the file was perhaps not written to its end")
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            raise refuse(name, f"says it is {kind}, but holds {what}.", hint)
    if not head.removeprefix(BOM).strip():
        raise refuse(name, "holds nothing but blanks.")


def scan(path: Path, name: str, *, quotes: bool) -> str:
    """Return the content hash, after a look at every byte: damaged text is refused whole.

    Parameters
    ----------
    quotes : whether quotes may hold line ends (CSV), so that an unclosed one is damage
    """
    state = hashlib.blake2b(digest_size=20)
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    line_feed = carriage_return = False
    quoted = _Quotes(name) if quotes else None
    try:
        with path.open("rb") as file:
            while block := file.read(READ_BYTES):
                state.update(block)
                pending = decoder.getstate()[0]
                if pending or not block.isascii():
                    try:
                        decoder.decode(block)
                    except UnicodeDecodeError as error:
                        where = offset - len(pending) + error.start
                        raise _not_utf8(path, name, where, error.object[error.start]) from None
                if b"\0" in block:
                    where = offset + block.index(b"\0")
                    raise refuse(
                        name,
                        f"has a NUL byte at byte {where} (line {_line_at(path, where)}).",
                        "the text is perhaps UTF-16, or the end of the file was never written",
                    )
                if quoted is not None:
                    quoted.add(block)
                line_feed = line_feed or b"\n" in block
                carriage_return = carriage_return or b"\r" in block
                offset += len(block)
            if decoder.getstate()[0]:
                where = offset - len(decoder.getstate()[0])
                raise refuse(name, f"ends inside a UTF-8 character at byte {where}.", "the file is cut short")
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror or error}.") from error
    if carriage_return and not line_feed:
        raise refuse(name, "ends its lines with a bare carriage return.", "end them with a line feed")
    if quoted is not None:
        quoted.end()
    return state.hexdigest()


def _not_utf8(path: Path, name: str, where: int, byte: int) -> ContractError:
    return refuse(
        name,
        f"is not UTF-8: byte 0x{byte:02x} at byte {where} (line {_line_at(path, where)}).",
        "save it as UTF-8; such a byte is often Latin-1 or Windows-1252",
    )


def _line_at(path: Path, where: int) -> int:
    """Return the 1-based line of a byte."""
    with path.open("rb") as file:
        line, left = 1, where
        while left > 0 and (block := file.read(min(READ_BYTES, left))):
            line += block.count(b"\n")
            left -= len(block)
    return line


class _Quotes:
    """Follows open quotes through a CSV file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = False
        self.since = 0
        self.lines = 0

    def add(self, block: bytes) -> None:
        """Take the next block."""
        lines = self.lines
        if not self.open and b'"' not in block:
            self.lines += block.count(b"\n")
            return
        view = np.frombuffer(block, np.uint8)
        marks = np.flatnonzero(view == 34)
        ends = np.flatnonzero(view == 10)
        self.lines += len(ends)
        # A quote at an even position among all quotes opens; it closes at the next one.
        edges = np.concatenate(([0], marks)) if self.open else marks
        at_line = lines + np.searchsorted(ends, edges)
        if self.open:
            at_line[0] = self.since
        opened, closed = at_line[0::2], at_line[1::2]
        spans = closed - opened[: len(closed)]
        if len(spans) and spans.max() > LONGEST_RECORD_LINES:
            raise self._unclosed(int(opened[int(np.argmax(spans > LONGEST_RECORD_LINES))]))
        self.open = len(opened) > len(closed)
        if self.open:
            self.since = int(opened[-1])
            if lines + len(ends) - self.since > LONGEST_RECORD_LINES:
                raise self._unclosed(self.since)

    def end(self) -> None:
        """Refuse a quote that is still open."""
        if self.open:
            raise self._unclosed(self.since)

    def _unclosed(self, line: int) -> ContractError:
        return refuse(
            self.name,
            f"has a quote that opens on line {line + 1} and never closes.",
            'a quote inside a quoted field is written twice: "5"" pipe"',
        )


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records of a text file.

    Attributes
    ----------
    data : bytes of the records, each ended by a line feed
    ends : (k,) position after each record's line feed
    first : 0-based data row of the first record
    line : 1-based line on which the first record begins
    lines : (k,) line of each record, where blank ones were left out
    """

    data: bytes
    ends: NDArray[np.int64]
    first: int
    line: int
    lines: NDArray[np.int64] | None = None

    @property
    def height(self) -> int:
        """Number of records."""
        return len(self.ends)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(k,) position of each record's first byte."""
        return np.concatenate(([0], self.ends[:-1])) if len(self.ends) else self.ends

    def record(self, index: int) -> str:
        """Return one record, without its line end."""
        start = int(self.ends[index - 1]) if index else 0
        return self.data[start : int(self.ends[index])].removesuffix(b"\n").removesuffix(b"\r").decode()

    def line_of(self, index: int) -> int:
        """Return the 1-based line on which a record begins."""
        if self.lines is not None:
            return int(self.lines[index])
        return self.line + self.data.count(b"\n", 0, int(self.ends[index - 1]) if index else 0)


def blocks(path: Path, *, quotes: bool, offset: int, line: int, skip: int, size: int) -> Iterator[Block]:
    """Yield the records from byte `offset` on, at most `size` at a time; blank records are no rows.

    Parameters
    ----------
    line : 1-based line at `offset`
    skip : number of first records to pass over
    """
    reader = _Records(quotes)
    row = 0
    with path.open("rb") as file:
        file.seek(offset)
        for data, ends in reader.read(file.read, size):
            here = line
            line += data.count(b"\n") if quotes else len(ends)  # without quotes, each ends a record
            block = _without_blanks(Block(data, ends, row, here))
            row += block.height
            if row <= skip or not block.height:
                continue
            if block.first < skip:
                block = _tail(block, skip - block.first)
            yield block


class _Records:
    """Cuts a stream of bytes at the ends of records."""

    def __init__(self, quotes: bool) -> None:
        self.quotes = quotes

    def read(self, more: Callable[[int], bytes], size: int) -> Iterator[tuple[bytes, NDArray[np.int64]]]:
        """Yield (bytes, ends) of at most `size` records; `more(n)` gives the next bytes."""
        pending = bytearray()
        ends: list[NDArray[np.int64]] = []
        count = 0
        odd = False
        done = False
        while not done:
            block = more(READ_BYTES)
            if not block:
                done = True
                whole = not pending or (count and ends[-1][-1] == len(pending))
                block = b"" if whole else b"\n"
            found, odd = self._ends(block, odd, len(pending))
            pending += block
            if len(found):
                ends.append(found)
                count += len(found)
            while count >= size or (count and (done or len(pending) >= BLOCK_BYTES)):
                together = np.concatenate(ends)
                taken = together[:size]
                cut = int(taken[-1])
                with memoryview(pending) as view, view[:cut] as records:
                    data = bytes(records)
                yield data, taken
                del pending[:cut]
                rest = together[size:] - cut
                ends, count = ([rest] if len(rest) else []), len(rest)

    def _ends(self, block: bytes, odd: bool, base: int) -> tuple[NDArray[np.int64], bool]:
        view = np.frombuffer(block, np.uint8)
        found = np.flatnonzero(view == 10)
        if self.quotes and (odd or b'"' in block):
            marks = np.flatnonzero(view == 34)
            inside = (np.searchsorted(marks, found) + odd) % 2 == 1
            found = found[~inside]
            odd = (len(marks) + odd) % 2 == 1
        return found + (base + 1), odd


def _without_blanks(block: Block) -> Block:
    lengths = block.ends - block.starts
    if not (lengths <= 2).any():
        return block
    short = np.flatnonzero(lengths <= 2)
    data = block.data
    blank = [index for index in short if not data[int(block.starts[index]) : int(block.ends[index])].strip()]
    if not blank:
        return block
    keep = np.ones(block.height, np.bool_)
    keep[blank] = False
    starts, ends = block.starts[keep], block.ends[keep]
    kept = b"".join(data[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
    feeds = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    lines = block.line + np.searchsorted(feeds, starts)
    return Block(kept, np.cumsum(ends - starts), block.first, block.line, lines)


def _tail(block: Block, skip: int) -> Block:
    cut = int(block.ends[skip - 1])
    lines = None if block.lines is None else block.lines[skip:]
    return Block(block.data[cut:], block.ends[skip:] - cut, block.first + skip, block.line_of(skip), lines)
