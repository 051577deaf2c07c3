"""An applier that dies at any step, or is killed at any moment, applies every journalled frame once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.applier_world import (
    NOW,
    PAYMENT,
    Clock,
    World,
    blob_of,
    dispute,
    payment,
    prediction,
    rejected,
)

from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.handover import HandOverFolder
from holdfast.adapters.files.staging import StagingFolder
from holdfast.adapters.journal import JournalFileWriter, JournalFolder
from holdfast.adapters.lmdb import LmdbOnline
from holdfast.events.apply import LIVE_STEPS, LOAD_STEPS, STEPS
from holdfast.events.batch import Batch
from holdfast.events.handover import Offer
from holdfast.events.logged import stored_columns
from holdfast.events.ports import QUARANTINE
from holdfast.events.rule import compile_rules, empty_table
from holdfast.kernel.errors import ConflictError
from holdfast.kernel.time import DAY

REPOSITORY = Path(__file__).resolve().parents[2]
OLD = NOW - 30 * DAY


class DiedError(BaseException):
    """The process is gone."""


def mixed(n: int) -> list[Any]:
    """Return frames of all kinds, with a duplicate, a clash, and the same of an event long past."""
    return [
        payment(n, amount=n, card=f"c{n % 3}"),
        prediction(n),
        payment(n, amount=n, card=f"c{n % 3}"),
        dispute(n),
        rejected(n),
        payment(n, amount=n + 1, card=f"c{n % 3}"),
        payment(n, at=OLD, amount=1, card="old"),
        payment(n - 1, at=OLD, amount=1, card="old"),
    ]


def offer(staging: StagingFolder, first: int, last: int, n: int) -> Offer:
    """Return a staged load of a few rows, one of which was received live meanwhile."""
    names = [f"l-{first + i}" for i in range(last - first - 1)] + [f"p-{n}"]
    amounts = [5] * (last - first - 1) + [n]
    rows = (
        empty_table(PAYMENT)
        .clear(len(names))
        .with_columns(
            pl.Series("id", names),
            pl.Series("at", [NOW] * len(names), dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            pl.Series("card", ["load"] * (len(names) - 1) + [f"c{n % 3}"]),
            pl.Series("amount", amounts),
            pl.lit(NOW).alias("_arrived"),
            pl.lit("assumed").alias("_basis"),
            pl.lit(0, pl.Int64).alias("_batch"),
            pl.Series("_origin", [f"f:{first + i + 1}" for i in range(len(names))]),
        )
    )
    rows = rows.select(*stored_columns(compile_rules(PAYMENT)))
    counts = {"stored": rows.height, "duplicates": 0}
    return Offer(Batch(0, "payments", "f" * 40, first, last, staging.write(rows), counts), 0)


def check(world: Any, online: Any, count: int, loaded: int = 0) -> None:
    """Every frame of `mixed(0) ... mixed(count - 1)`, and every row loaded, is everywhere exactly once."""
    paid = world.lake.read("payments")
    rows = [i for i in range(loaded * 3 // 2) if i % 3 < 2]
    assert sorted(paid["id"].to_list()) == sorted(
        [f"p-{n}" for n in range(count)] + [f"p-{n}" for n in range(-1, count)] + [f"l-{i}" for i in rows]
    )
    assert paid["_origin"].n_unique() == paid.height
    assert sorted(world.lake.read("disputes")["id"].to_list()) == sorted(f"d-{n}" for n in range(count))
    records = world.lake.read("_predictions")["prediction_id"].to_list()
    assert sorted(records) == sorted(f"r-{n}" for n in range(count))
    refused = world.lake.read(QUARANTINE)
    assert refused["origin"].n_unique() == refused.height == 2 * count
    assert sorted(refused["code"].to_list()) == ["HF203"] * count + ["HF210"] * count
    for card, part in paid.group_by("card"):
        assert blob_of(online, str(card[0])) == (part.height, part["amount"].sum())


class Handed:
    """A hand-over in memory: what was offered, and what was answered."""

    def __init__(self, folder: Path) -> None:
        self.staging = StagingFolder(folder / "handed")
        self.waiting: dict[str, Offer] = {}
        self.answers: dict[str, list[Any]] = {}

    def serve(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()

    def offers(self) -> list[tuple[str, Offer]]:
        return sorted(self.waiting.items())

    def answer(self, name: str, outcome: Any) -> None:
        del self.waiting[name]
        self.answers.setdefault(name, []).append(outcome)


@pytest.mark.parametrize("occurrence", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_death_after_a_step_loses_and_doubles_nothing(tmp_path: Path, step: str, occurrence: int) -> None:
    world, handed = World(tmp_path), Handed(tmp_path)
    left = occurrence

    def faults(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if not left:
                raise DiedError

    steps = 0
    for attempt in range(3):
        try:
            with world.applier(faults=faults, hand_over=handed) as applier:
                while steps < 8:
                    n, steps = steps, steps + 1
                    world.journal.append(mixed(n))
                    if n in (2, 4, 6):
                        handed.waiting[str(n)] = offer(handed.staging, 3 * (n // 2 - 1), 3 * (n // 2), n - 2)
                    applier.step()
                    if n % 2:
                        applier.flush()
                while applier.step().more:
                    pass
            break
        except DiedError:
            assert attempt < 2
    while handed.waiting:
        with world.applier(hand_over=handed) as applier:
            applier.step()

    assert left <= 0
    check(world, world.online, 8, loaded=6)
    assert [len(handed.answers[name]) for name in ("2", "4", "6")] == [1, 1, 1]
    assert all(found[0].counts == {"stored": 2, "duplicates": 1} for found in handed.answers.values())
    assert StagingFolder(tmp_path / "staged").list_names() == []


@pytest.mark.parametrize("seed", range(12))
def test_deaths_at_random_steps_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    world, chance = World(tmp_path), random.Random(seed)
    journals = [world.journal]

    def faults(reached: str) -> None:
        if chance.random() < 0.04:
            raise DiedError

    n = 0
    while n < 12:
        try:
            with world.applier(faults=faults) as applier:
                while n < 12:
                    if chance.random() < 0.2:
                        journals.append(world.journals.writer("serve"))
                    chance.choice(journals).append(mixed(n))
                    n += 1
                    applier.step()
                    if chance.random() < 0.3:
                        applier.flush()
        except DiedError:
            continue
    world.run()

    refused = world.rows(QUARANTINE)
    assert refused["origin"].n_unique() == refused.height
    paid = world.rows()
    assert paid.group_by("id", pl.col("at").dt.date()).len()["len"].max() == 1
    assert paid.height == 25
    assert sorted(world.rows("_predictions")["prediction_id"].to_list()) == sorted(
        f"r-{n}" for n in range(12)
    )
    for card, part in paid.group_by("card"):
        assert blob_of(world.online, str(card[0])) == (part.height, part["amount"].sum())


# ----------------------------------------------------------------------------------------------- real kills

PROGRAM = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.handover import HandOverFolder
from holdfast.adapters.files.staging import StagingFolder
from holdfast.adapters.journal import JournalFolder
from holdfast.adapters.lmdb import LmdbOnline
from holdfast.events.apply import Applier
from holdfast.events.journal import PREDICTION
from holdfast.events.records import Recorder
from holdfast.kernel.time import DAY
from tests.applier_world import SOURCES, Clock, encode_records, fold

place, step, left = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def faults(reached):
    global left
    if reached == step:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

store = LmdbOnline(place / "online", map_bytes=2**26)
generation = store.current() or store.create("state", b"{}")
online = store.writer(generation)
with Applier(
    SOURCES, lake=DeltaLake(place / "lake"), log=BatchLogFile(place / "batches.log", compact_bytes=4_000),
    journals=JournalFolder(place / "journal"), online=online, staging=StagingFolder(place / "staged"),
    clock=Clock(), fold=fold, recorders={PREDICTION: Recorder("_predictions", encode_records)},
    hand_over=HandOverFolder(place / "handover"), remember_us=10 * DAY, faults=faults,
) as applier:
    store.make_current(generation)
    print("ready", flush=True)
    steps = 0
    while not (place / "stop").exists() or applier.step().more:
        steps += 1
        applier.step()
        if steps % 4 == 0:
            applier.flush()
online.close()
print("done", applier.batch, flush=True)
"""


