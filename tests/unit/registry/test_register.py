from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast.kernel.errors import ConflictError, HoldfastError, NotFoundError, RefusedError, UsageError
from holdfast.registry.approval import ApprovalPolicy
from holdfast.registry.ledger import verify
from holdfast.registry.register import Outcome, approve, deploy, register, reject, set_challenger
from holdfast.registry.version import State
from holdfast.testing.registry import MemoryRegistry, MemoryWork

LEAD = ApprovalPolicy("risk-lead", not_author=True)
PEOPLE = {"risk-lead": ["ana", "ben", "cem"]}


@dataclass
class Ticking:
    """A clock that moves by one second with each look."""

    us: int = 0

    def now_us(self) -> int:
        self.us += 1_000_000
        return self.us


class Desk:
    """The verbs with their usual arguments."""

    def __init__(self) -> None:
        self.store = MemoryRegistry()
        self.clock = Ticking()

    def register(self, run: str = "r-1", model: str = "fraud", **more: Any) -> Outcome:
        with self.store.transaction() as work:
            work.save_run(run, model, {})
        given = {"bundle": f"b-{run}", "dataset": "d-1", "author": "ana"} | more
        return register(self.store, model=model, run=run, clock=self.clock, **given)

    def approve(self, number: int, by: str = "ben", reason: str = "seen", **more: Any) -> Outcome:
        given: dict[str, Any] = {"policy": LEAD, "people": PEOPLE} | more
        return approve(self.store, "fraud", number, by=by, reason=reason, clock=self.clock, **given)

    def reject(self, number: int, by: str = "ben", reason: str = "wrong") -> Outcome:
        return reject(self.store, "fraud", number, by=by, reason=reason, clock=self.clock)

    def deploy(self, number: int, by: str = "ops", reason: str = "better", **more: Any) -> Outcome:
        given = {"policy": LEAD} | more
        return deploy(self.store, "fraud", number, by=by, reason=reason, clock=self.clock, **given)

    def challenge(self, number: int, by: str = "ops", reason: str = "try", **more: Any) -> Outcome:
        given = {"policy": LEAD} | more
        return set_challenger(self.store, "fraud", number, by=by, reason=reason, clock=self.clock, **given)

    def states(self) -> list[State]:
        return [version.state for version in self.store.list_versions("fraud")]

    def alias(self, name: Any = "champion") -> int | None:
        alias = self.store.find_alias("fraud", name)
        return alias.version if alias else None

    def told(self) -> list[tuple[str, str, str]]:
        return [(entry.actor, entry.action, entry.subject) for entry in self.store.list_entries()]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    assert verify(desk.store.list_entries()) is None


# ------------------------------------------------------------------------------------------------ register


def test_register_makes_a_version_with_its_lineage_in_the_history(desk: Desk) -> None:
    outcome = desk.register(evidence={"gates": ["average_precision >= 0.55"]})

    assert (outcome.changed, outcome.message) == (True, "registered fraud@1")
    assert outcome.version == desk.store.find_version("fraud", 1)
    [entry] = desk.store.list_entries("fraud@1")
    assert (entry.actor, entry.action, entry.reason) == ("ana", "register", "gates passed")
    assert entry.at_us == outcome.version.created_us == 1_000_000
    assert entry.evidence == {
        "bundle": "b-r-1",
        "run": "r-1",
        "dataset": "d-1",
        "to": "registered",
        "gates": ["average_precision >= 0.55"],
    }


def test_register_again_changes_nothing_and_says_so(desk: Desk) -> None:
    desk.register()

    outcome = desk.register()

    assert (outcome.changed, outcome.message) == (False, "run r-1 is registered already, as fraud@1")
    assert len(desk.store.list_entries()) == 1


def test_register_needs_a_saved_run(desk: Desk) -> None:
    desk.register("r-01")

    with pytest.raises(NotFoundError, match=r"there is no run `r-02`[^$]*did you mean `r-01`"):
        register(
            desk.store, model="fraud", bundle="b", run="r-02", dataset="d", author="ana", clock=desk.clock
        )


# ------------------------------------------------------------------------------------------------- approve


def test_approve_records_who_when_and_why(desk: Desk) -> None:
    desk.register()

    outcome = desk.approve(1, reason="gates green, slice PT checked")

    assert (outcome.changed, outcome.message) == (True, "ben approved fraud@1")
    assert outcome.version.state == "approved"
    [approval] = desk.store.list_approvals("fraud", 1)
    assert (approval.by, approval.role, approval.at_us) == ("ben", "risk-lead", 2_000_000)
    entry = desk.store.list_entries("fraud@1")[-1]
    assert (entry.actor, entry.action, entry.reason) == ("ben", "approve", "gates green, slice PT checked")
    assert entry.evidence == {"from": "registered", "to": "approved", "role": "risk-lead", "author": "ana"}


def test_approve_again_by_the_same_person_changes_nothing_and_says_so(desk: Desk) -> None:
    desk.register()
    desk.approve(1)

    outcome = desk.approve(1, reason="really")

    assert not outcome.changed
    assert outcome.message == "ben approved fraud@1 already, at 1970-01-01T00:00:02Z: 'seen'"
    assert len(desk.store.list_entries()) == 2


