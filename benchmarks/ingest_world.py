"""What the ingestion benchmarks share: a schema, generated files of payments, and a project's state."""

import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.staging import StagingFolder
from holdfast.events.source import Source
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY

COUNTRIES = ("PT", "DE", "FR", None)
START = 1_767_225_600_000_000
PAYMENTS = Source(
    "payments",
    Schema(
        "Payment",
        (
            Column("tx_id", "string", role="event_id"),
            Column("at", "time", role="event_time"),
            Column("card_id", "string"),
            Column("terminal_id", "string"),
            Column("amount", "decimal", scale=2, ge=0, le=100_000),
            Column("country", "string", nullable=True),
        ),
    ),
    known_after=0,
)


WIDE = Source(
    "payments",
    Schema(
        "Payment",
        (
            Column("tx_id", "string", role="event_id", max_length=40),
            Column("at", "time", role="event_time"),
            Column("card_id", "string", max_length=20),
            Column("terminal_id", "string", max_length=20),
            Column("channel", "string", one_of=("present", "online", "phone")),
            Column("amount", "decimal", scale=2, ge=0, le=100_000),
            Column("items", "int", ge=1, le=500),
            Column("country", "string", nullable=True, one_of=("PT", "DE", "FR")),
        ),
    ),
    known_after=0,
)
"""Eight columns; ten constraints beside types and presence: 3 lengths, 2 lists, 4 bounds, 1 scale."""


class Clock:
    """Always the same instant."""

    def now_us(self) -> int:
        """Return it."""
        return START


class State(NamedTuple):
    """Where a project keeps its lake, batch log and staged rows."""

    lake: DeltaLake
    log: BatchLogFile
    staging: StagingFolder


def open_state(root: Path) -> State:
    """Return the state below a folder."""
    return State(DeltaLake(root / "lake"), BatchLogFile(root / "batches.log"), StagingFolder(root / "staged"))


def payments(n: int, seed: int = 7, days: int = 90) -> pl.DataFrame:
    """Return `n` payments in time order, typed."""
    draw = np.random.default_rng(seed)
    at = np.sort(draw.integers(START, START + days * DAY, n))
    return pl.DataFrame(
        {
            "tx_id": [f"t-{i:08d}" for i in range(n)],
            "at": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "card_id": [f"c-{i}" for i in draw.integers(0, 5_000, n)],
            "terminal_id": [f"m-{i}" for i in draw.integers(0, 500, n)],
            "amount": np.round(draw.gamma(2, 40, n), 2),
            "country": [COUNTRIES[i] for i in draw.integers(0, len(COUNTRIES), n)],
        }
    )


def wide_payments(n: int, seed: int = 7) -> pl.DataFrame:
    """Return `n` rows of `WIDE` in time order, typed."""
    draw = np.random.default_rng(seed)
    at = np.sort(draw.integers(START, START + 90 * DAY, n))
    cards = pl.Series([f"c-{i:05d}" for i in range(50_000)])
    terminals = pl.Series([f"m-{i:04d}" for i in range(5_000)])
    return pl.DataFrame(
        {
            "tx_id": pl.int_range(n, eager=True).cast(pl.String).str.zfill(9),
            "at": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "card_id": cards.gather(draw.integers(0, len(cards), n)),
            "terminal_id": terminals.gather(draw.integers(0, len(terminals), n)),
            "channel": pl.Series(["present", "online", "phone"]).gather(draw.integers(0, 3, n)),
            "amount": np.round(draw.gamma(2, 40, n), 2),
            "items": draw.integers(1, 40, n),
            "country": pl.Series(COUNTRIES).gather(draw.integers(0, len(COUNTRIES), n)),
        }
    )


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the payments with ISO 8601 times, as CSV and JSON lines hold them."""
    return frame.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))


def write_dirty(folder: Path, n: int, seed: int = 7) -> tuple[int, int, int]:
    """Write about `n` rows as three CSV files with faults; return (good, duplicates, bad) rows."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = as_text(payments(n, seed)).write_csv(include_header=False).splitlines()
    draw = random.Random(seed)
    duplicates = bad = 0
    out = []
    for number, line in enumerate(lines):
        out.append(line)
        chance = draw.random()
        if chance < 0.004:
            out.append(line)
            duplicates += 1
        elif chance < 0.006:
            out.append(lines[draw.randrange(number + 1)])
            duplicates += 1
        elif chance < 0.012:
            fields = line.split(",")
            fields[0], fields[4] = f"x-{number}", draw.choice(["1.234", "-5", "many", "", "NaN"])
            out.append(",".join(fields[: 5 if chance < 0.007 else 6]))
            bad += 1
    header = "tx_id,at,card_id,terminal_id,amount,country"
    third = len(out) // 3 + 1
    for part in range(3):
        rows = out[part * third : (part + 1) * third]
        (folder / f"part-{part}.csv").write_text("\n".join((header, *rows)) + "\n")
    return n, duplicates, bad
