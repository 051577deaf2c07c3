"""The same row through CSV, JSON lines and Parquet has the same verdict, reason and stored values."""

import csv
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.adapters.files.columnar import ParquetInput
from holdfast.adapters.files.delimited import CsvInput
from holdfast.adapters.files.jsonlines import JsonLinesInput
from holdfast.events.cells import _micros_from_text
from holdfast.events.contract import judge, judge_one
from holdfast.events.exact import fixed_point, instant_text
from holdfast.events.rule import compile_rules
from holdfast.events.usual_times import usual_micros
from holdfast.kernel.schema import Column, Schema

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

texts = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=14
) | st.sampled_from(["NaN", "true", "12", "null", '"', "a,b", "\r\n", " ", "#", "\\", "'"])
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda t: t.replace(tzinfo=UTC))
doubles = (
    st.floats(width=64)
    | st.decimals(-99_999, 99_999, places=3).map(float)
    | st.integers(-(2**60), 2**60).map(lambda n: n / 1000)
)
decimals = (
    st.decimals(-1000, 200_000, places=2) | st.decimals(-10, 10, places=4) | st.integers(-9, 9).map(Decimal)
)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    row = st.fixed_dictionaries(
        {
            "id": texts.filter(lambda t: t.strip() == t)
            | st.integers(0, 99).map(lambda n: f"e-{n}")
            | st.none(),
            "at": times | st.none(),
            "count": st.integers(-8, 2**41),
            "big": st.integers(-(2**63), 2**63 - 1) | st.none(),
            "price": decimals | st.none(),
            "rate": doubles | st.none(),
            "score": doubles | st.none(),
            "flag": st.booleans() | st.none(),
            "kind": st.sampled_from(["a", "b", 'é,"', "c", ""]) | st.none(),
        }
    )
    return draw(st.lists(row, min_size=1, max_size=8))


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0") + "Z"


def csv_cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return iso(value)
        case float():
            return repr(value)
        case _:
            return str(value)


def json_cell(value: Any) -> str:
    match value:
        case None:
            return "null"
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case datetime():
            return json.dumps(iso(value))
        case Decimal():
            return f"{value:f}"
        case _:
            return json.dumps(value)


def write_csv(path: Path, found: list[dict[str, Any]]) -> CsvInput:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCHEMA.names)
        writer.writerows([csv_cell(row[name]) for name in SCHEMA.names] for row in found)
    return CsvInput(path)


