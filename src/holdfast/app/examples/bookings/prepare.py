"""Cuts the published table into what was known when a booking was made, and what became of it.

    python prepare.py              writes events/bookings.parquet and events/outcomes.parquet

One row of the table was written after the fact: the booking and its outcome side by side. A model may see
the first and never the second, so they become two sources, joined by an id. The rows have none; theirs is a
hash of the whole row, so rows that are equal in everything have the same id and count as duplicates.
"""

import argparse
from hashlib import blake2b
from pathlib import Path

import polars as pl

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
OUTCOME = ["is_canceled", "reservation_status", "reservation_status_date"]
ARRIVAL = ["arrival_date_year", "arrival_date_month", "arrival_date_week_number", "arrival_date_day_of_month"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut the published bookings into events.")
    parser.add_argument("--source", type=Path, default=Path(__file__).parent / "hotel_bookings.parquet")
    parser.add_argument("--out", type=Path, default=Path("events"))
    options = parser.parse_args()
    published = pl.read_parquet(options.source)

    ids = [blake2b(repr(row).encode(), digest_size=8).hexdigest() for row in published.iter_rows()]
    arrival = pl.date(
        "arrival_date_year",
        pl.col("arrival_date_month").replace_strict(MONTHS, range(1, 13), return_dtype=pl.Int8),
        "arrival_date_day_of_month",
    )
    settled = pl.col("reservation_status_date").cast(pl.Datetime("us", "UTC"))
    table = published.with_columns(pl.Series("booking_id", ids), arrival_at=arrival).with_columns(
        # The day the booking was made is not in the table: it is the arrival less the lead time.
        booked_at=(pl.col("arrival_at") - pl.duration(days="lead_time")).cast(pl.Datetime("us", "UTC")),
        arrival_at=pl.col("arrival_at").cast(pl.Datetime("us", "UTC")),
    )
    first = ["booking_id", "booked_at", "arrival_at"]
    left_out = {*first, *OUTCOME, *ARRIVAL, "lead_time"}
    bookings = table.select(*first, *(name for name in table.columns if name not in left_out))
    outcomes = table.select(
        "booking_id",
        settled_at=settled,
        # Only the day is known, so nobody knows of it before that day is over.
        reported_at=settled + pl.duration(days=1),
        hotel="hotel",
        agent="agent",
        company="company",
        market_segment="market_segment",
        status="reservation_status",
    )
    options.out.mkdir(parents=True, exist_ok=True)
    for name, frame, time in (("bookings", bookings, "booked_at"), ("outcomes", outcomes, "reported_at")):
        frame.sort(time, maintain_order=True).write_parquet(options.out / f"{name}.parquet")
        print(f"{options.out / name}.parquet: {frame.height:,} rows, {frame['booking_id'].n_unique():,} ids")


if __name__ == "__main__":
    main()