def test_approve_by_a_second_person_is_kept_too(desk: Desk) -> None:
    desk.register()
    desk.approve(1)

    assert desk.approve(1, by="cem").changed
    assert [given.by for given in desk.store.list_approvals("fraud", 1)] == ["ben", "cem"]
    assert desk.store.list_entries()[-1].evidence["to"] == "approved"


def test_author_cannot_approve_their_own_version(desk: Desk) -> None:
    desk.register()

    with pytest.raises(RefusedError) as caught:
        desk.approve(1, by="ana")

    assert str(caught.value) == (
        "`ana` is the author, and the policy lets no author approve.\n"
        "  at      fraud@1\n"
        "  has     risk-lead: ana, risk-lead: ben, risk-lead: cem\n"
        "  hint    ben or cem may approve  [HF401]"
    )
    assert desk.states() == ["registered"]
    assert len(desk.store.list_entries()) == 1


def test_approve_without_a_policy_takes_anybody(desk: Desk) -> None:
    desk.register()

    assert desk.approve(1, by="ana", policy=None, people={}).version.state == "approved"


def test_rejected_version_cannot_be_approved(desk: Desk) -> None:
    desk.register()
    desk.reject(1)

    with pytest.raises(ConflictError, match="`fraud@1` is rejected and cannot become approved"):
        desk.approve(1)


def test_version_in_use_may_be_approved_for_a_policy_declared_later(desk: Desk) -> None:
    desk.register("r-1")
    desk.register("r-2")
    desk.approve(1, by="ana", policy=None)
    desk.deploy(1, policy=None)
    desk.deploy(2, policy=None)
    with pytest.raises(RefusedError, match="lacks the approval"):
        desk.deploy(1)

    desk.approve(1, by="ben")

    assert desk.states() == ["retired", "champion"]
    assert desk.deploy(1).message == "fraud@1 is the champion, fraud@2 is retired"


# -------------------------------------------------------------------------------------------------- reject


def test_reject_is_final_and_told(desk: Desk) -> None:
    desk.register()

    assert desk.reject(1).message == "ben rejected fraud@1"
    assert desk.states() == ["rejected"]
    assert desk.told()[-1] == ("ben", "reject", "fraud@1")


def test_reject_again_changes_nothing_and_says_so(desk: Desk) -> None:
    desk.register()
    desk.reject(1)

    outcome = desk.reject(1)

    assert (outcome.changed, outcome.message) == (False, "fraud@1 is rejected already")
    assert len(desk.store.list_entries()) == 2


def test_rejected_challenger_is_withdrawn(desk: Desk) -> None:
    desk.register()
    desk.challenge(1, policy=None)

    desk.reject(1)

    assert desk.alias("challenger") is None
    assert [action for _, action, _ in desk.told()] == ["register", "challenge", "reject", "withdraw"]


def test_champion_cannot_be_rejected(desk: Desk) -> None:
    desk.register()
    desk.deploy(1, policy=None)

    with pytest.raises(ConflictError) as caught:
        desk.reject(1)

    assert caught.value.code == "HF302"
    assert caught.value.hint == "deploy another version first: a model keeps a champion"
    assert desk.alias() == 1


# -------------------------------------------------------------------------------------------------- deploy


def test_first_deploy_makes_a_champion(desk: Desk) -> None:
    desk.register()
    desk.approve(1)

    outcome = desk.deploy(1)

    assert (outcome.changed, outcome.message) == (True, "fraud@1 is the champion")
    assert (desk.alias(), desk.states()) == (1, ["champion"])
    assert desk.store.list_entries()[-1].evidence == {
        "from": "approved",
        "to": "champion",
        "revision": 1,
        "previous": None,
    }


def test_deploy_retires_the_champion_before_it(desk: Desk) -> None:
    for number, run in enumerate(("r-1", "r-2"), start=1):
        desk.register(run)
        desk.approve(number)
        desk.deploy(number)

    assert (desk.alias(), desk.states()) == (2, ["retired", "champion"])
    assert desk.told()[-2:] == [("ops", "retire", "fraud@1"), ("ops", "deploy", "fraud@2")]
    assert [entry.evidence for entry in desk.store.list_entries()[-2:]] == [
        {"from": "champion", "to": "retired", "for": "fraud@2"},
        {"from": "approved", "to": "champion", "revision": 2, "previous": 1},
    ]


def test_deploy_again_changes_nothing_and_says_so(desk: Desk) -> None:
    desk.register()
    desk.deploy(1, policy=None)

    outcome = desk.deploy(1, policy=None)

    assert (outcome.changed, outcome.message) == (False, "fraud@1 is the champion already")
    assert len(desk.store.list_entries()) == 2


