"""Hypothesis strategies for what nobody should send: rows, request bodies, files and damaged bytes.

Each begins with something sound of the schema it is given and breaks it in one or a few ways, since noise
alone is refused at the first byte and tries nothing behind it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
from hypothesis import strategies as st

from holdfast.kernel.schema import Column, Schema

GOOD_TIME = "2026-11-02T10:15:00Z"
_HUGE = (2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**400)
_FLOATS = (0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf)
_TEXTS = (
    "", " ", "\0", "a\0b", "\n", "\r\n", '"', "'", ",", ";", "\\", "\ufeff", "\u202e", "\u00e9", "e\u0301",
    "\U0001f4a3", "null", "NaN", "nan", "inf", "-Infinity", "true", "None", "1e400", "1_000", "0x1f", "1,5",
    "١٢", "=1+1", "../../etc/passwd", "%s%n", "x" * 300, "{}", "[", "2026-11-02", "2026-11-02T10:15:00",
    "2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-11-02T24:00:00Z",
    "2026-11-02T10:15:00+99:00", "2026-11-02T10:15:00.1234567Z", "1762078500", "-0", "00.10", "1.005",
)  # fmt: skip


def values() -> st.SearchStrategy[Any]:
    """JSON values that a column of any type has to judge."""
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.sampled_from(_HUGE),
        st.sampled_from(_FLOATS),
        st.sampled_from(_TEXTS),
        st.text(max_size=8),
    )
    return st.one_of(
        plain, plain, st.lists(plain, max_size=2), st.dictionaries(st.text(max_size=3), plain, max_size=2)
    )


def good_value(column: Column, number: int) -> Any:
    """Return a value that a column accepts; an id is of its own for each number."""
    if column.role == "event_id":
        return f"e-{number}" if column.type == "string" else number
    if column.one_of:
        return column.one_of[0]
    low = 0 if column.ge is None else math.ceil(column.ge)
    found: dict[str, Any] = {
        "string": "c",
        "time": GOOD_TIME,
        "bool": True,
        "int": low,
        "float": low,
        "decimal": low,
    }
    return found[column.type]


def good_row(schema: Schema, number: int = 0) -> dict[str, Any]:
    """Return a row that keeps the contract of a schema."""
    return {column.name: good_value(column, number) for column in schema.columns}


@st.composite
def rows(draw: st.DrawFn, schema: Schema) -> dict[str, Any]:
    """Draw a row with up to three columns broken, left out or added; it may also be sound."""
    row = good_row(schema, draw(st.integers(0, 5)))
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(schema.names))
        match draw(st.sampled_from(("value", "value", "value", "drop", "add", "rename"))):
            case "value":
                row[name] = draw(values())
            case "drop":
                row.pop(name, None)
            case "add":
                row[draw(st.sampled_from(("", "amuont", "id ", "__class__", "\0", "x" * 300)))] = draw(
                    values()
                )
            case _:
                if name in row:
                    row[name.upper()] = row.pop(name)
    return row


def json_text(row: Any) -> bytes:
    """Return JSON as Python writes it, NaN and infinities as words, text as UTF-8."""
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def bodies(draw: st.DrawFn, schema: Schema) -> bytes:
    """Draw a request body: a row, an array of rows, broken JSON of all kinds, or noise."""
    one = json_text(draw(rows(schema)))
    kind = draw(
        st.sampled_from(
            ("row", "row", "row", "array", "twice", "deep", "shape", "damaged", "encoded", "noise")
        )
    )
    match kind:
        case "row":
            return one
        case "array":
            return json_text(draw(st.lists(rows(schema), max_size=4)))
        case "twice":
            name = draw(st.sampled_from(schema.names))
            return one[:-1] + b"," + json_text(name) + b":" + json_text(draw(values())) + b"}"
        case "deep":
            mark, depth = draw(st.sampled_from((b"[", b'{"a":'))), draw(st.sampled_from((40, 600, 10_000)))
            return draw(st.sampled_from((b"", b'{"id": '))) + mark * depth
        case "shape":
            return draw(
                st.sampled_from(
                    (b"", b" ", b"null", b"1", b'"x"', b"[]", b"{}", b"[[]]", b"{}{}", b"\xef\xbb\xbf{}")
                )
            )
        case "damaged":
            return draw(damaged(one))
        case "encoded":
            text = one.decode("utf-8", "surrogatepass")
            return text.encode(draw(st.sampled_from(("utf-16", "utf-32", "utf-8-sig", "utf-7"))), "replace")
        case _:
            return draw(st.binary(max_size=40))


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """Draw sound bytes after up to three flips, cuts, doublings, holes, splices or huge lengths."""
    found = bytearray(sound)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        width = draw(st.integers(1, 16))
        match draw(st.sampled_from(("flip", "cut", "drop", "double", "zero", "splice", "length"))):
            case "flip" if found:
                found[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del found[at:]
            case "drop":
                del found[at : at + width]
            case "double":
                found[at:at] = found[at : at + width]
            case "zero":
                found[at : at + width] = bytes(min(width, len(found) - at))
            case "splice":
                found[at:at] = draw(st.binary(max_size=24))
            case _:
                found[at : at + 4] = draw(
                    st.sampled_from((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80"))
                )
    return bytes(found)


# ---------------------------------------------------------------------------------------------------- files


@st.composite
def json_line_files(draw: st.DrawFn, schema: Schema) -> bytes:
    """Draw a file of JSON lines, some of them broken."""
    line = st.one_of(rows(schema).map(json_text), rows(schema).map(json_text), bodies(schema))
    lines = draw(st.lists(line, max_size=6))
    end = draw(st.sampled_from((b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\0")))
    return _finished(draw, end.join(lines) + draw(st.sampled_from((b"", end))))


@st.composite
def csv_files(draw: st.DrawFn, schema: Schema) -> bytes:
    """Draw a CSV file: other delimiters, quotes, line ends and encodings; ragged rows; odd headers."""
    text = io.StringIO()
    delimiter, end = (
        draw(st.sampled_from((",", ",", ",", ",", ";", "\t", "|"))),
        draw(st.sampled_from(("\n", "\r\n", "\r"))),
    )
    writer = csv.writer(
        text, delimiter=delimiter, lineterminator=end, escapechar="\\", quoting=csv.QUOTE_MINIMAL
    )
    names = list(schema.names)
    match draw(st.sampled_from(("", "", "", "none", "twice", "short", "extra", "order"))):
        case "none":
            names = []
        case "twice":
            names.append(names[0])
        case "short":
            names.pop(draw(st.integers(0, len(names) - 1)))
        case "extra":
            names.append(draw(st.sampled_from(("", "more", "a,b", 'a"b', "x\ny"))))
        case "order":
            names.reverse()
    if names:
        writer.writerow(names)
    for row in draw(st.lists(rows(schema), max_size=6)):
        fields = [_field(row.get(name)) for name in names or schema.names]
        fields += ["more"] * draw(st.sampled_from((0, 0, 0, 0, 1, 3)))
        writer.writerow(fields[: draw(st.sampled_from((99, 99, 99, 99, 1, 0)))])
    encoding = draw(st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16", "cp037")))
    return _finished(draw, text.getvalue().encode(encoding, "replace"))


def _field(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)[:400]


@st.composite
def parquet_files(draw: st.DrawFn, schema: Schema) -> bytes:
    """Draw a Parquet file: other types, missing and more columns, no rows, damage anywhere."""
    height = draw(st.integers(0, 4))
    columns: dict[str, pl.Series] = {}
    for column in schema.columns:
        good = [good_value(column, number) for number in range(height)]
        columns[column.name] = draw(st.sampled_from(_SERIES))(column.name, good, height)
    for name in draw(st.lists(st.sampled_from(schema.names), max_size=1)):
        del columns[name]
    if draw(st.integers(0, 5)) == 0:
        columns["more"] = pl.Series("more", [None] * height, dtype=pl.Null)
    into = io.BytesIO()
    pl.DataFrame(columns).write_parquet(into)
    return _finished(draw, into.getvalue())


def _as_given(name: str, good: Sequence[Any], _height: int) -> pl.Series:
    if good and isinstance(good[0], str) and good[0] == GOOD_TIME:
        return pl.Series(name, good, dtype=pl.String).str.to_datetime(time_unit="us", time_zone="UTC")
    return pl.Series(name, good)


_SERIES: tuple[Callable[[str, Sequence[Any], int], pl.Series], ...] = (
    *[_as_given] * 9,
    lambda name, good, n: pl.Series(name, [str(value) for value in good], dtype=pl.String),
    lambda name, good, n: pl.Series(name, [None] * n, dtype=pl.Null),
    lambda name, good, n: pl.Series(name, [math.nan, math.inf, 1e300, -0.0][:n], dtype=pl.Float64),
    lambda name, good, n: pl.Series(name, [2**64 - 1] * n, dtype=pl.UInt64),
    lambda name, good, n: pl.Series(name, [b"\xff\0"] * n, dtype=pl.Binary),
    lambda name, good, n: pl.Series(name, [[1, 2]] * n, dtype=pl.List(pl.Int64)),
    lambda name, good, n: pl.Series(name, [{"a": 1}] * n, dtype=pl.Struct({"a": pl.Int64})),
    lambda name, good, n: pl.Series(name, [2**62] * n, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
    lambda name, good, n: pl.Series(name, ["c"] * n, dtype=pl.Categorical),
    lambda name, good, n: pl.Series(name, [20_000] * n, dtype=pl.Date),
    lambda name, good, n: pl.Series(name, [1] * n).cast(pl.Decimal(38, 9)),
    lambda name, good, n: pl.Series(name, [1] * n).cast(pl.Duration("ms")),
    lambda name, good, n: pl.Series(name, [1] * n).cast(pl.Time),
    lambda name, good, n: pl.Series(name, [True] * n, dtype=pl.Boolean),
)


def _finished(draw: st.DrawFn, content: bytes) -> bytes:
    """Return the file, sometimes damaged, cut short, or something else altogether."""
    match draw(st.sampled_from(("", "", "", "", "damaged", "cut", "noise"))):
        case "damaged":
            return draw(damaged(content))
        case "cut":
            return content[: draw(st.integers(0, len(content)))]
        case "noise":
            return draw(
                st.sampled_from(
                    (b"", b"\0" * 64, b"PAR1", b"PAR1PAR1", b"\x1f\x8b\x08\0", b"\xef\xbb\xbf", b"\n\n\n")
                )
            )
        case _:
            return content
