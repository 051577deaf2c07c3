"""Corrections on their way through applier, lake, state and parity: what is known now, and what was known."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from tests.applier_world import NOW, World

from holdfast.adapters.files.handover import HandOverFolder
from holdfast.app.state import folder_of
from holdfast.events.batch import Batch
from holdfast.events.entity import Entity
from holdfast.events.handover import Offer
from holdfast.events.journal import EVENT, Entry, encode_payload
from holdfast.events.logged import stored_columns
from holdfast.events.source import Source
from holdfast.features.backfill import backfill
from holdfast.features.online import OnlineRow, compile_state
from holdfast.features.oracle import measures_of
from holdfast.features.view import Measure, View
from holdfast.features.window import Window
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR
from holdfast.testing.online import MemoryOnline

PAYMENT = Schema(
    "Payment",
    (
        Column("id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("card", "string"),
        Column("amount", "decimal", scale=2, ge=0, le=1_000),
        Column("corrects", "string", nullable=True, role="supersedes"),
    ),
)
SOURCES = [Source("payments", PAYMENT, known_after=0)]
WINDOW = Window(2 * DAY, 0, HOUR)
AGGREGATES = ("count", "sum", "min", "max", "first", "last", "distinct")
VIEWS = tuple(
    View(
        entity.name,
        "payments",
        entity,
        tuple(
            Measure(f"{name} {entity.name}", name, WINDOW, None if name == "count" else "amount")  # type: ignore[arg-type]
            for name in AGGREGATES
        ),
    )
    for entity in (Entity("card", ("card",)), Entity("all", ()))
)
PLAN = compile_state(VIEWS, {"payments": PAYMENT}, ring=2, most=2, slack=0)
T = NOW + DAY


def payment(n: int, amount: int, corrects: str | None = None, card: str = "c", at: int = 0) -> Entry:
    values = {"id": f"p-{n}", "at": NOW - DAY + at * HOUR, "card": card, "amount": amount}
    return (EVENT, "payments", NOW + n, encode_payload({**values, "corrects": corrects}))


# Every batch: corrections of the state, of the batch itself, of other entities, chains, before their target.
BATCHES = (
    [payment(n, 100 * n, at=n, card="cd"[n % 2]) for n in range(1, 7)],
    [payment(10, 50, "p-5", at=9)],
    [payment(11, 70, at=1), payment(12, 75, "p-11", at=1), payment(13, 1, "p-10", at=2)],
    [payment(14, 900, "p-20", card="d"), payment(15, 2, "p-2", card="e", at=5)],
    [payment(20, 10), payment(21, 11, at=20)],
    [payment(22, 5, "p-6", card="c", at=3), payment(23, 6, "p-4", card="c", at=3)],
)


def world_of(folder: Path) -> World:
    return World(folder)


def make(world: World, **kwargs: Any) -> Any:
    return world.applier(sources=SOURCES, fold=folder_of(PLAN), **kwargs)


def rows_of(entries: list[Entry], batch: int) -> list[dict[str, Any]]:
    return [
        {"corrects": None, **msgspec.msgpack.decode(payload), "_arrived": arrived, "_batch": batch}
        for _, _, arrived, payload in entries
    ]


def assert_reads_the_oracle(online: Any, rows: list[dict[str, Any]]) -> None:
    reader = OnlineRow(PLAN, VIEWS)
    for card in "cdex":
        found = reader.measure(online.get(reader.keys({"card": card})), T)
        truth: dict[str, Any] = {}
        for view in VIEWS:
            key = [card] if view.entity.key else []
            truth |= measures_of(view, PAYMENT, rows, key, T, 2**62)
        assert found.inexact == 0
        expected = [np.nan if value is None else value for value in truth.values()]
        np.testing.assert_array_equal(found.values, expected, card)


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_state_is_what_is_known_after_every_batch(tmp_path: Path, flush: bool, restart: bool) -> None:
    world = world_of(tmp_path)
    rows: list[dict[str, Any]] = []
    applier = make(world)
    applier.__enter__()
    for entries in BATCHES:
        world.journal.append(entries)
        report = applier.step()
        rows += rows_of(entries, report.batch)
        assert report.quarantined == {}
        assert_reads_the_oracle(world.online, rows)
        if flush:
            applier.flush()
        if restart:
            applier.__exit__(None, None, None)
            applier = make(world)
            applier.__enter__()
            assert_reads_the_oracle(world.online, rows)
    applier.__exit__(None, None, None)
    assert world.rows().height == len(rows)


def test_state_built_anew_and_brought_up_to_date_is_the_same(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    rows: list[dict[str, Any]] = []
    with make(world) as applier:
        for entries in BATCHES:
            world.journal.append(entries)
            rows += rows_of(entries, applier.step().batch)
    batches = sorted({row["_batch"] for row in rows})

    for until in batches:
        store = MemoryOnline()
        built = backfill(
            PLAN, ["payments"], world.lake, store, batch=until, remembered=lambda source, frame: {}
        )
        assert built is not None
        assert_reads_the_oracle(built.writer, [row for row in rows if row["_batch"] <= until])
        with make(world) as applier:
            applier.adopt(built.writer)
            assert_reads_the_oracle(built.writer, rows)


def test_loaded_correction_changes_the_state(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    hand = HandOverFolder(tmp_path / "hand")
    entries = BATCHES[0]
    world.journal.append(entries)
    with make(world, hand_over=hand) as applier:
        rows = rows_of(entries, applier.step().batch)
        frame = pl.DataFrame(rows_of([payment(30, 1, "p-3", card="e")], 0)).with_columns(
            pl.col("at").cast(pl.Datetime("us", "UTC")),
            pl.col("corrects").cast(pl.String),
            pl.lit("assumed").alias("_basis"),
            pl.lit("f:1").alias("_origin"),
        )
        staged = hand.staging.write(frame.select(*stored_columns(applier.tables["payments"])))
        counts: Mapping[str, int] = {"stored": 1, "duplicates": 0}
        offer = Offer(Batch(0, "payments", "digest", 0, 1, staged=staged, counts=dict(counts)), 0)
        _leave(hand, offer)
        report = applier.step()
        rows += rows_of([payment(30, 1, "p-3", card="e")], report.batch)
        assert report.loaded == 1
        assert_reads_the_oracle(world.online, rows)


def _leave(hand: Any, offer: Offer) -> None:
    """Hand over from another thread, which waits for the answer."""
    thread = threading.Thread(target=hand.submit, args=(offer,), daemon=True)
    thread.start()
    while not hand.offers():
        time.sleep(0.01)
