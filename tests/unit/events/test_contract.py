"""The rule table says of each value what is wrong with it, in one order and in words."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from holdfast.events.contract import check_columns, judge, judge_one
from holdfast.events.reason import Reason
from holdfast.events.rule import compile_rules, empty_table
from holdfast.events.source import SYSTEM_COLUMNS
from holdfast.kernel.errors import ContractError
from holdfast.kernel.ids import fingerprint, from_data, to_data
from holdfast.kernel.schema import Column, Schema


def table_of(*columns: Column, **kwargs: Any) -> Any:
    return compile_rules(Schema("Thing", columns), **kwargs)


def reason_of(column: Column, value: Any, **kwargs: Any) -> str | None:
    _, reason = judge_one(table_of(column, **kwargs), {column.name: value})
    return None if reason is None else f"{reason.message} [{reason.code}]"


def stored_of(column: Column, value: Any) -> Any:
    stored, reason = judge_one(table_of(column), {column.name: value})
    assert stored is not None, reason
    return stored[column.name]


AMOUNT = Column("amount", "decimal", scale=2, ge=0, le=100_000)
FREE = Column("free", "decimal", scale=4)
RATE = Column("rate", "float", scale=2)
SCORE = Column("score", "float", ge=-1, le=1)
COUNT = Column("count", "int", ge=1, le=10)
BIG = Column("big", "int")
FLAG = Column("flag", "bool")
AT = Column("at", "time")
CODE = Column("code", "string", one_of=("PT", "DE"))
NAME = Column("name", "string", max_length=4)
NOTE = Column("note", "string", nullable=True)

SEVEN = "2026-11-02T10:15:00.1234567Z"
EARLY = "0001-01-01T00:00:00+01:00"
LARGE = "a number that fits 64 bits with 4 decimal places"

REASONS: list[tuple[Column, Any, str]] = [
    (AMOUNT, None, "`amount` is required, found nothing. [HF201]"),
    (AMOUNT, "", "`amount` is required, found nothing. [HF201]"),
    (AMOUNT, "abc", "`amount` must be a number, found 'abc'. [HF202]"),
    (AMOUNT, " 1", "`amount` must be a number, found ' 1'. [HF202]"),
    (AMOUNT, "1\n", "`amount` must be a number, found '1\\n'. [HF202]"),
    (AMOUNT, "1_000", "`amount` must be a number, found '1_000'. [HF202]"),
    (AMOUNT, "1,5", "`amount` must be a number, found '1,5'. [HF202]"),
    (AMOUNT, "\u0661", "`amount` must be a number, found '\u0661'. [HF202]"),
    (AMOUNT, True, "`amount` must be a number, found true. [HF202]"),
    (AMOUNT, [1], "`amount` must be a number, found '[1]'. [HF202]"),
    (AMOUNT, "912500", "`amount` must be at most 100000, found 912500. [HF203]"),
    (AMOUNT, 912500.0, "`amount` must be at most 100000, found 912500. [HF203]"),
    (AMOUNT, "100000.01", "`amount` must be at most 100000, found 100000.01. [HF203]"),
    (AMOUNT, -0.01, "`amount` must be at least 0, found -0.01. [HF203]"),
    (AMOUNT, "1e99999999999", "`amount` must be at most 100000, found 1e99999999999. [HF203]"),
    (AMOUNT, "-1e99999999999", "`amount` must be at least 0, found -1e99999999999. [HF203]"),
    (AMOUNT, "12.345", "`amount` must have at most 2 decimal places, found 12.345. [HF204]"),
    (AMOUNT, 12.345, "`amount` must have at most 2 decimal places, found 12.345. [HF204]"),
    (AMOUNT, Decimal("12.345"), "`amount` must have at most 2 decimal places, found 12.345. [HF204]"),
    (AMOUNT, 0.1 + 0.2, "`amount` must have at most 2 decimal places, found 0.30000000000000004. [HF204]"),
    (AMOUNT, "1e-99999999999", "`amount` must have at most 2 decimal places, found 1e-99999999999. [HF204]"),
    (AMOUNT, "NaN", "`amount` must be finite, found NaN. [HF206]"),
    (AMOUNT, float("nan"), "`amount` must be finite, found NaN. [HF206]"),
    (AMOUNT, float("-inf"), "`amount` must be finite, found -infinity. [HF206]"),
    (AMOUNT, "Infinity", "`amount` must be finite, found infinity. [HF206]"),
    (FREE, 10**15, f"`free` must be {LARGE}, found 1000000000000000. [HF203]"),
    (RATE, 0.125, "`rate` must have at most 2 decimal places, found 0.125. [HF204]"),
    (SCORE, "x", "`score` must be a number, found 'x'. [HF202]"),
    (SCORE, 1.5, "`score` must be at most 1, found 1.5. [HF203]"),
    (SCORE, "-1.5", "`score` must be at least -1, found -1.5. [HF203]"),
    (SCORE, "1e400", "`score` must be finite, found 1e400. [HF206]"),
    (SCORE, float("inf"), "`score` must be finite, found infinity. [HF206]"),
    (COUNT, "1.5", "`count` must be a whole number, found 1.5. [HF202]"),
    (COUNT, 11, "`count` must be at most 10, found 11. [HF203]"),
    (COUNT, 0, "`count` must be at least 1, found 0. [HF203]"),
    (BIG, 2**63, "`big` must be a number that fits 64 bits, found 9223372036854775808. [HF203]"),
    (FLAG, 1, "`flag` must be true or false, found '1'. [HF202]"),
    (FLAG, "yes", "`flag` must be true or false, found 'yes'. [HF202]"),
    (AT, "noon", "`at` must be TIME, found 'noon'. [HF202]"),
    (AT, "2026-02-30T10:00:00Z", "`at` must be TIME, found '2026-02-30T10:00:00Z'. [HF202]"),
    (AT, "2026-02-03T10:00:60Z", "`at` must be TIME, found '2026-02-03T10:00:60Z'. [HF202]"),
    (AT, "2026-02-03T24:00:00Z", "`at` must be TIME, found '2026-02-03T24:00:00Z'. [HF202]"),
    (AT, 1_700_000_000, "`at` must be TIME, found '1700000000'. [HF202]"),
    (AT, SEVEN, "`at` must have at most 6 digits after the second, found '" + SEVEN + "'. [HF204]"),
    (AT, "2026-11-02T10:15:00", "`at` must have a zone, found '2026-11-02T10:15:00'. [HF205]"),
    (AT, "2026-11-02", "`at` must have a zone, found '2026-11-02'. [HF205]"),
    (AT, datetime(2026, 11, 2, 10, 15), "`at` must have a zone, found '2026-11-02T10:15:00'. [HF205]"),
    (AT, date(2026, 11, 2), "`at` must have a zone, found '2026-11-02'. [HF205]"),
    (AT, EARLY, "`at` must be between the years 1 and 9999, found '" + EARLY + "'. [HF203]"),
    (CODE, "XX", "`code` must be one of PT, DE, found 'XX'. [HF207]"),
    (CODE, 17, "`code` must be text, found '17'. [HF202]"),
    (NAME, "\u00e9\u00e9\u00e9\u00e9\u00e9", "`name` must have at most 4 characters, found 5. [HF208]"),
    (NAME, "x" * 200, "`name` must have at most 4 characters, found 200. [HF208]"),
    (CODE, "x" * 200, f"`code` must be one of PT, DE, found '{'x' * 77}...'. [HF207]"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value", "expected"), REASONS)
def test_refused_value_has_its_reason_in_words(column: Column, value: Any, expected: str) -> None:
    assert reason_of(column, value) == expected.replace("TIME", "a time such as 2026-11-02T10:15:00Z")


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        (AMOUNT, "12.340", 1234),
        (AMOUNT, "+12.3", 1230),
        (AMOUNT, ".5", 50),
        (AMOUNT, "5.", 500),
        (AMOUNT, "1.234e1", 1234),
        (AMOUNT, "-0", 0),
        (AMOUNT, "0e99999999999", 0),
        (AMOUNT, 912.5, 91250),
        (AMOUNT, 99_999.99, 9_999_999),
        (AMOUNT, Decimal("7.10"), 710),
        (FREE, "922337203685477.5807", 2**63 - 1),
        (FREE, "-922337203685477.5808", -(2**63)),
        (RATE, 0.1, 10),
        (RATE, 1e15, 10**17),
        (SCORE, "0.30000000000000004", 0.1 + 0.2),
        (SCORE, "-1", -1.0),
        (COUNT, "3.0", 3),
        (COUNT, 3.0, 3),
        (COUNT, "1e1", 10),
        (BIG, 2**53 + 1, 2**53 + 1),
        (BIG, str(-(2**63)), -(2**63)),
        (FLAG, "TRUE", True),
        (FLAG, False, False),
        (NOTE, "", None),
        (NOTE, " ", " "),
        (NAME, "\u00e9\U0001f600x", "\u00e9\U0001f600x"),
    ],
)
def test_accepted_value_is_stored_exactly(column: Column, value: Any, stored: Any) -> None:
    assert stored_of(column, value) == stored
    assert type(stored_of(column, value)) is type(stored)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-02T10:15:00.250000Z",
        "2026-11-02T10:15:00.25z",
        "2026-11-02 10:15:00.25Z",
        "2026-11-02t11:15:00.2500000000+01:00",
        "2026-11-02T08:00:00.25-0215",
        datetime(2026, 11, 2, 12, 15, 0, 250_000, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_time_is_stored_as_utc(value: Any) -> None:
    assert stored_of(AT, value) == datetime(2026, 11, 2, 10, 15, 0, 250_000, tzinfo=UTC)


def test_typed_times_are_exact_to_the_microsecond() -> None:
    moment = datetime(2026, 11, 2, 10, 15, 0, 123_000, tzinfo=UTC)
    nanos = pl.Series("at", [moment, moment], dtype=pl.Datetime("ns", "Europe/Lisbon"))
    nanos = (nanos.to_physical() + pl.Series([0, 1])).cast(pl.Datetime("ns", "UTC"))
    far = pl.Series("at", [10**18], dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))

    fine = judge(table_of(AT), pl.DataFrame({"at": nanos}))
    coarse = judge(table_of(AT), pl.DataFrame({"at": pl.Series([moment], dtype=pl.Datetime("ms", "UTC"))}))

    assert fine.codes.tolist() == [0, 204]
    assert fine.stored["at"].to_list() == [moment, None]
    assert coarse.stored["at"].to_list() == [moment]
    assert judge(table_of(AT), pl.DataFrame({"at": far})).codes.tolist() == [203]


def test_reason_is_the_first_broken_rule_in_column_order() -> None:
    table = table_of(NAME, AMOUNT, COUNT)
    raw = pl.DataFrame({"count": ["0", "0"], "name": ["ok", "too long"], "amount": ["12.345", "x"]})

    verdict = judge(table, raw)

    assert verdict.reasons([0, 1]) == [
        Reason("HF204", "amount", "`amount` must have at most 2 decimal places, found 12.345."),
        Reason("HF208", "name", "`name` must have at most 4 characters, found 8."),
    ]
    assert not verdict.accepted.any()


def test_unusual_values_do_not_disturb_their_neighbours() -> None:
    raw = pl.DataFrame({"free": ["1.5", None, "1e2", "x", "123456789012.3456", "-7"]})

    verdict = judge(table_of(Column("free", "decimal", scale=4, nullable=True)), raw)

    assert verdict.stored["free"].to_list() == [15000, None, 1_000_000, None, 1234567890123456, -70000]
    assert verdict.codes.tolist() == [0, 0, 0, 202, 0, 0]


def test_absent_column_is_missing_in_every_row() -> None:
    verdict = judge(table_of(NOTE, NAME), pl.DataFrame({"note": ["a", None]}))

    assert verdict.codes.tolist() == [201, 201]
    assert verdict.stored["note"].to_list() == ["a", None]
    assert verdict.reasons([1])[0].message == "`name` is required, found nothing."


def test_no_rows_have_the_stored_types() -> None:
    table = table_of(AMOUNT, AT, FLAG, SCORE, NAME)

    verdict = judge(table, pl.DataFrame(schema=dict.fromkeys(table.columns, pl.String)))

    assert verdict.stored.schema == table.stored_schema()
    assert verdict.stored.is_empty()


def test_text_that_was_not_text_is_no_string() -> None:
    verdict = judge(
        table_of(NAME), pl.DataFrame({"name": ["12", "12"]}), not_text={"name": np.array([True, False])}
    )

    assert verdict.codes.tolist() == [202, 0]


@pytest.mark.parametrize(
    "cells",
    [
        pl.Series("x", [b"1"]),
        pl.Series("x", [[1]]),
        pl.Series("x", [{"a": 1}]),
        pl.Series("x", [timedelta(1)]),
    ],
)
def test_types_that_fit_no_column_are_refused(cells: pl.Series) -> None:
    for kind in ("string", "int", "float", "decimal", "bool", "time"):
        column = Column("x", kind, scale=2 if kind == "decimal" else None)
        assert judge(table_of(column), cells.to_frame()).codes.tolist() == [202]


def test_categories_are_text() -> None:
    cells = pl.Series("name", ["a", "b", "toolong"], dtype=pl.Categorical)

    assert judge(table_of(NAME), cells.to_frame()).codes.tolist() == [0, 0, 208]


def test_roles_are_required_even_where_the_type_allows_null() -> None:
    columns = [Column(role, "string", nullable=True, role=role) for role in ("event_id", "supersedes")]

    assert judge(table_of(*columns), pl.DataFrame({"event_id": [None]})).codes.tolist() == [201]


def test_fixed_point_bound_applies_to_the_named_columns_only() -> None:
    free = Column("free", "decimal", scale=2)
    limit = "42949672.96"

    assert reason_of(free, "42949672.97") is None
    assert reason_of(free, limit, fixed_point_bounded=frozenset({"free"})) is None
    assert reason_of(free, "42949672.97", fixed_point_bounded=frozenset({"free"})) == (
        f"`free` must be at most {limit}, found 42949672.97. [HF203]"
    )
    assert reason_of(free, "-42949672.97", fixed_point_bounded=frozenset({"free"})) == (
        f"`free` must be at least -{limit}, found -42949672.97. [HF203]"
    )


def test_bounds_between_two_places_round_inwards() -> None:
    column = Column("x", "decimal", scale=1, ge=0.05, le=0.95)

    assert [reason_of(column, text) is None for text in ("0", "0.1", "0.9", "1.0")] == [
        False,
        True,
        True,
        False,
    ]


def test_rule_table_is_data() -> None:
    table = table_of(AMOUNT, AT, CODE)

    assert from_data(type(table), to_data(table)) == table
    assert table.fingerprint == fingerprint(table)
    assert table.fingerprint != table_of(AMOUNT, AT).fingerprint


def test_empty_table_has_the_columns_of_the_lake() -> None:
    frame = empty_table(Schema("Thing", (AMOUNT, AT)))

    assert frame.is_empty()
    assert frame.columns == ["amount", "at", *SYSTEM_COLUMNS]
    assert frame.schema["amount"] == pl.Int64


# -------------------------------------------------------------------------------------------------- columns


def test_unknown_column_refuses_the_file_with_the_nearest_name() -> None:
    with pytest.raises(ContractError) as caught:
        check_columns(table_of(AMOUNT, NAME, NOTE), ("amout", "name"), name="x.csv")

    assert caught.value.code == "HF209"
    assert caught.value.problem.message == (
        "x.csv has column `amout`, which schema `Thing` does not have. It lacks the required `amount`."
    )
    assert caught.value.hint == "did you mean `amount`?"
    assert caught.value.problem.has == ("amout", "name")


def test_absent_required_column_refuses_the_file() -> None:
    with pytest.raises(ContractError) as caught:
        check_columns(table_of(AMOUNT, NAME, NOTE), ("note",), name="x.csv")

    assert caught.value.problem.message == "x.csv lacks the required `amount`, `name`."
    assert caught.value.hint == "expected amount, name, note"


def test_absent_nullable_column_is_no_fault() -> None:
    check_columns(table_of(AMOUNT, NOTE), ("amount",), name="x.csv")
    check_columns(table_of(AMOUNT, NOTE), (), name="x.jsonl", may_omit=True)
