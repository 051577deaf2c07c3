"""Gives the tables of Complete Journey event times: UTC, as their weeks show, which begin at 05:00."""

from datetime import datetime
from pathlib import Path

import polars as pl

UTC = pl.Datetime("us", "UTC")
FIRST = datetime(2017, 1, 1, 5)
"""The first week is one day, Sunday 1 January; the second begins on Monday."""

WEEK_STARTS = (
    pl.when(pl.col("week") == 1)
    .then(pl.lit(FIRST))
    .otherwise(pl.lit(datetime(2017, 1, 2, 5)) + pl.duration(weeks=pl.col("week") - 2))
    .cast(UTC)
)


def prepare(tables: dict[str, pl.LazyFrame], out: Path) -> None:
    """Write a file for each source; every row as it is, but for names and times."""
    out.mkdir(parents=True, exist_ok=True)
    events = {
        "lines": lambda t: t.rename({"transaction_timestamp": "at"}).with_columns(pl.col("at").cast(UTC)),
        # A list without dates: taken as known when the year began.
        "products": lambda t: t.with_columns(pl.lit(FIRST).cast(UTC).alias("listed_at")),
        "promotions": lambda t: t.with_columns(WEEK_STARTS.alias("starts_at")),
        "redemptions": lambda t: t.rename({"redemption_date": "at"}).with_columns(pl.col("at").cast(UTC)),
    }
    for name, table in tables.items():
        events[name](table).sink_parquet(out / f"{name}.parquet")
