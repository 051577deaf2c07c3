"""Where the rows are that can be predicted in batch."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.datasets.spine import Grid
from holdfast.events.entity import Entity
from holdfast.events.source import ARRIVED, BATCH, Source
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import HOUR
from holdfast.serving.rows import GridRows, rows_to_predict, span_of
from holdfast.testing.lake import MemoryLake

SALES = Source(
    "sales",
    Schema(
        "Sale",
        (
            Column("id", "string", role="event_id"),
            Column("at", "time", role="event_time"),
            Column("store", "string", nullable=True),
        ),
    ),
)
SCHEMA = {"id": pl.String, "at": pl.Int64, "store": pl.String, ARRIVED: pl.Int64, BATCH: pl.Int64}
STEP = 24 * HOUR
Sale = tuple[int, int, str | None, int]


def lake_of(sales: list[Sale]) -> MemoryLake:
    lake = MemoryLake()
    rows = [(f"s-{n}", at, store, at + lag, batch) for n, (at, lag, store, batch) in enumerate(sales)]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    lake.append("sales", frame.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC"))), app="a", batch=1)
    return lake


SALE = st.tuples(
    st.integers(0, 5 * STEP) | st.integers(0, 5).map(lambda n: n * STEP),
    st.integers(0, 3 * STEP) | st.integers(0, 3).map(lambda n: n * STEP),
    st.sampled_from(["a", "b", None]),
    st.sampled_from([1, 2]),
)


@pytest.mark.parametrize("include_zero", [True, False, None])
@given(sales=st.lists(SALE, max_size=6))
def test_span_is_that_of_all_rows(include_zero: bool | None, sales: list[Sale]) -> None:
    lake = lake_of(sales)
    spine: Source | GridRows = SALES
    if include_zero is not None:
        grid = Grid("daily", "sales", (Entity("store", ("store",)),), STEP, include_zero)
        spine = GridRows(grid, SALES, None)

    times = rows_to_predict(spine, lake, None, 100 * STEP, known_batch=1)["_t"]

    assert span_of(spine, lake, 1) == ((times.min(), times.max()) if len(times) else None)