class Disk:
    """The stores of a project on disk, and journals to write to."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.lake = DeltaLake(place / "lake")
        self.handed = HandOverFolder(place / "handover")
        self.handed.root.mkdir()
        self.journal = JournalFileWriter(place / "journal", "serve", Clock(), segment_bytes=4_000)

    def start(self, step: str = "", occurrence: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(REPOSITORY), str(self.place), step, str(occurrence)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def finish(self) -> None:
        """Let an applier run to the end of everything."""
        self.journal.close()
        (self.place / "stop").touch()
        process = self.start()
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out

    def hand(self, number: int, offered: Offer) -> None:
        self.handed._write(f"{number:020d}-1-0.json", offered)

    def check(self, count: int, loaded: int = 0) -> None:
        store = LmdbOnline(self.place / "online", map_bytes=2**26)
        generation = store.current()
        assert generation is not None
        online = store.writer(generation)
        try:
            check(self, online, count, loaded)
        finally:
            online.close()
        logged = BatchLogFile(self.place / "batches.log").read()
        assert logged.settled == logged.number
        assert StagingFolder(self.place / "staged").list_names() == []
        assert JournalFolder(self.place / "journal").journals() == []


def test_applier_killed_at_arbitrary_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    disk, chance = Disk(tmp_path), random.Random(1)
    n = 0
    for _ in range(3):
        process = disk.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 0.05 + chance.random() * 0.4
        while time.monotonic() < deadline:
            disk.journal.append(mixed(n))
            n += 1
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    disk.finish()

    assert n > 10
    disk.check(n)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [LIVE_STEPS[:4], LIVE_STEPS[4:], LOAD_STEPS])
def test_applier_killed_after_each_step_loses_and_doubles_nothing(
    tmp_path: Path, steps: tuple[str, ...]
) -> None:
    disk = Disk(tmp_path)
    for n, step in enumerate(steps):
        disk.journal.append(mixed(n))
        disk.hand(n, offer(disk.handed.staging, 3 * n, 3 * n + 3, n))
        process = disk.start(step, 1)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
    disk.finish()

    disk.check(len(steps), loaded=2 * len(steps))
    assert len(list(disk.handed.root.glob("*.done"))) == len(steps)
    assert disk.handed.staging.list_names() == []


def test_second_applier_is_refused_while_the_first_lives_and_not_after(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    process = disk.start()
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    with pytest.raises(ConflictError) as caught, BatchLogFile(tmp_path / "batches.log").lease():
        pass
    assert caught.value.code == "HF303"
    assert str(process.pid) in caught.value.problem.message
    assert disk.handed.is_served()

    process.send_signal(signal.SIGKILL)
    process.communicate()
    with BatchLogFile(tmp_path / "batches.log").lease():
        assert not disk.handed.is_served()
    assert os.getpid() != process.pid