def test_deploy_needs_the_approval_that_the_policy_asks_for(desk: Desk) -> None:
    desk.register()
    desk.approve(1, by="ana", policy=ApprovalPolicy("risk-lead"))

    with pytest.raises(RefusedError) as caught:
        desk.deploy(1)

    assert str(caught.value) == (
        "`fraud@1` lacks the approval the policy asks for: by a `risk-lead`, and not its author `ana`.\n"
        "  at      fraud@1\n"
        "  has     approval by ana (risk-lead)\n"
        '  hint    holdfast approve fraud 1 --by NAME --reason "why"  [HF401]'
    )
    assert desk.alias() is None


def test_deploy_without_any_approval_says_that_there_is_none(desk: Desk) -> None:
    desk.register()

    with pytest.raises(RefusedError) as caught:
        desk.deploy(1, policy=ApprovalPolicy("risk-lead"))

    assert caught.value.problem.has == ("no approval",)


@pytest.mark.parametrize("state", ["rejected", "barred"])
def test_deploy_refuses_what_is_rejected_or_barred(desk: Desk, state: State) -> None:
    desk.register()
    desk.approve(1)
    with desk.store.transaction() as work:
        work.set_state("fraud", 1, state)

    with pytest.raises(ConflictError, match=f"`fraud@1` is {state} and cannot become champion") as caught:
        desk.deploy(1)

    assert caught.value.code == "HF302"
    assert caught.value.hint


def test_deployed_challenger_challenges_no_more(desk: Desk) -> None:
    desk.register()
    desk.challenge(1, policy=None)

    desk.deploy(1, policy=None)

    assert (desk.alias("champion"), desk.alias("challenger")) == (1, None)


def test_deploy_upon_an_old_revision_is_refused(desk: Desk) -> None:
    desk.register("r-1")
    desk.register("r-2")
    desk.deploy(1, policy=None)

    with pytest.raises(ConflictError) as caught:
        desk.deploy(2, policy=None, expected_revision=0)

    assert caught.value.code == "HF301"
    assert desk.states() == ["champion", "registered"]


def test_of_two_deploys_at_once_one_wins(desk: Desk) -> None:
    desk.register("r-1")
    desk.register("r-2")
    desk.register("r-3")
    desk.deploy(1, policy=None)

    class Overtaken(MemoryRegistry):
        """Lets another deploy in between the look at the alias and the transaction."""

        @contextmanager
        def transaction(self) -> Iterator[MemoryWork]:
            if desk.states()[1] == "registered":
                desk.deploy(2, policy=None)
            with desk.store.transaction() as work:
                yield work

    overtaken = Overtaken()
    overtaken._tables = desk.store._tables

    with pytest.raises(ConflictError, match="expected revision 1, found 2"):
        deploy(overtaken, "fraud", 3, by="eve", reason="mine", policy=None, clock=desk.clock)

    assert (desk.alias(), desk.states()) == (2, ["retired", "champion", "registered"])


# ---------------------------------------------------------------------------------------------- challenger


def test_challenger_is_set_and_replaced(desk: Desk) -> None:
    desk.register("r-1")
    desk.register("r-2")

    assert desk.challenge(1, policy=None).message == "fraud@1 is the challenger"
    assert desk.challenge(2, policy=None).changed
    assert desk.alias("challenger") == 2
    assert desk.states() == ["registered", "registered"]
    assert desk.store.list_entries()[-1].evidence == {"revision": 2, "previous": 1}


def test_challenger_set_again_changes_nothing_and_says_so(desk: Desk) -> None:
    desk.register()
    desk.challenge(1, policy=None)

    outcome = desk.challenge(1, policy=None)

    assert (outcome.changed, outcome.message) == (False, "fraud@1 is the challenger already")


def test_challenger_needs_approval_as_a_champion_does(desk: Desk) -> None:
    desk.register()

    with pytest.raises(RefusedError, match="lacks the approval"):
        desk.challenge(1)


def test_champion_cannot_challenge_itself(desk: Desk) -> None:
    desk.register()
    desk.deploy(1, policy=None)

    with pytest.raises(ConflictError, match="cannot challenge itself"):
        desk.challenge(1, policy=None)


# ---------------------------------------------------------------------------------------------- every verb


@pytest.mark.parametrize("verb", ["approve", "reject", "deploy", "challenge"])
def test_verb_refuses_an_unknown_version(desk: Desk, verb: str) -> None:
    desk.register()

    with pytest.raises(NotFoundError, match="`fraud` has no version 2"):
        getattr(desk, verb)(2)


@pytest.mark.parametrize("given", [{"by": " "}, {"reason": "\n"}, {"by": ""}])
@pytest.mark.parametrize("verb", ["approve", "reject", "deploy", "challenge"])
def test_verb_needs_a_name_and_a_reason(desk: Desk, verb: str, given: dict[str, str]) -> None:
    desk.register()

    with pytest.raises(
        UsageError, match=f"a change to the registry needs a {'name' if 'by' in given else 'r'}"
    ):
        getattr(desk, verb)(1, **given)


@pytest.mark.parametrize("given", [{"author": ""}, {"reason": ""}])
def test_register_needs_an_author_and_a_reason(desk: Desk, given: dict[str, str]) -> None:
    with pytest.raises(HoldfastError, match="a change to the registry needs"):
        desk.register(**given)
