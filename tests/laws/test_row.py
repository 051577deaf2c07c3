"""A request row has the verdict, reason and stored values that the rule table gives it in any file."""

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.events.contract import judge, judge_one
from holdfast.events.reason import Reason
from holdfast.events.row import Number, RowJudge, read_row, read_rows
from holdfast.events.rule import compile_rules
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import instant_of

SCHEMA = Schema(
    "Thing",
    (
        Column("id", "string", role="event_id", max_length=12),
        Column("at", "time", role="event_time"),
        Column("count", "int", ge=-5, le=2**40),
        Column("big", "int", nullable=True),
        Column("price", "decimal", scale=2, ge=0, le=100_000),
        Column("rate", "float", scale=3, nullable=True),
        Column("score", "float", nullable=True, le=1e300),
        Column("flag", "bool", nullable=True),
        Column("kind", "string", nullable=True, one_of=("a", "b", 'é,"')),
    ),
)
TABLE = compile_rules(SCHEMA, fixed_point_bounded=frozenset({"rate"}))
JUDGE = RowJudge(TABLE)

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=14) | st.sampled_from(
    [
        "NaN",
        "true",
        "True",
        "12",
        "-0",
        "1e3",
        ".5",
        "5.",
        "null",
        '"',
        "a:b",
        "\\",
        "é",
        "inf",
        "",
        " ",
        "12\n",
    ]
)
digits = st.text("0123456789", min_size=1, max_size=22)
numbers = (
    st.integers(-(2**70), 2**70).map(str)
    | st.integers(-10, 10).map(str)
    | st.decimals(-200_000, 200_000, places=3).map(lambda d: f"{d:f}")
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.builds(lambda d, f, e: f"{int(d)}.{f}e{e}", digits, digits, st.integers(-400, 400))
    | st.sampled_from(["-0", "-0.0", "0.0", "1e400", "-1e400", "1E5", "0e-999999999999", "1e999999999999"])
)
times = (
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda t: f"{t.isoformat()}Z")
    | st.builds(
        lambda t, zone: f"{t.isoformat()}{zone}",
        st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
        st.sampled_from(["", "z", "+02:00", "-0930", "+23:59", "+24:00", "Z "]),
    )
    | st.dates(date(1, 1, 1)).map(str)
    | st.sampled_from(
        [
            "2026-02-30T00:00:00Z",
            "2026-11-02T10:15Z",
            "2026-11-02T24:00:00Z",
            "2026-11-02T10:15:60Z",
            "2026-11-02T10:15:00.1234567Z",
            "2026-11-02T10:15:00.1234560Z",
            "2026-11-02 10:15:00Z",
            "2026-11-02t10:15:00Z",
            "\uff12026-11-02T10:15:00Z",
        ]
    )
)
scalars = (
    texts.map(json.dumps)
    | times.map(json.dumps)
    | numbers
    | st.sampled_from(["true", "false", "null", "NaN", "Infinity", "-Infinity", "[1]", '{"a": [1.50]}'])
)
usual = {
    "id": st.integers(0, 99).map(lambda n: f'"e-{n}"'),
    "at": times.map(json.dumps),
    "count": st.integers(-8, 99).map(str),
    "price": st.decimals(-1, 100, places=2).map(lambda d: f"{d:f}"),
}
cells = {name: usual.get(name, scalars) | scalars for name in SCHEMA.names}
objects = st.fixed_dictionaries({}, optional=cells) | st.fixed_dictionaries(cells)


def by_table(rows: list[Any]) -> list[Any]:
    """Judge as a file of JSON lines is judged: texts as written, and which of them were something else."""
    frame, alien = {}, {}
    for name in SCHEMA.names:
        values = [row.get(name) for row in rows]
        cells = [v if v is None else str(v) if isinstance(v, str) else shown(v) for v in values]
        frame[name] = pl.Series(cells, dtype=pl.String)
        alien[name] = np.array([v is not None and type(v) is not str for v in values])
    verdict = judge(TABLE, pl.DataFrame(frame), not_text=alien)
    return [
        verdict.reasons([n])[0] if verdict.codes[n] else plain(verdict.stored.row(n, named=True))
        for n in range(len(rows))
    ]


def shown(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, tuple) for item in value):
        return "{" + ", ".join(f"{json.dumps(key)}: {shown(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return json.dumps(value)


def plain(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: instant_of(v) if isinstance(v, datetime) else v for name, v in stored.items()}


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


def body_of(found: dict[str, str]) -> bytes:
    return ("{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in found.items()) + "}").encode()


@given(st.lists(objects, min_size=1, max_size=6))
@example([{"id": '"e"', "at": '"2026-11-02T10:15:00Z"', "count": "1", "price": "12.345"}])
@example([{"id": '"e"', "at": '"2026-11-02T10:15:00Z"', "count": "1", "price": "1", "score": "-0"}])
def test_a_request_row_is_judged_as_a_row_of_a_file(found: list[dict[str, str]]) -> None:
    bodies = [body_of(row) for row in found]

    rows = [read_row(body) for body in bodies]

    assert all(isinstance(row, dict) for row in rows)
    verdicts = [JUDGE.judge(row) for row in rows]
    expected = by_table(rows)
    for verdict, other in zip(verdicts, expected, strict=True):
        assert same(verdict, other), (verdict, other)
    together = read_rows(b"[" + b", ".join(bodies) + b"]")
    assert not isinstance(together, Reason)
    assert same([JUDGE.judge(row) for row in together], expected)


@given(objects.filter(lambda row: not any(text[0] in "[{" for text in row.values())))
@settings(max_examples=20)
def test_a_request_row_is_judged_as_a_row_of_python_values(found: dict[str, str]) -> None:
    row = read_row(body_of(found))
    assert isinstance(row, dict)
    verdict = JUDGE.judge(row)

    stored, reason = judge_one(TABLE, {name: as_given(value) for name, value in row.items()})

    if stored is None:
        assert isinstance(verdict, Reason)
        assert reason is not None
        assert (verdict.code, verdict.column) == (reason.code, reason.column)
    else:
        assert same(plain(stored), verdict)


def as_given(value: Any) -> Any:
    """A number's text as judge_one takes it: a decimal, so that it is not a text."""
    if isinstance(value, Number):
        return Decimal(value) if "n" not in value.lower() else float(value)
    return value


@given(objects, st.sampled_from(SCHEMA.names), scalars)
def test_a_key_named_twice_is_refused_whatever_it_holds(found: dict[str, str], name: str, again: str) -> None:
    first = found.get(name, "1")
    body = body_of({name: first, **found})[:-1] + f', "{name}": {again}}}'.encode()

    reason = read_row(body)

    assert isinstance(reason, Reason)
    assert reason.code == "HF214"
    assert name in reason.message
