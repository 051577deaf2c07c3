"""Spines: events as rows, and grids of what was seen."""

import polars as pl
import pytest

from holdfast.datasets.spine import Grid, event_spine, grid_spine
from holdfast.events.entity import Entity
from holdfast.events.source import Source
from holdfast.kernel.errors import DefinitionError
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR

SALES = Source(
    "sales",
    Schema(
        "Sale",
        (
            Column("sale_id", "int", role="event_id"),
            Column("at", "time", role="event_time"),
            Column("store", "string"),
            Column("item", "string"),
        ),
    ),
)
STORE, ITEM = Entity("store", ("store",)), Entity("item", ("store", "item"))


def sales(*rows: tuple[str | None, str, int, int]) -> pl.DataFrame:
    """Lake rows of (store, item, event time, arrival)."""
    return pl.DataFrame(
        {
            "sale_id": range(len(rows)),
            "at": [row[2] for row in rows],
            "store": [row[0] for row in rows],
            "item": [row[1] for row in rows],
            "_arrived": [row[3] for row in rows],
        },
        schema_overrides={"at": pl.Int64, "_arrived": pl.Int64, "store": pl.String, "item": pl.String},
    )


def daily(*, include_zero: bool = True) -> Grid:
    return Grid("daily", "sales", (STORE, ITEM), DAY, include_zero)


def days(rows: pl.DataFrame, item: str) -> list[float]:
    return [at / DAY for at in rows.filter(pl.col("item") == item)["_t"].to_list()]


def test_event_spine_takes_time_arrival_and_id_of_the_event_and_keeps_the_order() -> None:
    frame = sales(("s", "b", 5, 9), ("s", "a", 3, 4))

    rows = event_spine(SALES, frame)

    assert rows.select("_t", "_known_at", "_key").rows() == [(5, 9, "0"), (3, 4, "1")]
    assert rows.columns[:5] == frame.columns


def test_event_spine_of_a_schema_without_id_says_so() -> None:
    schema = Schema("Sale", (Column("at", "time", role="event_time"),))

    with pytest.raises(DefinitionError, match="has no event id"):
        event_spine(Source("sales", schema), pl.DataFrame({"at": [1], "_arrived": [1]}))


def test_grid_key_has_no_repeats() -> None:
    assert daily().key == ("store", "item")


def test_grid_begins_strictly_after_the_first_event() -> None:
    frame = sales(("s", "late", DAY + HOUR, DAY + HOUR), ("s", "sharp", DAY, DAY))

    rows = grid_spine(daily(), SALES, frame, 0, 4 * DAY)

    assert days(rows, "late") == [2, 3]
    assert days(rows, "sharp") == [2, 3]


def test_grid_begins_when_the_first_event_had_arrived() -> None:
    frame = sales(("s", "a", HOUR, 2 * DAY), ("s", "b", HOUR, 2 * DAY + 1))

    rows = grid_spine(daily(), SALES, frame, 0, 4 * DAY)

    assert days(rows, "a") == [2, 3]
    assert days(rows, "b") == [3]


def test_grid_keeps_to_multiples_of_its_step_within_its_bounds() -> None:
    frame = sales(("s", "a", HOUR, HOUR))

    rows = grid_spine(daily(), SALES, frame, 2 * DAY - 1, 4 * DAY)

    assert days(rows, "a") == [2, 3]


def test_grid_without_zeros_keeps_only_instants_with_an_event_in_the_step_before() -> None:
    frame = sales(
        ("s", "a", HOUR, HOUR),
        ("s", "a", 3 * DAY, 3 * DAY),  # at 3 d: in [3 d, 4 d), so it makes the row of 4 d
        ("s", "b", HOUR, DAY + 1),  # not known at 1 d
    )

    rows = grid_spine(daily(include_zero=False), SALES, frame, 0, 6 * DAY)

    assert days(rows, "a") == [1, 4]
    assert days(rows, "b") == []


def test_grid_row_is_known_at_its_own_time_and_named_by_keys_and_time() -> None:
    frame = sales(("s|1", "a\\", HOUR, HOUR))

    rows = grid_spine(daily(), SALES, frame, 0, 2 * DAY)

    assert rows.columns == ["store", "item", "at", "horizon", "target", "_t", "_known_at", "_key"]
    assert rows.rows() == [("s|1", "a\\", DAY, 1, DAY, DAY, DAY, "s\\|1|a\\\\|1970-01-02T00:00:00Z")]


def test_grid_skips_events_without_a_key_and_may_be_empty() -> None:
    rows = grid_spine(daily(), SALES, sales((None, "a", HOUR, HOUR)), 0, 5 * DAY)

    assert rows.is_empty()
    assert rows.schema["_key"] == pl.String


def test_grid_schema_reads_the_keys_and_its_time() -> None:
    schema = daily().schema(SALES.schema)

    assert schema.names == ("store", "item", "at", "horizon", "target")
    assert schema.target_time is not None
    assert schema.target_time.name == "target"
    assert schema.event_time is not None
    assert schema.event_time.name == "at"
