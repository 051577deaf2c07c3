"""Batch loads beside a running worker: judged by one process, numbered and applied by the other."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.applier_world import SOURCES, World, blob_of, payment

from holdfast.adapters.files.handover import HandOverFolder
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.files.staging import StagingFolder
from holdfast.events.batch import Batch
from holdfast.events.handover import Offer
from holdfast.events.ingest import ingest
from holdfast.events.ports import QUARANTINE
from holdfast.events.report import IngestReport
from holdfast.kernel.errors import ConflictError, UnavailableError


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@contextmanager
def worker(world: World, **kwargs: Any) -> Iterator[None]:
    """Run an applier in a thread, as another process would."""
    stop, ready, failed = threading.Event(), threading.Event(), []

    def run() -> None:
        try:
            with world.applier(hand_over=HandOverFolder(world.folder / "handover"), **kwargs) as applier:
                ready.set()
                while not stop.is_set():
                    if not applier.step().more:
                        stop.wait(0.005)
        except BaseException as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        stop.set()
        thread.join(20)
    if failed and not kwargs.get("faults"):
        raise failed[0]


def load(world: World, *rows: str, name: str = "a.csv", **kwargs: Any) -> IngestReport:
    """Ingest rows of `id,amount` as the command line does."""
    lines = [f"{n},2026-06-15T12:00:00Z,c,{amount}" for n, amount in (row.split(",") for row in rows)]
    (world.folder / name).write_text("\n".join(["id,at,card,amount", *lines]) + "\n")
    kwargs = {"hand_over": HandOverFolder(world.folder / "handover"), "log": world.log()} | kwargs
    return ingest(
        SOURCES[0],
        Files(world.folder / name),
        lake=world.lake,
        staging=StagingFolder(world.folder / "staged"),
        clock=world.clock,
        chunk_rows=2,
        **kwargs,
    )


def test_load_beside_a_worker_is_numbered_and_applied_by_it(world: World) -> None:
    with worker(world):
        report = load(world, "a,1", "b,2", "c,x", "a,1")
        seen = blob_of(world.online)

    assert (report.now.stored, report.now.duplicates, report.now.quarantined) == (2, 1, {"HF202": 1})
    assert report.adds_up
    assert world.ids() == ["a", "b"]
    assert world.rows(QUARANTINE).height == 1
    assert seen == blob_of(world.online) == (2, 300)
    assert [(batch.number, batch.last) for batch in world.log().entries()] == [(1, 2), (2, 4)]
    assert list((world.folder / "handover").glob("*.json")) == []
    assert list((world.folder / "handover").glob("*.done")) == []
    assert HandOverFolder(world.folder / "handover").staging.list_names() == []


def test_load_without_a_worker_takes_the_shard_itself(world: World) -> None:
    assert load(world, "a,1").now.stored == 1
    assert load(world, "a,1").files[0].is_repeat

    world.run()

    assert blob_of(world.online) == (1, 100)


def test_load_of_the_same_file_again_adds_nothing(world: World) -> None:
    with worker(world):
        load(world, "a,1", "b,2", "c,3")
        again = load(world, "a,1", "b,2", "c,3")

    assert again.files[0].is_repeat
    assert world.ids() == ["a", "b", "c"]


def test_event_received_before_the_load_is_its_duplicate(world: World) -> None:
    world.journal.append([payment(1), payment(2)])
    with worker(world):
        deadline = time.monotonic() + 20
        while blob_of(world.online) != (2, 200):
            assert time.monotonic() < deadline
        assert world.rows().width == 0  # not flushed: what the load is compared with does not know them yet
        report = load(world, "p-1,1", "p-2,7", "new,1")

    assert (report.now.stored, report.now.duplicates, report.now.quarantined) == (1, 1, {"HF210": 1})
    assert report.adds_up
    assert world.ids() == ["new", "p-1", "p-2"]
    assert blob_of(world.online) == (3, 300)
    (row,) = world.rows(QUARANTINE).to_dicts()
    assert "different content in `amount`" in row["reason"]
    assert '"amount":7.00' in row["raw"], "as it could be sent, not as it is stored"
    assert 'Z"' in row["raw"]


def test_event_received_after_the_load_is_its_duplicate(world: World) -> None:
    with worker(world):
        load(world, "p-1,1", "p-2,7")
        world.journal.append([payment(1), payment(2)])

    world.run()

    assert world.ids() == ["p-1", "p-2"]
    assert blob_of(world.online) == (2, 800)
    assert world.rows(QUARANTINE)["code"].to_list() == ["HF210"]


def test_load_goes_on_by_itself_when_the_worker_dies(world: World) -> None:
    def die(step: str) -> None:
        if step == "load logged":
            raise KeyboardInterrupt

    with worker(world, faults=die):
        report = load(world, "a,1", "b,2", "c,3")

    assert (report.rows, report.now.stored + report.before.stored) == (3, 3)
    assert world.ids() == ["a", "b", "c"]
    world.run()
    assert blob_of(world.online) == (3, 600)


def test_load_is_refused_while_received_events_wait_for_their_worker(world: World) -> None:
    def die(step: str) -> None:
        if step == "committed":
            raise KeyboardInterrupt

    world.journal.append([payment(1)])
    with pytest.raises(KeyboardInterrupt), world.applier(faults=die) as applier:
        applier.step()

    with pytest.raises(UnavailableError, match="was received live and its worker ended"):
        load(world, "a,1")
    log = world.log()

    report = load(world, "p-1,1", "a,1", log=log, catch_up=world.applier(log=log).recover)

    assert (report.replayed, report.now.stored, report.now.duplicates) == (1, 1, 1)


def test_shard_held_by_someone_who_takes_no_loads_is_refused(world: World) -> None:
    with world.log().lease(), pytest.raises(ConflictError) as caught:
        load(world, "a,1")

    assert caught.value.code == "HF303"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"source": "nobody"}, "HF300"),
        ({"first": 5, "last": 6}, "HF301"),
        ({"source": "disputes"}, "HF404"),
        ({"staged": "0" * 40 + ".arrow"}, "HF300"),
    ],
)
def test_offer_that_cannot_be_taken_is_answered_with_the_reason(
    world: World, change: dict[str, Any], code: str
) -> None:
    handed = HandOverFolder(world.folder / "handover")
    rows = world.applier()._state.stored("payments", 0, 0).clear(1)
    batch = Batch(0, "payments", "f" * 40, 0, 1, handed.staging.write(rows), {"stored": 1})
    with worker(world):
        outcome = handed.submit(Offer(replace(batch, **change), 0))

    assert outcome is not None
    assert (outcome.number, outcome.code) == (0, code)
    assert outcome.message
    assert world.log().read().number == 0


def test_offer_that_is_no_json_is_answered_and_removed(world: World) -> None:
    handed = HandOverFolder(world.folder / "handover")
    handed.root.mkdir()
    (handed.root / f"{1:020d}-1-0.json").write_text("{")

    assert handed.offers() == []
    assert [path.name for path in handed.root.iterdir()] == [f"{1:020d}-1-0.done"]


def test_offer_without_a_worker_is_withdrawn(world: World) -> None:
    handed = HandOverFolder(world.folder / "handover")

    assert handed.submit(Offer(Batch(0, "payments", "f", 0, 1, "", {}), 0)) is None
    assert list(handed.root.glob("*.json")) == []
