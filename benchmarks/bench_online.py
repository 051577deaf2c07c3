"""Online state: reading 21 measures of 7 views for one request, and applying events, in LMDB on this machine.

Requests ask for cards and terminals as often as events do, at the time of the newest event. Applying is what
the applier does for each batch of transactions: look up ids, fold five views, commit. Durability: process.
Each round fills a state of its own; medians of the rounds count, of p50 and p99 too.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.figures import Figure, report
from benchmarks.rounds import in_turns
from holdfast.adapters.lmdb import LmdbOnline
from holdfast.events.entity import Entity
from holdfast.events.ports import EventId
from holdfast.features.online import OnlineRow, compile_state, dump_plan, fold
from holdfast.features.ports import OnlineReader, OnlineWriter
from holdfast.features.view import Measure, View
from holdfast.features.window import Window, default_hop
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR, MINUTE

START = 1_750_000_000_000_000
TRANSACTION = Schema(
    "Transaction",
    (
        Column("tx_id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("card_id", "string"),
        Column("terminal_id", "string"),
        Column("device_id", "string", nullable=True),
        Column("channel", "string"),
        Column("amount", "decimal", scale=2, ge=0, le=100_000),
        Column("country", "string", nullable=True),
    ),
)
CHARGEBACK = Schema(
    "Chargeback",
    (
        Column("tx_id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("card_id", "string"),
        Column("terminal_id", "string"),
    ),
)
SCHEMAS = {"transactions": TRANSACTION, "chargebacks": CHARGEBACK}
SMALL = Expr("lt", (col("amount"), const(5.0)))
ONLINE = Expr("eq", (col("channel"), const("online")))


def window(over: int, hop: int | None = None) -> Window:
    """A window with the default hop."""
    return Window(over, 0, default_hop(over) if hop is None else hop)


def view(name: str, source: str, key: tuple[str, ...], *measures: tuple[Any, ...]) -> View:
    """A view; a measure is (aggregate, window) and maybe column and filter."""
    return View(
        name, source, Entity(name, key), tuple(Measure(f"{name}_{n}", *m) for n, m in enumerate(measures))
    )


VIEWS = (
    view(
        "card", "transactions", ("card_id",),
        ("count", window(10 * MINUTE, 0)), ("count", window(HOUR)), ("count", window(DAY)),
        ("count", window(HOUR), None, SMALL), ("count", window(DAY), None, ONLINE),
        ("sum", window(DAY), "amount"), ("max", window(7 * DAY), "amount"),
        ("mean", window(30 * DAY), "amount"), ("std", window(30 * DAY), "amount"),
        ("count", window(30 * DAY)),
    ),
    view(
        "device", "transactions", ("card_id", "device_id"),
        ("count", window(30 * DAY)), ("count", window(HOUR)),
    ),
    view("country", "transactions", ("card_id", "country"), ("count", window(30 * DAY))),
    view("merchant", "transactions", ("card_id", "terminal_id"), ("count", window(30 * DAY))),
    view(
        "terminal", "transactions", ("terminal_id",),
        ("count", window(DAY)), ("mean", window(7 * DAY), "amount"), ("count", window(7 * DAY)),
    ),
    view(
        "terminal_risk", "chargebacks", ("terminal_id",),
        ("count", window(3 * DAY)), ("count", window(7 * DAY)), ("count", window(30 * DAY)),
    ),
    view("card_risk", "chargebacks", ("card_id",), ("count", window(30 * DAY))),
)  # fmt: skip


def transactions(
    n: int, cards: int, terminals: int, days: float, seed: int, begin: int = START
) -> pl.DataFrame:
    """Events in order of time; some cards and terminals are far busier than others."""
    random = np.random.default_rng(seed)
    at = np.sort(random.integers(0, int(days * DAY), n)) + begin
    card = (random.random(n) ** 2 * cards).astype(np.int64)
    terminal = (random.random(n) ** 3 * terminals).astype(np.int64)
    return pl.DataFrame(
        {
            "tx_id": np.char.add(f"t{seed}-", np.arange(n).astype(str)),
            "at": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "card_id": np.char.add("card-", card.astype(str)),
            "terminal_id": np.char.add("term-", terminal.astype(str)),
            "device_id": np.char.add("device-", (card * 2 + random.integers(0, 2, n)).astype(str)),
            "channel": random.choice(["present", "online"], n),
            "amount": np.rint(random.lognormal(8, 1.5, n)).astype(np.int64).clip(1, 10_000_000),
            "country": random.choice(["AT", "DE", "FR", "IT"], n),
            "_arrived": at,
        }
    )


def apply(plan: Any, writer: OnlineWriter, frame: pl.DataFrame, batch: int) -> None:
    """Do what the applier does for one batch of transactions."""
    times, texts = frame["at"].to_physical().to_list(), frame["tx_id"].to_list()
    ids = [
        EventId(at // DAY, hashlib.blake2b(text.encode(), digest_size=16).digest())
        for at, text in zip(times, texts, strict=True)
    ]
    assert not any(writer.find_ids(ids))
    puts = fold(plan, "transactions", frame, writer.get)
    writer.commit(batch, puts, ids=dict.fromkeys(ids, b"digest of content 20"), forget_before=START // DAY)


def request_times(row: OnlineRow, reader: OnlineReader, asked: list[dict[str, Any]], t: int) -> np.ndarray:
    """Nanoseconds of each request, its read transaction included; values and flags looked at."""
    taken, inexact = np.empty(len(asked), np.int64), 0
    for n, values in enumerate(asked):
        begun = time.perf_counter_ns()
        with reader.snapshot() as snapshot:
            batch = snapshot.batch
            found = row.read(snapshot, values, t)
        taken[n] = time.perf_counter_ns() - begun
        inexact += found.inexact != 0
        assert batch
    assert not inexact
    return taken


def events_per_s(work: Callable[[pl.DataFrame], None], frame: pl.DataFrame, size: int) -> float:
    """Apply a frame in batches of a size."""
    begun = time.perf_counter()
    for first in range(0, frame.height, size):
        work(frame[first : first + size])
    return frame.height / (time.perf_counter() - begun)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Fill a new state, apply events in batches of three sizes, and read what requests ask for."""
    plan = compile_state(VIEWS, SCHEMAS)
    history = transactions(options.events, options.cards, options.terminals, 40, seed=1)
    blamed = history.gather_every(200).select("tx_id", "at", "card_id", "terminal_id", "_arrived")
    more = transactions(60_000, options.cards, options.terminals, 0.1, 2, START + 40 * DAY)
    single = transactions(300, options.cards, options.terminals, 0.1, 3, START + 41 * DAY)
    found: dict[str, float] = {}

    with tempfile.TemporaryDirectory() as folder:
        store = LmdbOnline(Path(folder) / "online")
        generation = store.create(plan.fingerprint, dump_plan(plan))
        writer, reader = store.writer(generation), store.reader(generation)
        begun = time.perf_counter()
        for source, frame in (("transactions", history), ("chargebacks", blamed)):
            for first in range(0, frame.height, 100_000):
                writer.fill(fold(plan, source, frame[first : first + 100_000], writer.get))
        writer.commit(1, {})
        found["online_fill_events_per_s"] = options.events / (time.perf_counter() - begun)

        number = iter(range(2, 10**9))

        def work(rows: pl.DataFrame) -> None:
            apply(plan, writer, rows, next(number))

        found["online_apply_events_per_s"] = events_per_s(work, more[:50_000], 5_000)
        found["online_apply_small_batches_events_per_s"] = events_per_s(work, more[50_000:], 100)
        found["online_apply_one_event_ms"] = 1e3 / events_per_s(work, single, 1)

        t = START + 42 * DAY
        asked = more.sample(options.requests, seed=3).to_dicts()
        row = OnlineRow(plan, VIEWS)
        request_times(row, reader, asked[:1000], t)
        taken = request_times(row, reader, asked, t) / 1000
        found["online_read_p50_us"] = float(np.percentile(taken, 50))
        found["online_read_p99_us"] = float(np.percentile(taken, 99))
        with reader.snapshot() as snapshot:
            blobs = [snapshot.get(row.keys(values)) for values in asked]
            computed = np.empty(len(blobs), np.int64)
            for n, each in enumerate(blobs):
                begun_ns = time.perf_counter_ns()
                row.measure(each, t)
                computed[n] = time.perf_counter_ns() - begun_ns
            found["online_read_bytes"] = sum(len(blob) for each in blobs for blob in each) / len(asked)
        found["online_read_compute_p50_us"] = float(np.percentile(computed, 50)) / 1000
        writer.close()
        reader.close()
        size = sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("data.mdb"))
        found["online_state_bytes_per_event"] = size / options.events
    return found


UNITS = {
    "online_read_p50_us": "us",
    "online_read_p99_us": "us",
    "online_read_compute_p50_us": "us",
    "online_read_bytes": "bytes",
    "online_apply_events_per_s": "events/s",
    "online_apply_small_batches_events_per_s": "events/s",
    "online_apply_one_event_ms": "ms",
    "online_fill_events_per_s": "events/s",
    "online_state_bytes_per_event": "bytes",
}


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--cards", type=int, default=10_000)
    parser.add_argument("--terminals", type=int, default=1_000)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rounds = in_turns({"online": lambda: measure(options)}, options.rounds)
    if rounds.runs:
        figures = [Figure(name, rounds.median("online", name), unit) for name, unit in UNITS.items()]
        figures.append(Figure("online_runs", rounds.runs, "runs in each median"))
        title = f"{options.events:,} events of {options.cards:,} cards, 7 views, 21 measures"
        report("bench", figures, title=f"{title}; medians of {rounds.runs} rounds")
    return 130 if rounds.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
