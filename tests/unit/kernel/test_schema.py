"""Schemas."""

import pytest

from holdfast.kernel.errors import NotFoundError
from holdfast.kernel.schema import Column, Schema

SCHEMA = Schema(
    "orders",
    (
        Column("order_id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("amount", "decimal", scale=2),
    ),
)


def test_column_is_found_by_name() -> None:
    assert SCHEMA.get("amount") is SCHEMA.columns[2]
    assert SCHEMA.find("amount") is SCHEMA.columns[2]
    assert SCHEMA.find("amont") is None


def test_unknown_column_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(NotFoundError) as caught:
        SCHEMA.get("amont")

    assert caught.value.code == "HF102"
    assert caught.value.problem.has == ("order_id", "at", "amount")
    assert caught.value.hint == "did you mean `amount`?"


def test_roles_name_the_columns() -> None:
    assert SCHEMA.event_id is SCHEMA.columns[0]
    assert SCHEMA.event_time is SCHEMA.columns[1]
    assert SCHEMA.arrival_time is None


@pytest.mark.parametrize(
    ("column", "fixed"),
    [
        (Column("a", "decimal", scale=2), True),
        (Column("a", "float", scale=0), True),
        (Column("a", "float"), False),
        (Column("a", "int"), False),
    ],
)
def test_decimals_and_scaled_floats_are_fixed_point(column: Column, fixed: bool) -> None:
    assert column.is_fixed_point is fixed
