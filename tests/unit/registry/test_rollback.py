from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from holdfast.kernel.errors import ConflictError, NotFoundError, RefusedError, UsageError
from holdfast.registry.approval import ApprovalPolicy
from holdfast.registry.ledger import verify
from holdfast.registry.register import Outcome, approve, deploy, register, rollback
from holdfast.testing.registry import MemoryRegistry


@dataclass
class Ticking:
    us: int = 0

    def now_us(self) -> int:
        self.us += 1_000_000
        return self.us


class Desk:
    def __init__(self) -> None:
        self.store = MemoryRegistry()
        self.clock = Ticking()

    def add(self, number: int) -> None:
        with self.store.transaction() as work:
            work.save_run(f"r-{number}", "fraud", {})
        register(
            self.store, model="fraud", bundle=f"b-{number}", run=f"r-{number}", dataset="d", author="eva",
            clock=self.clock,
        )  # fmt: skip
        approve(
            self.store, "fraud", number, by="ana", reason="seen", policy=None, people={}, clock=self.clock
        )

    def deploy(self, number: int) -> None:
        deploy(self.store, "fraud", number, by="ops", reason="better", policy=None, clock=self.clock)

    def rollback(self, to: int | None = None, reason: str = "errors", revision: int | None = None) -> Outcome:
        return rollback(
            self.store, "fraud", to=to, by="ops", reason=reason, clock=self.clock, expected_revision=revision
        )

    def states(self) -> list[str]:
        return [version.state for version in self.store.list_versions("fraud")]

    def champion(self) -> int | None:
        alias = self.store.find_alias("fraud", "champion")
        return alias.version if alias else None


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    for number in (1, 2, 3):
        desk.add(number)
    desk.deploy(1)
    desk.deploy(2)
    yield desk
    assert verify(desk.store.list_entries()) is None


def test_rollback_brings_the_champion_before_back_and_bars_this_one(desk: Desk) -> None:
    outcome = desk.rollback()

    assert outcome.message == "fraud@1 is the champion again, fraud@2 is barred"
    assert (desk.champion(), desk.states()) == (1, ["champion", "barred", "approved"])


def test_rollback_is_two_entries_of_the_history_with_the_reason(desk: Desk) -> None:
    desk.rollback(reason="p99 is 80 ms")

    bar, back = desk.store.list_entries()[-2:]
    assert (bar.action, bar.subject, bar.reason) == ("bar", "fraud@2", "p99 is 80 ms")
    assert (back.action, back.subject, back.evidence["previous"]) == ("rollback", "fraud@1", 2)


def test_second_rollback_goes_one_further_back(desk: Desk) -> None:
    desk.deploy(3)

    desk.rollback()
    outcome = desk.rollback()

    assert outcome.version.number == 1
    assert desk.states() == ["champion", "barred", "barred"]


def test_rollback_to_a_named_champion(desk: Desk) -> None:
    desk.deploy(3)

    assert desk.rollback(to=1).version.number == 1
    assert desk.states() == ["champion", "retired", "barred"]


def test_rollback_to_the_champion_changes_nothing(desk: Desk) -> None:
    assert not desk.rollback(to=2).changed


def test_rollback_to_a_version_that_never_answered_is_refused(desk: Desk) -> None:
    with pytest.raises(ConflictError, match="never champion") as caught:
        desk.rollback(to=3)

    assert caught.value.code == "HF302"
    assert "holdfast deploy fraud 3" in str(caught.value)


def test_rollback_to_a_barred_version_is_refused(desk: Desk) -> None:
    desk.rollback()

    with pytest.raises(ConflictError, match="barred") as caught:
        desk.rollback(to=2)

    assert caught.value.code == "HF302"


def test_first_champion_has_nothing_to_roll_back_to(desk: Desk) -> None:
    desk.rollback()

    with pytest.raises(ConflictError, match="no earlier champion") as caught:
        desk.rollback()

    assert caught.value.code == "HF302"


def test_rollback_that_lost_the_race_changes_nothing(desk: Desk) -> None:
    alias = desk.store.find_alias("fraud", "champion")
    assert alias is not None
    desk.deploy(3)

    with pytest.raises(ConflictError) as caught:
        desk.rollback(revision=alias.revision)

    assert caught.value.code == "HF301"
    assert desk.champion() == 3


def test_rollback_of_a_model_without_champion_is_refused() -> None:
    with pytest.raises(NotFoundError):
        Desk().rollback()


def test_rollback_needs_a_reason(desk: Desk) -> None:
    with pytest.raises(UsageError, match="reason"):
        desk.rollback(reason=" ")


def test_a_person_lifts_a_bar_with_a_reason_and_both_are_in_the_history(desk: Desk) -> None:
    desk.rollback()

    outcome = deploy(
        desk.store, "fraud", 2, by="ana", reason="the feed was at fault", policy=None, clock=desk.clock,
        lift_bar=True,
    )  # fmt: skip

    assert outcome.message == "fraud@2 is the champion, fraud@1 is retired"
    lifted = next(entry for entry in desk.store.list_entries() if entry.action == "lift")
    assert (lifted.subject, lifted.actor, lifted.reason) == ("fraud@2", "ana", "the feed was at fault")
    assert lifted.evidence == {"from": "barred", "to": "retired"}
    assert desk.states() == ["retired", "champion", "approved"]


def test_a_bar_that_is_not_lifted_says_how(desk: Desk) -> None:
    desk.rollback()

    with pytest.raises(ConflictError) as caught:
        desk.deploy(2)

    assert "holdfast deploy fraud 2 --lift-bar --reason WHY" in caught.value.hint


def test_a_bar_that_is_not_there_is_not_lifted(desk: Desk) -> None:
    with pytest.raises(ConflictError, match="`fraud@3` is approved, so there is no bar to lift"):
        deploy(
            desk.store, "fraud", 3, by="ana", reason="why", policy=None, clock=desk.clock, lift_bar=True
        )  # fmt: skip


def test_a_bar_stays_where_the_deployment_is_refused(desk: Desk) -> None:
    desk.rollback()

    with pytest.raises(RefusedError):
        deploy(
            desk.store, "fraud", 2, by="ana", reason="why", policy=ApprovalPolicy("lead", False),
            clock=desk.clock, lift_bar=True,
        )  # fmt: skip

    assert desk.states()[1] == "barred"
    assert "lift" not in [entry.action for entry in desk.store.list_entries()]