def write_jsonl(path: Path, found: list[dict[str, Any]]) -> JsonLinesInput:
    lines = [
        "{" + ", ".join(f"{json.dumps(k)}: {json_cell(v)}" for k, v in row.items()) + "}" for row in found
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return JsonLinesInput(path)


def write_parquet(path: Path, found: list[dict[str, Any]]) -> ParquetInput:
    pl.DataFrame(
        found,
        schema={
            "id": pl.String,
            "at": pl.Datetime("us", "UTC"),
            "count": pl.Int64,
            "big": pl.Int64,
            "price": pl.Decimal(20, 4),
            "rate": pl.Float64,
            "score": pl.Float64,
            "flag": pl.Boolean,
            "kind": pl.String,
        },
    ).write_parquet(path)
    return ParquetInput(path)


def verdicts(source: CsvInput | JsonLinesInput | ParquetInput) -> Iterator[tuple[Any, ...]]:
    for chunk in source.chunks(SCHEMA.names, skip=0, size=3):
        assert not chunk.broken
        verdict = judge(TABLE, chunk.frame, not_text=chunk.not_text)
        for row in range(chunk.frame.height):
            if verdict.codes[row]:
                reason = verdict.reasons([row])[0]
                yield reason.code, reason.column, reason.message
            else:
                yield tuple(map(repr, verdict.stored.row(row)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rules")


@given(found=rows())
def test_verdict_reason_and_stored_values_are_the_same_in_every_format(
    folder: Path, found: list[dict[str, Any]]
) -> None:
    from_csv = list(verdicts(write_csv(folder / "r.csv", found)))
    from_jsonl = list(verdicts(write_jsonl(folder / "r.jsonl", found)))
    from_parquet = list(verdicts(write_parquet(folder / "r.parquet", found)))

    assert from_csv == from_jsonl
    assert from_csv == from_parquet
    assert len(from_csv) == len(found)


@given(found=rows())
def test_one_row_is_judged_as_a_row_of_a_file(folder: Path, found: list[dict[str, Any]]) -> None:
    many = list(verdicts(write_jsonl(folder / "one.jsonl", found)))

    for row, expected in zip(found, many, strict=True):
        stored, reason = judge_one(TABLE, row)
        if stored is None:
            assert reason is not None
            assert (reason.code, reason.column, reason.message) == expected
        else:
            assert tuple(map(repr, stored.values())) == expected


@given(
    digits=st.integers(-(10**20), 10**20),
    places=st.integers(0, 8),
    scale=st.integers(0, 8),
    exponent=st.integers(-3, 3) | st.none(),
)
def test_text_becomes_fixed_point_exactly(digits: int, places: int, scale: int, exponent: int | None) -> None:
    text = f"{Decimal(digits).scaleb(-places):f}" + ("" if exponent is None else f"e{exponent}")
    exact = Decimal(digits) * Decimal(10) ** (scale - places + (exponent or 0))

    value, code = fixed_point(text, scale)
    column = Column("x", "decimal", scale=scale)
    verdict = judge(compile_rules(Schema("S", (column,))), pl.DataFrame({"x": [text]}))

    if exact != int(exact):
        assert code == 204
    elif not -(2**63) <= exact < 2**63:
        assert code == 203
    else:
        assert (value, code) == (int(exact), 0)
        assert verdict.stored["x"][0] == int(exact)
    assert verdict.codes[0] == code


@given(st.integers(-(2**60), 2**60), st.integers(0, 9))
def test_float_is_accepted_if_it_is_nearest_to_a_short_enough_decimal(digits: int, scale: int) -> None:
    value = float(Decimal(digits).scaleb(-scale))
    column = Column("x", "float", scale=scale)
    verdict = judge(compile_rules(Schema("S", (column,))), pl.DataFrame({"x": [value]}))

    assert verdict.codes[0] == 0
    assert float(Decimal(verdict.stored["x"][0]).scaleb(-scale)) == value


@given(times, st.integers(-23 * 60 - 59, 23 * 60 + 59), st.booleans())
def test_time_of_any_offset_is_its_instant(moment: datetime, minutes: int, colon: bool) -> None:
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    text = local.isoformat()
    text = text if colon else text[:-3] + text[-2:]
    column = Column("at", "time")
    verdict = judge(compile_rules(Schema("S", (column,))), pl.DataFrame({"at": [text]}))

    assert verdict.codes[0] == 0
    assert verdict.stored["at"][0] == moment


marks = st.sampled_from(["-", "T", ":", ".", "Z", "0", "9", "+", " ", "\u0664"])


@st.composite
def times_of_one_form(draw: st.DrawFn) -> list[str]:
    places = draw(st.integers(0, 6))
    form = "%Y-%m-%dT%H:%M:%S" + (".%f" if places else "")
    moments = draw(st.lists(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), min_size=1, max_size=5))
    found = [
        moment.strftime(form).rjust(len("0001-01-01T00:00:00.000000"[: 26 if places else 19]), "0")
        for moment in moments
    ]
    found = [text[: 20 + places] + "Z" if places else f"{text}Z" for text in found]
    if draw(st.booleans()):  # digits anywhere: days, hours and seconds that do not exist
        row, place = draw(st.integers(0, len(found) - 1)), draw(st.integers(0, len(found[0]) - 1))
        found[row] = found[row][:place] + draw(marks) + found[row][place + 1 :]
    return found


@given(times_of_one_form())
def test_times_of_one_form_are_what_they_are_one_by_one(found: list[str]) -> None:
    expected = [instant_text(text) for text in found]

    values, codes = _micros_from_text(pl.Series(found))

    assert list(zip(values.tolist(), codes.tolist(), strict=True)) == expected
    usual = usual_micros(pl.Series(found))
    assert usual is None or usual.tolist() == [value for value, _ in expected]
    if all(code == 0 and text >= "1" for (_, code), text in zip(expected, found, strict=True)):
        assert usual is not None or any(mark not in "0123456789-T:.Z" for text in found for mark in text)


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "0999-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
    ],
)
def test_times_that_do_not_exist_or_are_not_usual_are_left_to_others(text: str) -> None:
    assert usual_micros(pl.Series(["2024-02-29T23:59:59Z", text])) is None


def test_usual_times_have_a_leap_day_in_leap_years() -> None:
    found = [
        "2024-02-29T23:59:59.5Z",
        "2000-02-29T00:00:00.0Z",
        "9999-12-31T23:59:59.9Z",
        "1000-01-01T00:00:00.1Z",
    ]

    assert usual_micros(pl.Series(found)).tolist() == [instant_text(text)[0] for text in found]  # type: ignore[union-attr]
