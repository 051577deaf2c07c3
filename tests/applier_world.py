"""A small world for tests of the applier: two sources, a fold that counts, and journals to fill."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.staging import StagingFolder
from holdfast.events.apply import Applier
from holdfast.events.journal import EVENT, FEEDBACK, PREDICTION, REJECTED, Entry, encode_payload
from holdfast.events.ports import Lake
from holdfast.events.records import Recorder
from holdfast.events.source import Source
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, parse_instant
from holdfast.testing.journal import MemoryJournal
from holdfast.testing.lake import MemoryLake
from holdfast.testing.online import MemoryOnline

NOW = parse_instant("2026-06-15T12:00:00Z")

PAYMENT = Schema(
    "Payment",
    (
        Column("id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("card", "string"),
        Column("amount", "decimal", scale=2, ge=0, le=1_000),
        Column("country", "string", nullable=True),
    ),
)
DISPUTE = Schema(
    "Dispute",
    (Column("id", "string", role="event_id"), Column("at", "time", role="event_time")),
)
SOURCES = [Source("payments", PAYMENT, known_after=0), Source("disputes", DISPUTE, known_after=0)]
RECORDS = {"prediction_id": pl.String, "score": pl.Float64}


class Clock:
    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def now_us(self) -> int:
        return self.now


def payment(n: int, *, at: int = NOW, amount: int = 100, card: str = "c", **more: Any) -> Entry:
    """Return the frame of an event with the id ``p-<n>``."""
    values = {"id": f"p-{n}", "at": at, "card": card, "amount": amount, **more}
    return (EVENT, "payments", NOW + n, encode_payload(values))


def dispute(n: int) -> Entry:
    return (FEEDBACK, "disputes", NOW + n, encode_payload({"id": f"d-{n}", "at": NOW, "prediction_id": "x"}))


def prediction(n: int) -> Entry:
    return (PREDICTION, "fraud", NOW + n, encode_payload({"prediction_id": f"r-{n}", "score": n / 8}))


def rejected(n: int) -> Entry:
    problem = {"code": "HF203", "column": "amount", "reason": "too much", "raw": f'{{"id":"bad-{n}"}}'}
    return (REJECTED, "payments", NOW + n, encode_payload(problem))


def encode_records(payloads: Sequence[bytes]) -> pl.DataFrame:
    rows = [msgspec.msgpack.decode(payload) for payload in payloads]
    return pl.DataFrame([[row[name] for name in RECORDS] for row in rows], schema=RECORDS, orient="row")


def fold(
    source: str, rows: pl.DataFrame, get: Callable[[Sequence[bytes]], Sequence[Any]]
) -> dict[bytes, bytes]:
    """Count the payments of each card, and add up what they cost."""
    if source != "payments":
        return {}
    cards = rows["card"].unique().sort().to_list()
    keys = [card.encode().ljust(8, b"\0") for card in cards]
    out = {}
    for card, key, blob in zip(cards, keys, get(keys), strict=True):
        n, total = struct.unpack("<qq", blob) if len(blob) else (0, 0)
        own = rows.filter(pl.col("card") == card)["amount"]
        out[key] = struct.pack("<qq", n + len(own), total + int(own.sum()))
    return out


def blob_of(online: Any, card: str = "c") -> tuple[int, int]:
    """Return the count and the total of a card."""
    (blob,) = online.get([card.encode().ljust(8, b"\0")])
    return struct.unpack("<qq", blob) if len(blob) else (0, 0)  # type: ignore[return-value]


class World:
    """Stores that outlive the applier, and what makes one."""

    def __init__(self, folder: Path, *, lake: Lake | None = None, journals: Any = None) -> None:
        self.folder = folder
        self.lake: Any = lake or MemoryLake()
        self.journals = journals or MemoryJournal()
        self.store = MemoryOnline()
        self.generation = self.store.create("state", b"{}")
        self.online = self.store.writer(self.generation)
        self.clock = Clock()
        self.journal = self.journals.writer("serve") if isinstance(self.journals, MemoryJournal) else None

    def log(self, **kwargs: Any) -> BatchLogFile:
        return BatchLogFile(self.folder / "batches.log", **kwargs)

    def applier(self, **kwargs: Any) -> Applier:
        """Return a new applier, as a process that starts."""
        self.online.close()
        self.online = self.store.writer(self.generation)
        kwargs = {
            "lake": self.lake,
            "log": self.log(),
            "journals": self.journals,
            "online": self.online,
            "staging": StagingFolder(self.folder / "staged"),
            "clock": self.clock,
            "fold": fold,
            "recorders": {PREDICTION: Recorder("_predictions", encode_records)},
            "remember_us": 10 * DAY,
        } | kwargs
        return Applier(kwargs.pop("sources", SOURCES), **kwargs)

    def run(self, **kwargs: Any) -> None:
        """Apply everything and end cleanly."""
        with self.applier(**kwargs) as applier:
            while applier.step().more:
                pass

    def rows(self, table: str = "payments", *columns: str) -> pl.DataFrame:
        """Return what the lake holds, or nothing where there is no table."""
        if self.lake.version(table) is None:
            return pl.DataFrame()
        return self.lake.read(table, list(columns) or None)

    def ids(self, table: str = "payments") -> list[str]:
        found = self.rows(table)
        return sorted(found["id"].to_list()) if found.width else []
