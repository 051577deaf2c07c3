"""The applier: journals become state at once and rows of the lake a little later, each event once."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.applier_world import (
    NOW,
    PAYMENT,
    SOURCES,
    World,
    blob_of,
    dispute,
    fold,
    payment,
    prediction,
    rejected,
)

from holdfast.events import apply as module
from holdfast.events import inbox
from holdfast.events.journal import EVENT, FEEDBACK, Frame
from holdfast.events.live import as_sent
from holdfast.events.ports import QUARANTINE
from holdfast.events.records import Recorder
from holdfast.events.row import RowJudge, read_row
from holdfast.events.rule import FIRST_INSTANT, LAST_INSTANT, compile_rules
from holdfast.events.source import Source
from holdfast.kernel.errors import ConflictError, ContractError, UnavailableError
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_step_brings_events_into_the_state_and_flush_into_the_lake(world: World) -> None:
    world.journal.append([payment(1, amount=250), prediction(1)])
    world.journal.append([payment(2, amount=50)])

    with world.applier() as applier:
        report = applier.step()
        before = blob_of(world.online), world.rows().width
        settled = applier.flush()

    assert (report.batch, report.frames, report.events, report.records) == (1, 3, 2, 1)
    assert (report.pending, report.oldest_us, report.more) == (3, NOW + 1, False)
    assert before == ((2, 300), 0)
    assert settled == 1
    assert world.rows("_predictions").rows() == [("r-1", 0.125)]


def test_row_says_when_and_whence_it_came(world: World) -> None:
    world.journal.append([prediction(1), payment(1, country="SE")])
    first, second = world.journals.read(world.journal.id, 0, 1)

    world.run()

    (row,) = world.rows().to_dicts()
    assert row["id"] == "p-1"
    assert row["at"].timestamp() * 1_000_000 == NOW
    assert (row["card"], row["amount"], row["country"]) == ("c", 100, "SE")
    assert (row["_arrived"], row["_basis"], row["_batch"]) == (NOW + 1, "measured", 1)
    assert row["_origin"] == f"journal:{world.journal.id}/{second.position}"
    assert second.position == first.next


def test_journals_are_read_once_each_and_numbered_one_by_one(world: World) -> None:
    other = world.journals.writer("serve")
    world.journal.append([payment(1)])
    other.append([payment(2)])

    with world.applier() as applier:
        applier.step()
        world.journal.append([payment(3)])
        applier.step()
        batches = list(world.log().entries())

    assert [(batch.number, batch.journal) for batch in batches] == [
        (1, world.journal.id),
        (2, other.id),
        (3, world.journal.id),
    ]
    assert batches[2].first == batches[0].last
    assert batches[0].counts == {"events": 1}
    assert world.rows("payments", "_batch", "id").sort("_batch").rows() == [
        (1, "p-1"),
        (2, "p-2"),
        (3, "p-3"),
    ]


def test_step_without_news_writes_nothing(world: World) -> None:
    with world.applier() as applier:
        report = applier.step()
        applier.flush()

    assert report.frames == 0
    assert world.log().read().number == 0


def test_repeated_event_counts_once_and_changed_one_is_quarantined(world: World) -> None:
    world.journal.append([payment(1), payment(1)])
    world.journal.append([payment(1, amount=999)])
    with world.applier() as applier:
        first = applier.step()
        world.journal.append([payment(1), payment(1, amount=998)])
        second = applier.step()

    assert (first.events, first.duplicates, first.quarantined) == (1, 1, {"HF210": 1})
    assert (second.events, second.duplicates, second.quarantined) == (0, 1, {"HF210": 1})
    assert blob_of(world.online) == (1, 100)
    assert world.ids() == ["p-1"]
    refused = world.rows(QUARANTINE).sort("_batch")
    assert refused["reason"].to_list() == ["`id` 'p-1' was seen with different content."] * 2
    assert refused["_batch"].to_list() == [1, 2]
    sent = '{"id":"p-1","at":"2026-06-15T12:00:00Z","card":"c","amount":9.99}'
    assert refused["raw"][0] == sent, "as it could be sent, not as it is stored"
    assert read_row(refused["raw"][0].encode()) == read_row(sent.encode())


@given(
    at=st.integers(FIRST_INSTANT, LAST_INSTANT),
    amount=st.integers(0, 100_000),
    rate=st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
    whole=st.integers(-(2**63) + 1, 2**63 - 1),
)
def test_stored_values_as_sent_are_judged_to_be_themselves(
    at: int, amount: int, rate: int | None, whole: int
) -> None:
    schema = Schema(
        "Payment",
        (
            *PAYMENT.columns,
            Column("rate", "decimal", scale=9, nullable=True),
            Column("whole", "int"),
            Column("key", "string", nullable=True),
        ),
    )
    table = compile_rules(schema)
    stored = {"id": "p", "at": at, "card": "c", "amount": amount, "country": None}
    stored |= {"rate": rate, "whole": whole, "key": ""}

    found = RowJudge(table).judge(read_row(as_sent(table, stored).encode()))

    assert found == {**stored, "key": None}


def test_values_that_no_column_holds_are_shown_as_they_are() -> None:
    table = compile_rules(PAYMENT)

    assert as_sent(table, {"id": 3, "at": 2**62, "amount": True}) == f'{{"id":3,"at":{2**62},"amount":true}}'


def test_same_id_on_another_day_is_another_event(world: World) -> None:
    world.journal.append([payment(1), payment(1, at=NOW - DAY)])

    world.run()

    assert world.ids() == ["p-1", "p-1"]


def test_column_that_is_missing_and_one_that_is_absent_are_the_same_content(world: World) -> None:
    world.journal.append([payment(1), payment(1, country=None)])

    with world.applier() as applier:
        assert applier.step().duplicates == 1


@pytest.mark.parametrize("flushed", [True, False])
def test_duplicate_of_an_event_older_than_memory_is_found(world: World, flushed: bool) -> None:
    world.journal.append([payment(1, at=NOW - 30 * DAY)])
    with world.applier() as applier:
        applier.step()
        if flushed:
            applier.flush()
        world.journal.append([payment(1, at=NOW - 30 * DAY), payment(1, at=NOW - 30 * DAY, amount=7)])
        report = applier.step()

    assert (report.events, report.duplicates, report.quarantined) == (0, 1, {"HF210": 1})
    assert world.ids() == ["p-1"]


def test_ids_are_forgotten_when_their_day_is_over(world: World) -> None:
    world.journal.append([payment(1)])
    with world.applier() as applier:
        applier.step()
        applier.flush()
        world.clock.now += 20 * DAY
        world.journal.append([payment(2, at=world.clock.now)])
        applier.step()
        world.journal.append([payment(1)])
        report = applier.step()

    assert report.duplicates == 1  # found in the lake
    assert len(world.online._content.ids) == 1


def test_feedback_is_an_event_of_its_source(world: World) -> None:
    world.journal.append([dispute(1), dispute(1), dispute(2)])

    with world.applier() as applier:
        report = applier.step()

    assert (report.events, report.duplicates) == (2, 1)
    assert world.ids("disputes") == ["d-1", "d-2"]
    assert "prediction_id" not in world.rows("disputes").columns


def test_rejected_event_is_quarantined_as_its_process_said(world: World) -> None:
    world.journal.append([rejected(1)])

    world.run()

    (row,) = world.rows(QUARANTINE).to_dicts()
    assert row == {
        "source": "payments",
        "code": "HF203",
        "reason": "too much",
        "column": "amount",
        "origin": f"journal:{world.journal.id}/0",
        "raw": '{"id":"bad-1"}',
        "_arrived": NOW + 1,
        "_batch": 1,
    }


BAD = {
    "unknown source": ((EVENT, "nobody", 1, b"\x80"), "HF300"),
    "no map": ((EVENT, "payments", 1, b"\x01"), "HF214"),
    "no MessagePack": ((EVENT, "payments", 1, b"\xc1"), "HF214"),
    "missing value": (payment(9, card=None), "HF201"),
    "text for a number": (payment(9, amount="1"), "HF202"),
    "fraction for a number": (payment(9, amount=1.5), "HF202"),
    "truth for a number": (payment(9, amount=True), "HF202"),
    "number that fits no column": (payment(9, amount=2**63), "HF202"),
    "number for a text": (payment(9, card=1), "HF202"),
    "time that is none": (payment(9, at=2**62), "HF202"),
    "out of bounds": (payment(9, amount=100_001), "HF203"),
}


@pytest.mark.parametrize(("frame", "code"), BAD.values(), ids=BAD.keys())
def test_event_that_no_longer_obeys_its_contract_is_quarantined(world: World, frame: Any, code: str) -> None:
    world.journal.append([payment(1), frame, payment(2)])

    world.run()

    assert world.ids() == ["p-1", "p-2"]
    (row,) = world.rows(QUARANTINE).to_dicts()
    assert row["code"] == code
    assert row["source"] == frame[1]
    assert row["raw"]
    assert blob_of(world.online) == (2, 200)


def test_bounds_are_named_as_a_person_writes_them(world: World) -> None:
    world.journal.append([payment(1, amount=100_001)])

    world.run()

    assert world.rows(QUARANTINE)["reason"].to_list() == ["`amount` must be at most 1000, found 1000.01."]


def test_event_that_no_state_can_hold_is_quarantined(world: World) -> None:
    def picky(source: str, rows: pl.DataFrame, get: Any) -> Any:
        if (rows["amount"] == 13).any():
            raise ContractError("13 cannot be folded.", code="HF213")
        return fold(source, rows, get)

    world.journal.append([payment(1), payment(2, amount=13), payment(3)])

    with world.applier(fold=picky) as applier:
        report = applier.step()

    assert (report.events, report.quarantined) == (2, {"HF213": 1})
    assert world.ids() == ["p-1", "p-3"]
    assert blob_of(world.online) == (2, 200)


def test_record_that_cannot_be_read_does_not_hold_up_the_others(world: World) -> None:
    kind, source, arrived, _ = prediction(2)
    world.journal.append([prediction(1), (kind, source, arrived, b"\x80"), prediction(3)])

    world.run()

    assert world.rows("_predictions")["prediction_id"].to_list() == ["r-1", "r-3"]
    assert world.rows(QUARANTINE)["code"].to_list() == ["HF214"]


def test_frame_without_a_table_is_quarantined(world: World) -> None:
    world.journal.append([prediction(1)])

    world.run(recorders={})

    assert world.rows(QUARANTINE)["reason"].to_list() == ["no table takes frames of kind 2."]


def test_record_of_a_newer_version_is_refused_and_applied_after_the_upgrade(world: World) -> None:
    def newer(payloads: Any) -> pl.DataFrame:
        raise ConflictError("a newer version wrote it.", code="HF304")

    world.journal.append([payment(1), prediction(1)])
    with (
        pytest.raises(ConflictError),
        world.applier(recorders={2: Recorder("_predictions", newer)}) as applier,
    ):
        applier.step()

    world.run()

    assert world.ids() == ["p-1"]
    assert world.rows("_predictions").height == 1
    assert blob_of(world.online) == (1, 100)


def test_frames_of_an_unknown_kind_wait_for_a_newer_version(world: World) -> None:
    world.journal.append([payment(1), (5, "payments", 1, b"")])
    other = world.journals.writer("serve")
    other.append([payment(2)])

    with world.applier() as applier:
        report = applier.step()

    assert [problem.code for problem in report.problems] == ["HF304"]
    assert world.ids() == ["p-2"]


def test_schema_that_grew_takes_older_frames(world: World) -> None:
    world.journal.append([payment(1)])
    with world.applier() as applier:
        applier.step()
    wider = Schema("Payment", (*PAYMENT.columns, Column("note", "string", nullable=True)))
    world.journal.append([payment(1), payment(2, note="x")])

    with world.applier(sources=[Source("payments", wider, known_after=0)]) as applier:
        report = applier.step()

    assert (report.events, report.duplicates) == (1, 1)
    assert world.rows().sort("id")["note"].to_list() == [None, "x"]


def test_step_takes_a_bounded_number_of_frames(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_FRAMES", 3)
    world.journal.append([payment(n) for n in range(7)])

    with world.applier() as applier:
        reports = [applier.step() for _ in range(3)]

    assert [(report.events, report.more) for report in reports] == [(3, True), (3, True), (1, False)]
    assert len(world.ids()) == 7


def test_rows_that_wait_too_long_are_flushed_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_ROWS", 2)
    world.journal.append([payment(1), payment(2)])
    with world.applier() as applier:
        applier.step()
        world.journal.append([payment(3)])
        applier.step()

        assert world.ids() == ["p-1", "p-2"]
        assert applier.pending == 1


# --------------------------------------------------------------------------------------------- failing stores


class Failing:
    """A store of which one method fails now and then."""

    def __init__(self, inner: Any, method: str, *, after: bool) -> None:
        self.inner, self.method, self.after, self.left = inner, method, after, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name != self.method:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left:
                self.left -= 1
                if self.after:
                    found(*args, **kwargs)
                raise UnavailableError("the world did not answer.")
            return found(*args, **kwargs)

        return call


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("failures", [1, 2])
def test_lake_that_fails_now_and_then_gets_every_row_once(world: World, after: bool, failures: int) -> None:
    lake = Failing(world.lake, "append", after=after)
    world.journal.append([payment(1), dispute(1), prediction(1), rejected(1)])

    with world.applier(lake=lake) as applier:
        applier.step()
        lake.left = failures
        for n in range(2, 2 + failures):
            with pytest.raises(UnavailableError):
                applier.flush()
            world.journal.append([payment(n), dispute(n), prediction(n), rejected(n)])
            applier.step()
        applier.flush()

    count = 1 + failures
    assert len(world.ids()) == len(world.ids("disputes")) == count
    assert world.rows("_predictions").height == world.rows(QUARANTINE).height == count


@pytest.mark.parametrize("after", [True, False])
def test_state_that_fails_once_is_committed_with_the_next_step(world: World, after: bool) -> None:
    world.journal.append([payment(1), payment(1, amount=5)])
    applier = world.applier()
    applier.online = online = Failing(world.online, "commit", after=after)  # type: ignore[assignment]

    with applier:
        online.left = 1
        with pytest.raises(UnavailableError):
            applier.step()
        world.journal.append([payment(2)])
        report = applier.step()

    assert (report.frames, report.events, report.quarantined) == (3, 2, {"HF210": 1})
    assert blob_of(world.online) == (2, 200)
    assert world.ids() == ["p-1", "p-2"]


def test_log_that_fails_changes_nothing(world: World) -> None:
    log = Failing(world.log(), "append", after=False)
    world.journal.append([payment(1)])

    with world.applier(log=log) as applier:
        log.left = 1
        with pytest.raises(UnavailableError):
            applier.step()
        assert applier.step().events == 1

    assert world.ids() == ["p-1"]


def test_journal_that_cannot_be_read_does_not_hold_up_the_others(world: World) -> None:
    other = world.journals.writer("serve")
    world.journal.append([payment(1)])
    other.append([payment(2)])

    class OneBroken(type(world.journals)):  # type: ignore[misc]
        def read(self, journal: str, *args: Any) -> list[Frame]:
            if journal == world.journal.id:
                raise UnavailableError("it is damaged.")
            return super().read(journal, *args)

    world.journals.__class__ = OneBroken
    with world.applier() as applier:
        report = applier.step()

    assert [problem.code for problem in report.problems] == ["HF600"]
    assert world.ids() == ["p-2"]


# ------------------------------------------------------------------------------------------------- recovery


def test_second_applier_of_a_shard_is_refused(world: World) -> None:
    with world.applier(), pytest.raises(ConflictError) as caught, world.applier():
        pass

    assert caught.value.code == "HF303"


def test_state_that_was_lost_is_built_from_the_lake(world: World) -> None:
    world.journal.append([payment(n, amount=n) for n in range(5)])
    with world.applier() as applier:
        applier.step()
        applier.flush()
        world.journal.append([payment(5, amount=5)])
        applier.step()
        before = dict(world.online._content.blobs), dict(world.online._content.ids)

    world.generation = world.store.create("state", b"{}")
    with world.applier() as applier:
        world.journal.append([payment(3, amount=3)])
        report = applier.step()

    assert (world.online._content.blobs, world.online._content.ids) == before
    assert report.duplicates == 1


def test_state_is_built_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.events.statefold.REBUILT_ROWS", 2)
    with world.applier() as applier:
        for n in range(7):
            world.journal.append([payment(n, amount=n)])
            applier.step()
    world.generation = world.store.create("state", b"{}")

    world.run()

    assert blob_of(world.online) == (7, 21)


def test_other_build_of_the_state_is_adopted_at_the_same_batch(world: World) -> None:
    world.journal.append([payment(1)])
    with world.applier() as applier:
        applier.step()
        other = world.store.writer(world.store.create("state", b"{}"))
        before = applier.adopt(other)
        world.journal.append([payment(2), payment(1)])
        applier.step()

    assert before is world.online
    assert blob_of(other) == (2, 200)
    assert blob_of(before) == (1, 100)
    assert other.batch == 2


def test_lake_ahead_of_its_log_is_refused(world: World) -> None:
    world.journal.append([payment(1)])
    world.run()
    (world.folder / "batches.log").unlink()

    with pytest.raises(UnavailableError, match="holds batch 1, but the batch log ends at 0"):
        world.run()


def test_journal_that_vanished_before_it_was_applied_is_refused(world: World) -> None:
    world.journal.append([payment(1)])

    def die(step: str) -> None:
        if step == "logged":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), world.applier(faults=die) as applier:
        applier.step()
    world.journals._frames.clear()

    with pytest.raises(UnavailableError, match="no longer holds byte 0"):
        world.run()


def test_journals_are_let_go_when_the_lake_has_them(world: World) -> None:
    world.journal.append([payment(1)])
    with world.applier() as applier:
        applier.step()
        world.journal.close()

    assert world.journals.journals() == []
    assert world.log().read().settled == 1


def test_log_stays_small_however_many_batches_there_were(world: World) -> None:
    log = world.log(compact_bytes=2_000)
    with world.applier(log=log) as applier:
        for n in range(200):
            world.journal.append([payment(n)])
            applier.step()
            if n % 3 == 0:
                applier.flush()

    assert (world.folder / "batches.log").stat().st_size < 3_000
    logged = world.log().read()
    assert (logged.number, logged.settled) == (200, 200)
    assert len(logged.batches) < 15
    assert logged.positions() == {world.journal.id: world.journal.append([])}
    assert len(world.ids()) == 200


def test_feedback_and_events_share_the_verdicts_of_a_batch(world: World) -> None:
    world.journal.append([payment(1), dispute(1), payment(1), dispute(1), payment(2)])

    def die(step: str) -> None:
        if step == "committed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), world.applier(faults=die) as applier:
        applier.step()
    world.run()

    assert world.ids() == ["p-1", "p-2"]
    assert world.ids("disputes") == ["d-1"]
    assert {kind for kind, *_ in (payment(1), dispute(1))} == {EVENT, FEEDBACK}
    assert SOURCES[0].name == "payments"
