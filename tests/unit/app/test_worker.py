import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.payments import PAYMENTS
from tests.waiting import until

from holdfast.adapters.journal import JournalFileWriter
from holdfast.app.materialize import materialize_state
from holdfast.app.state import settled_in_lake
from holdfast.app.worker import Worker, worker_status
from holdfast.app.workspace import Workspace
from holdfast.events.journal import EVENT, encode_payload
from holdfast.features.online import OnlineRow, load_plan
from holdfast.kernel.errors import ConflictError, RefusedError

VIEW = """

@project.view(payments, entity=card)
def activity(tx):
    return {"n": tx.count(over="1h"), "spent": tx.amount.sum(over="1h")}
"""
PROJECT = PAYMENTS + VIEW
T = 1_770_000_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project.py").write_text(PROJECT)
    Workspace(tmp_path).apply(by="eva")
    return tmp_path


@pytest.fixture
def journal(folder: Path) -> Iterator[JournalFileWriter]:
    wiring = Workspace(folder).wiring
    writer = JournalFileWriter(wiring.settings.journal, "test", wiring.clock)
    yield writer
    writer.close()


def pay(journal: JournalFileWriter, number: int, **changes: Any) -> None:
    payment = {"tx_id": f"t-{number}", "at": T + number, "card_id": "c", "amount": 100, **changes}
    journal.append([(EVENT, "payments", T + number, encode_payload(payment))])


class Background:
    """A worker in a thread."""

    def __init__(self, folder: Path) -> None:
        self.worker = Worker(folder)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> "Background":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stopping.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


def stored(folder: Path) -> list[str]:
    lake = Workspace(folder).wiring.lake
    return sorted(lake.read("payments", ["tx_id"])["tx_id"].to_list())


def counted(folder: Path, card: str = "c") -> float:
    """Return how many payments of a card the live state holds."""
    store = Workspace(folder).wiring.online
    current = store.current()
    if current is None:
        return -1.0
    reader = store.reader(current)
    try:
        plan = load_plan(reader.plan)
        row = OnlineRow(plan, plan.views)
        with reader.snapshot() as snapshot:
            reading = row.read(snapshot, {"card_id": card}, T + 1_000_000)
            return float(reading.values[row.names.index("n")])
    finally:
        reader.close()


def is_ready(folder: Path) -> bool:
    said = worker_status(Workspace(folder).wiring)
    return said is not None and bool(said["ready"])


def test_worker_brings_journalled_events_into_state_and_lake(
    folder: Path, journal: JournalFileWriter
) -> None:
    with Background(folder):
        pay(journal, 1)
        pay(journal, 2)
        until(lambda: counted(folder) == 2.0)

    assert stored(folder) == ["t-1", "t-2"]


def test_worker_that_stops_has_flushed_what_it_read(folder: Path, journal: JournalFileWriter) -> None:
    pay(journal, 1)
    with Background(folder):
        until(lambda: counted(folder) == 1.0)
    wiring = Workspace(folder).wiring

    assert wiring.batch_log.read().settled == wiring.batch_log.read().number
    assert not wiring.hand_over.is_served()


def test_worker_says_how_it_is(folder: Path, journal: JournalFileWriter) -> None:
    with Background(folder):
        pay(journal, 1)
        until(lambda: (worker_status(Workspace(folder).wiring) or {}).get("counts", {}).get("events") == 1)

    assert worker_status(Workspace(folder).wiring) is None


def test_second_worker_is_refused(folder: Path) -> None:
    with Background(folder):
        until(lambda: is_ready(folder))

        with pytest.raises(ConflictError) as caught:
            Worker(folder).run()

    assert caught.value.code == "HF303"


def test_worker_of_a_project_that_was_not_applied_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROJECT)

    with pytest.raises(RefusedError, match="not applied"):
        Worker(tmp_path).run()


def test_materialize_without_a_worker_builds_from_the_lake(folder: Path, journal: JournalFileWriter) -> None:
    pay(journal, 1)
    with Background(folder):
        until(lambda: counted(folder) == 1.0)

    built = materialize_state(Workspace(folder).wiring)

    assert (built.rows, built.by_worker) == (1, False)
    assert counted(folder) == 1.0


def test_materialize_asks_a_running_worker_which_goes_on_applying(
    folder: Path, journal: JournalFileWriter
) -> None:
    with Background(folder):
        pay(journal, 1)
        until(lambda: counted(folder) == 1.0)
        before = Workspace(folder).wiring.online.current()
        until(lambda: Workspace(folder).wiring.batch_log.read().settled > 0)

        built = materialize_state(Workspace(folder).wiring)
        pay(journal, 2)
        until(lambda: counted(folder) == 2.0)

        assert built.by_worker
        assert Workspace(folder).wiring.online.current() != before


def test_damaged_state_is_built_anew_at_the_next_start(folder: Path, journal: JournalFileWriter) -> None:
    pay(journal, 1)
    with Background(folder):
        until(lambda: counted(folder) == 1.0)
    settings = Workspace(folder).wiring.settings
    for path in settings.online.glob("*/*/data.mdb"):
        path.write_bytes(b"\0" * 65_536)

    with Background(folder):
        until(lambda: is_ready(folder))
        assert counted(folder) == 1.0


def test_changed_definition_is_taken_over_without_a_restart(folder: Path, journal: JournalFileWriter) -> None:
    with Background(folder):
        pay(journal, 1)
        until(lambda: counted(folder) == 1.0)
        first = Workspace(folder).wiring.online.current()
        assert first is not None

        (folder / "project.py").write_text(PROJECT.replace('"spent":', '"paid":'))
        Workspace(folder).apply(by="eva")

        until(lambda: (Workspace(folder).wiring.online.current() or first).state != first.state)
        pay(journal, 2)
        until(lambda: counted(folder) == 2.0)


def write_csv(path: Path) -> None:
    row = {"tx_id": ["a"], "at": ["2026-02-02T02:40:00Z"], "card_id": ["c"], "amount": ["1.00"]}
    pl.DataFrame(row).write_csv(path)


def test_load_is_handed_to_the_running_worker(folder: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "in.csv")
    with Background(folder):
        until(lambda: is_ready(folder))

        report = Workspace(folder).ingest("payments", tmp_path / "in.csv")

    assert report.now.stored == 1
    assert stored(folder) == ["a"]


def test_loads_without_a_worker_are_settled_in_the_lake(folder: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "in.csv")
    workspace = Workspace(folder)

    workspace.ingest("payments", tmp_path / "in.csv")

    assert settled_in_lake(workspace.wiring) == workspace.wiring.batch_log.read().number == 1
