"""Windows offline: 10M events seen from 1M rows, 4 windows x 6 aggregates, beside DuckDB and Polars.

All read the same Parquet file. Ours answers as known: what had arrived by each row's instant; the peers have
no notion of arrival, so they get events that are known at once; so do we where all answer at every event.

`duckdb_sort`: reading the file and sorting it by card and time, which any engine does before windows, without
any window. `duckdb_range`: RANGE windows. `polars_rolling`: a rolling group-by for each window. The peers
know windows at events only, so for the 1M rows, which are events, they compute all and keep what was asked;
`windows_dense_vs_polars_rolling` compares where both answer at every event.

Memory is counted twice: what numpy and Python allocate (tracemalloc), and the growth of the process's peak;
each time in a process of its own.

Before anything is measured, the values of some cards are compared with those of Polars. All contestants run
once a round, five rounds, and medians count: about twenty minutes on two cores. Figures are written after
each round; an interrupt ends the rounds and reports what was measured until then.
"""

import argparse
import gc
import json
import sys
import tracemalloc
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from benchmarks.figures import Figure, peak_memory, record, report
from benchmarks.rounds import Rounds, apart, in_turns, timed
from holdfast.events.entity import Entity
from holdfast.features.aggregate import AggregateName
from holdfast.features.materialize import measures_as_known
from holdfast.features.view import Measure, View
from holdfast.features.window import Window
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR, MINUTE

FOLDER = Path("build/bench-windows")
START = 1_750_000_000_000_000
SCHEMA = Schema(
    "Payment",
    (
        Column("at", "time", role="event_time"),
        Column("card_id", "string"),
        Column("amount", "decimal", scale=2, ge=0, le=100_000),
    ),
)
OVERS = {"1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
AGGREGATES: tuple[AggregateName, ...] = ("count", "sum", "mean", "std", "min", "max")


def write_events(path: Path, n: int, cards: int, *, late: bool) -> Path:
    """Write events over 90 days in time order; of late ones, one in twenty arrives up to 3 days later."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(1)
    at = np.sort(draw.integers(0, 90 * DAY, n)) + START
    delay = draw.integers(0, 10 * MINUTE, n)
    delay = np.where(draw.random(n) < 0.05, draw.integers(0, 3 * DAY, n), delay) if late else 0 * delay
    names = pl.Series([f"card-{i:06d}" for i in range(cards)])
    frame = pl.DataFrame(
        {
            "at": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "card_id": names.gather(draw.integers(0, cards, n)),
            "amount": np.rint(draw.lognormal(8, 1.5, n)).astype(np.int64).clip(1, 10_000_000),
            "_arrived": at + delay,
            "_batch": np.ones(n, np.int64),
        }
    )
    frame.write_parquet(path, compression="zstd")
    return path


def spine_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows at events, known at the instant itself."""
    t = rows["at"].to_physical()
    return pl.DataFrame({"card_id": rows["card_id"], "_t": t, "_known_at": t})


def view(*, exact: bool) -> View:
    """Four windows of one card, with a hop of five minutes or exact."""
    measures = tuple(
        Measure(
            f"{a}_{name}", a, Window(over, 0, 0 if exact else 5 * MINUTE), None if a == "count" else "amount"
        )
        for name, over in OVERS.items()
        for a in AGGREGATES
    )
    return View("card_activity", "payments", Entity("card", ("card_id",)), measures)


def ours(path: Path, spine: pl.DataFrame | None, view: View) -> int:
    """Read the file and compute every measure for each row of the spine, or at every event."""
    events = pl.read_parquet(path, columns=["at", "card_id", "amount", "_arrived"])
    asked = spine_of(events) if spine is None else spine
    found = measures_as_known((view,), {"payments": SCHEMA}, asked, {"payments": events})
    return len(found) * asked.height


def rolling(events: pl.LazyFrame, over: str) -> pl.LazyFrame:
    """One window of every aggregate at each event, `[t - over, t)`, with Polars."""
    amount = pl.col("amount")
    sorted_ = events.select("card_id", "at", "amount").sort("card_id", "at")
    return sorted_.rolling("at", period=over, closed="left", group_by="card_id").agg(
        pl.len().alias("count"),
        amount.sum().alias("sum"),
        amount.mean().alias("mean"),
        amount.std().alias("std"),
        amount.min().alias("min"),
        amount.max().alias("max"),
    )


def polars_rolling(path: Path, spine: pl.DataFrame | None) -> int:
    """The same windows at each event, and of them the rows that are asked for."""
    n = 0
    for name in OVERS:
        windows = rolling(pl.scan_parquet(path), name).collect()
        if spine is not None:
            asked = spine.select("card_id", pl.col("_t").cast(pl.Datetime("us", "UTC")).alias("at"))
            windows = asked.join(windows.unique(["card_id", "at"]), on=["card_id", "at"], how="left")
        n += windows.height * len(AGGREGATES)
    return n


def compare(path: Path, cards: int) -> int:
    """Return how many values at the events of some cards are what Polars finds, but for its roundings."""
    some = pl.col("card_id") < f"card-{cards:06d}"
    events = pl.read_parquet(path).filter(some)
    found = measures_as_known(
        (view(exact=True),), {"payments": SCHEMA}, spine_of(events), {"payments": events}
    )
    for name in OVERS:
        theirs = events.join(rolling(events.lazy(), name).collect(), on=["card_id", "at"], how="left")
        assert theirs.height == events.height, "two events of one card share an instant"
        for aggregate in AGGREGATES:
            unit = 1 if aggregate == "count" else 100
            peer = theirs[aggregate].cast(pl.Float64).to_numpy() / unit
            np.testing.assert_allclose(
                found[f"{aggregate}_{name}"], peer, rtol=1e-9, atol=1e-6, err_msg=f"{aggregate} {name}"
            )
    return len(found) * events.height


def duckdb_sort(path: Path) -> int:
    """Read and sort, into a table in memory."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        connection.execute(
            f"CREATE TABLE s AS SELECT \"at\", card_id, amount FROM read_parquet('{path}') "
            'ORDER BY card_id, "at"'
        )
    return 0


def duckdb_range(path: Path) -> int:
    """RANGE windows at every event."""
    columns = ", ".join(
        f"count(*) OVER w{i}, sum(amount) OVER w{i}, avg(amount) OVER w{i}, stddev_samp(amount) OVER w{i}, "
        f"min(amount) OVER w{i}, max(amount) OVER w{i}"
        for i in range(len(OVERS))
    )
    windows = ", ".join(
        f'w{i} AS (PARTITION BY card_id ORDER BY "at" RANGE BETWEEN INTERVAL {over} MICROSECONDS PRECEDING '
        "AND INTERVAL 1 MICROSECONDS PRECEDING)"
        for i, over in enumerate(OVERS.values())
    )
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        connection.execute(f"CREATE TABLE w AS SELECT {columns} FROM read_parquet('{path}') WINDOW {windows}")
    return 0


def memory(path: Path, rows: int) -> dict[str, float]:
    """Return the peak of counted allocations and of the process's growth, in bytes, without the results."""
    events = pl.read_parquet(path, columns=["at", "card_id", "amount", "_arrived"])
    spine = spine_of(events[np.sort(np.random.default_rng(7).choice(events.height, rows, replace=False))])
    gc.collect()
    before = peak_memory()
    asked, full = spine, view(exact=False)
    results = len(full.measures) * rows * 8
    tracemalloc.start()
    measures_as_known((full,), {"payments": SCHEMA}, asked, {"payments": events})
    counted = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"counted": counted - results, "grown": peak_memory() - before - results}


