"""Windows offline: 2M events of 20k entities seen from 200k spine rows, against Polars.

Ours answers 4 windows x 6 aggregates as known. Polars has no notion of arrival and takes its windows at the
events themselves, so the comparison is on what both can say: `count` and float `sum`, `mean`, `min`, `max`
over four exact windows at every event, everything known.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from benchmarks.figures import report
from holdfast.events.entity import Entity
from holdfast.features.aggregate import AggregateName
from holdfast.features.materialize import measures_as_known
from holdfast.features.view import Measure, View
from holdfast.features.window import Window
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR, MINUTE

START = 1_750_000_000_000_000
SCHEMA = Schema(
    "Payment",
    (
        Column("at", "time", role="event_time"),
        Column("card_id", "string"),
        Column("amount", "decimal", scale=2),
    ),
)
OVERS = {"1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
AGGREGATES: tuple[AggregateName, ...] = ("count", "sum", "mean", "std", "min", "max")
COMPARABLE: tuple[AggregateName, ...] = ("count", "sum", "mean", "min", "max")


def events(n: int, entities: int, seed: int, *, late: bool) -> pl.DataFrame:
    """Events over 90 days in time order; one in twenty arrives up to 3 days late, the rest in 10 min."""
    random = np.random.default_rng(seed)
    at = np.sort(random.integers(0, 90 * DAY, n)) + START
    delay = random.integers(0, 10 * MINUTE, n)
    delay = np.where(random.random(n) < 0.05, random.integers(0, 3 * DAY, n), delay) if late else 0 * delay
    return pl.DataFrame(
        {
            "at": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "card_id": np.char.add("card-", random.integers(0, entities, n).astype(str)),
            "amount": np.rint(random.lognormal(8, 1.5, n)).astype(np.int64).clip(1, 10_000_000),
            "_arrived": at + delay,
            "_batch": np.ones(n, np.int64),
        }
    )


def spine(rows: pl.DataFrame) -> pl.DataFrame:
    """Spine rows at events, known at the instant itself."""
    t = rows["at"].to_physical()
    return pl.DataFrame({"card_id": rows["card_id"], "_t": t, "_known_at": t})


def view(aggregates: tuple[AggregateName, ...], *, exact: bool) -> View:
    """Four windows of one card, with the default hop of five minutes or exact."""
    measures = tuple(
        Measure(
            f"{a}_{name}", a, Window(over, 0, 0 if exact else 5 * MINUTE), None if a == "count" else "amount"
        )
        for name, over in OVERS.items()
        for a in aggregates
    )
    return View("card_activity", "payments", Entity("card", ("card_id",)), measures)


def polars_windows(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """The same windows, `[t - over, t)` at each event, by a rolling group-by per window."""
    lazy = frame.lazy().select("card_id", "at", "amount").sort("card_id", "at")
    amount = pl.col("amount")
    return [
        lazy.rolling("at", period=name, closed="left", group_by="card_id")
        .agg(
            pl.len().alias("count"),
            amount.sum(),
            amount.mean().alias("m"),
            amount.min().alias("a"),
            amount.max().alias("b"),
        )
        .collect()
        for name in OVERS
    ]


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Best of several runs."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--entities", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    sources, random = {"payments": SCHEMA}, np.random.default_rng(7)

    late = events(options.events, options.entities, seed=1, late=True)
    asked = spine(late[np.sort(random.choice(late.height, options.rows, replace=False))])
    full = view(AGGREGATES, exact=False)

    def ours() -> Any:
        return measures_as_known((full,), sources, asked, {"payments": late})

    as_known = seconds(ours, options.repeats)
    tracemalloc.start()
    ours()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    plain = events(options.events, options.entities, seed=1, late=False)
    every, same = spine(plain), view(COMPARABLE, exact=True)
    dense = seconds(lambda: measures_as_known((same,), sources, every, {"payments": plain}), options.repeats)
    rolling = seconds(lambda: polars_windows(plain), 1)

    values = options.rows * len(full.measures)
    report(
        "bench",
        [
            ("windows_as_known_s", as_known, "s"),
            ("windows_as_known_events_per_s", options.events / as_known, "events/s"),
            ("windows_as_known_values_per_s", values / as_known, "values/s"),
            ("windows_array_bytes_per_event", peak / options.events, "bytes"),
            ("windows_at_every_event_s", dense, "s"),
            ("windows_polars_rolling_s", rolling, "s"),
            ("windows_times_faster_than_polars", rolling / dense, "x"),
        ],
        title=f"{options.events:,} events, {options.entities:,} entities, {options.rows:,} spine rows",
    )


if __name__ == "__main__":
    main()
