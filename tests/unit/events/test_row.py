"""What a caller is told of a row that lacks what is required."""

from holdfast.events.row import RowJudge
from holdfast.events.rule import compile_rules
from holdfast.kernel.schema import Column, Schema

NUMBERS = tuple(Column(f"n_{i}", "int") for i in range(12))
JUDGE = RowJudge(compile_rules(Schema("Reading", (Column("id", "string", role="event_id"), *NUMBERS))))


def hint(row: dict[str, object]) -> str:
    reason = JUDGE.judge(row)
    assert not isinstance(reason, dict)
    return JUDGE.hint(reason, row)


def test_columns_that_a_hint_does_not_name_are_counted() -> None:
    named = ", ".join(f"`n_{i}`" for i in range(8))

    assert hint({}) == f"add it, text; the row also lacks {named} and 4 more"


def test_columns_that_fit_a_hint_are_all_named() -> None:
    row = {"id": "a", **{f"n_{i}": 1 for i in range(9)}}

    assert hint(row) == "add it, a whole number; the row also lacks `n_10`, `n_11`"