def size_of(options: argparse.Namespace) -> list[str]:
    """Return the options that say how much is measured."""
    return [f"--{name}={getattr(options, name)}" for name in ("events", "cards", "rows")]


def figures(rounds: Rounds, events: int, compared: int) -> list[Figure]:
    """Return medians and their ratios."""
    names = [name for name in rounds.found if name != "memory"]
    s = {name: rounds.median(name) for name in names}
    rolling, sort, range_ = s["polars_rolling"], s["duckdb_sort"], s["duckdb_range"]
    counted, grown = (rounds.median("memory", name) / events for name in ("counted", "grown"))
    return [
        *(Figure(f"windows_{name}_s", s[name], "s") for name in names),
        *(Figure(f"windows_{name}_cpu_s", rounds.median(name, "cpu_s"), "s of processor") for name in names),
        Figure("windows_vs_duckdb_sort", s["as_known"] / sort, "of its time"),
        Figure("windows_vs_polars_rolling", rolling / s["as_known"], "times"),
        Figure("windows_dense_vs_polars_rolling", rolling / s["dense"], "times, at every event"),
        Figure("windows_vs_duckdb_range", range_ / s["as_known"], "times"),
        Figure("windows_bytes_per_event", counted, "bytes counted, as known"),
        Figure("windows_process_bytes_per_event", grown, "bytes the process grew by"),
        Figure("windows_values_compared", compared, "values that are Polars' too"),
        Figure("windows_runs", rounds.runs, "runs, at least, in each median"),
    ]


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--cards", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="only count memory, in this process")
    options = parser.parse_args()
    size = f"{options.events}-{options.cards}"
    late = write_events(FOLDER / f"late-{size}.parquet", options.events, options.cards, late=True)
    plain = write_events(FOLDER / f"plain-{size}.parquet", options.events, options.cards, late=False)
    if options.memory:
        print(json.dumps(memory(late, options.rows)))
        return 0

    chosen = np.sort(np.random.default_rng(7).choice(options.events, options.rows, replace=False))
    spine = spine_of(pl.read_parquet(late, columns=["at", "card_id"])[chosen])
    hopped, exact = view(exact=False), view(exact=True)
    compared = compare(plain, cards=100)
    rounds = in_turns(
        {
            "as_known": lambda: timed(lambda: ours(late, spine, hopped)),
            "known": lambda: timed(lambda: ours(plain, spine, exact)),
            "duckdb_sort": lambda: timed(lambda: duckdb_sort(plain)),
            "dense": lambda: timed(lambda: ours(plain, None, exact)),
            "polars_rolling": lambda: timed(lambda: polars_rolling(plain, spine)),
            "duckdb_range": lambda: timed(lambda: duckdb_range(plain)),
            "memory": lambda: apart(__spec__.name, "--memory", *size_of(options)),
        },
        options.rounds,
        after=lambda rounds: record("bench", figures(rounds, options.events, compared)),
    )
    if rounds.runs:
        title = f"Windows: {options.events:,} events, {options.cards:,} cards, {options.rows:,} rows"
        report(
            "bench",
            figures(rounds, options.events, compared),
            title=f"{title}; medians of {rounds.runs} runs",
        )
    return 130 if rounds.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
