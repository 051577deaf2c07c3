"""Ids made of content: the same for every way in, equal exactly where the content is."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.events.contract import check_columns, judge, judge_one
from holdfast.events.identity import digest_row, digest_rows
from holdfast.events.reason import Reason
from holdfast.events.row import Number, RowJudge
from holdfast.events.rule import compile_rules
from holdfast.kernel.errors import ContractError
from holdfast.kernel.schema import Column, Schema
from holdfast.server.schemas import row_schema

SCHEMA = Schema(
    "Line",
    (
        Column("line_id", "string", role="content_id"),
        Column("at", "time", role="event_time"),
        Column("item", "string", nullable=True),
        Column("count", "int"),
        Column("price", "decimal", scale=2, nullable=True),
        Column("rate", "float", nullable=True),
        Column("gift", "bool", nullable=True),
    ),
)
TABLE = compile_rules(SCHEMA)

rows = st.fixed_dictionaries(
    {
        "at": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-02T00:00:00Z"]),
        "item": st.sampled_from([None, "", "a", "b"]),
        "count": st.sampled_from([0, 1, 2]),
        "price": st.sampled_from([None, "1", "1.0", "1.00", "2.5"]),
        "rate": st.sampled_from([None, "0.0", "-0.0", "0.5", "5e-1"]),
        "gift": st.sampled_from([None, True, False]),
    }
)


def content(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row says, naively: times as instants, numbers as numbers, empty as missing."""
    at = datetime.fromisoformat(row["at"]).astimezone(UTC)
    numbers = (None if row[name] is None else float(row[name]) for name in ("price", "rate"))
    return (at, row["item"] or None, row["count"], *numbers, row["gift"])


@given(st.lists(rows, min_size=1, max_size=12))
def test_id_is_equal_exactly_where_the_content_is(drawn: list[dict[str, Any]]) -> None:
    ids = [judge_one(TABLE, row)[0]["line_id"] for row in drawn]  # type: ignore[index]

    for one, row in zip(ids, drawn, strict=True):
        for other, another in zip(ids, drawn, strict=True):
            assert (one == other) == (content(row) == content(another))


@given(rows)
def test_request_and_file_give_one_id(row: dict[str, Any]) -> None:
    number = {name: None if row[name] is None else Number(row[name]) for name in ("price", "rate")}

    live = RowJudge(TABLE).judge({**row, **number})
    loaded, _ = judge_one(TABLE, row)

    assert isinstance(live, dict)
    assert loaded is not None
    assert live["line_id"] == loaded["line_id"]
    assert len(live["line_id"]) == 32
    micros = {**loaded, "at": live["at"]}
    assert digest_row(micros, TABLE.given).hex() == loaded["line_id"]


def test_row_that_breaks_its_contract_gets_no_id() -> None:
    verdict = judge(TABLE, pl.DataFrame({"at": ["2026-01-01T00:00:00Z"] * 2, "count": ["1", "x"]}))

    assert verdict.codes.tolist() == [0, 202]
    assert verdict.stored["line_id"].is_null().to_list() == [False, True]


def test_input_that_brings_the_id_is_refused() -> None:
    check_columns(TABLE, TABLE.given, name="a.csv")

    with pytest.raises(ContractError, match="`line_id`, which is made of the content of the others") as told:
        check_columns(TABLE, SCHEMA.names, name="a.csv")
    assert "without content=True" in str(told.value)
    row = {"line_id": "mine", "at": "2026-01-01T00:00:00Z", "count": 1}
    refused = RowJudge(TABLE).judge(row)
    assert isinstance(refused, Reason)
    assert (refused.code, refused.message) == (
        "HF209",
        "the row has `line_id`, which is made of the content of the others.",
    )
    assert (
        RowJudge(TABLE).hint(refused, row) == "drop it, or mark `line_id` hf.event_id() without content=True"
    )
    assert "line_id" not in row_schema(SCHEMA)["properties"]


def test_column_added_later_changes_no_digest() -> None:
    before = pl.DataFrame({"a": [1, 2]})
    after = before.with_columns(b=pl.lit(None, pl.String))

    assert digest_rows(before, ["a"]) == digest_rows(after, ["b", "a"])
