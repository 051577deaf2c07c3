"""Laws of the registry: any sequence of calls keeps one champion and a whole history."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.kernel.errors import ConflictError, NotFoundError, RefusedError
from holdfast.registry.approval import ApprovalPolicy
from holdfast.registry.ledger import Entry, next_entry, verify
from holdfast.registry.register import Outcome, approve, deploy, register, reject, set_challenger
from holdfast.registry.version import TRANSITIONS, State
from holdfast.testing.registry import MemoryRegistry

PEOPLE = {"lead": ["ana", "ben"], "ops": ["cem"]}
POLICIES = (None, ApprovalPolicy("lead"), ApprovalPolicy("lead", not_author=True), ApprovalPolicy("ops"))

numbers = st.integers(1, 4)
names = st.sampled_from(["ana", "ben", "cem", "eve"])
policies = st.sampled_from(POLICIES)


class Registry(RuleBasedStateMachine):
    """The verbs against a model of dictionaries: state, approvals and challenger as plain values."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryRegistry()
        self.now = 0
        self.state: dict[int, State] = {}
        self.author: dict[int, str] = {}
        self.given: dict[int, set[tuple[str, str]]] = {}
        self.runs: dict[str, int] = {}
        self.challenger: int | None = None
        self.seen: list[Entry] = []

    def now_us(self) -> int:
        self.now += 1
        return self.now

    def call(
        self, expected: type[Exception] | None, changes: bool, verb: Any, *args: Any, **more: Any
    ) -> None:
        """Call a verb; expect an error, or whether it says that something changed."""
        before = self.store.list_entries()
        if expected is not None:
            with pytest.raises(expected):
                verb(self.store, *args, reason="why", clock=self, **more)
            assert self.store.list_entries() == before
            return
        outcome: Outcome = verb(self.store, *args, reason="why", clock=self, **more)
        assert outcome.changed is changes
        assert (self.store.list_entries() != before) is changes
        found = self.store.find_version("m", outcome.version.number)
        assert found == outcome.version

    def fit(self, number: int, policy: ApprovalPolicy | None) -> type[Exception] | None:
        """Why a version may not become champion."""
        if number not in self.state:
            return NotFoundError
        if self.state[number] in ("rejected", "barred"):
            return ConflictError
        author = self.author[number]
        allowed = policy is None or any(
            role == policy.role and not (policy.not_author and by == author)
            for by, role in self.given[number]
        )
        return None if allowed else RefusedError

    @precondition(lambda self: len(self.state) < 4)
    @rule(author=names)
    def register_new(self, author: str) -> None:
        number = len(self.state) + 1
        run = f"r-{number}"
        with self.store.transaction() as work:
            work.save_run(run, "m", {})
        self.call(None, True, register, model="m", bundle="b", run=run, dataset="d", author=author)
        self.runs[run] = number
        self.state[number], self.author[number], self.given[number] = "registered", author, set()

    @rule(number=numbers)
    def register_again(self, number: int) -> None:
        run = f"r-{number}"
        expected = None if run in self.runs else NotFoundError
        self.call(expected, False, register, model="m", bundle="b", run=run, dataset="d", author="eve")

    @rule(number=numbers, by=names, policy=policies)
    def approve(self, number: int, by: str, policy: ApprovalPolicy | None) -> None:
        more = {"by": by, "policy": policy, "people": PEOPLE}
        if number not in self.state:
            self.call(NotFoundError, False, approve, "m", number, **more)
            return
        role = policy.role if policy else ""
        stranger = policy is not None and by not in PEOPLE[policy.role]
        if stranger or (policy is not None and policy.not_author and by == self.author[number]):
            self.call(RefusedError, False, approve, "m", number, **more)
        elif self.state[number] in ("rejected", "barred"):
            self.call(ConflictError, False, approve, "m", number, **more)
        else:
            self.call(None, (by, role) not in self.given[number], approve, "m", number, **more)
            self.given[number].add((by, role))
            if self.state[number] == "registered":
                self.state[number] = "approved"

    @rule(number=numbers, by=names)
    def reject(self, number: int, by: str) -> None:
        state = self.state.get(number)
        if state is None:
            self.call(NotFoundError, False, reject, "m", number, by=by)
        elif state == "champion":
            self.call(ConflictError, False, reject, "m", number, by=by)
        else:
            self.call(None, state != "rejected", reject, "m", number, by=by)
            self.state[number] = "rejected"
            if self.challenger == number:
                self.challenger = None

    @rule(number=numbers, by=names, policy=policies, stale=st.booleans())
    def deploy(self, number: int, by: str, policy: ApprovalPolicy | None, stale: bool) -> None:
        alias = self.store.find_alias("m", "champion")
        revision = alias.revision if alias else 0
        more = {"by": by, "policy": policy, "expected_revision": revision - stale}
        if self.state.get(number) == "champion":
            self.call(None, False, deploy, "m", number, **more)
            return
        expected = self.fit(number, policy) or (ConflictError if stale else None)
        self.call(expected, True, deploy, "m", number, **more)
        if expected is None:
            for other, state in self.state.items():
                if state == "champion":
                    self.state[other] = "retired"
            self.state[number] = "champion"
            if self.challenger == number:
                self.challenger = None

    @rule(number=numbers, by=names, policy=policies)
    def challenge(self, number: int, by: str, policy: ApprovalPolicy | None) -> None:
        expected = ConflictError if self.state.get(number) == "champion" else self.fit(number, policy)
        if expected is None or self.challenger == number:
            self.call(None, self.challenger != number, set_challenger, "m", number, by=by, policy=policy)
            self.challenger = number
        else:
            self.call(expected, False, set_challenger, "m", number, by=by, policy=policy)

    @precondition(lambda self: any(state in ("registered", "approved") for state in self.state.values()))
    @rule(data=st.data())
    def bar(self, data: st.DataObject) -> None:
        able = [number for number, state in self.state.items() if state in ("registered", "approved")]
        number = data.draw(st.sampled_from(able))
        if number == self.challenger:
            return
        with self.store.transaction() as work:
            work.set_state("m", number, "barred")
            told = {"from": self.state[number], "to": "barred"}
            work.append(at_us=0, actor="r", action="bar", subject=f"m@{number}", reason="r", evidence=told)
        self.state[number] = "barred"

    @invariant()
    def states_are_those_of_the_model(self) -> None:
        assert {version.number: version.state for version in self.store.list_versions("m")} == self.state

    @invariant()
    def at_most_one_champion_and_it_is_the_aliased_one(self) -> None:
        alias = self.store.find_alias("m", "champion")
        champions = [number for number, state in self.state.items() if state == "champion"]

        assert champions == ([alias.version] if alias and alias.version else [])

    @invariant()
    def challenger_is_that_of_the_model(self) -> None:
        alias = self.store.find_alias("m", "challenger")

        assert (alias.version if alias else None) == self.challenger

    @invariant()
    def history_is_whole_and_only_grows(self) -> None:
        entries = self.store.list_entries()

        assert verify(entries) is None
        assert entries[: len(self.seen)] == self.seen
        self.seen = entries

    @invariant()
    def history_tells_every_arrow(self) -> None:
        told: dict[str, State] = {}
        for entry in self.store.list_entries():
            if "to" in entry.evidence:
                before = told.get(entry.subject)
                assert entry.evidence.get("from") == before
                assert before in (None, entry.evidence["to"]) or entry.evidence["to"] in TRANSITIONS[before]
                told[entry.subject] = entry.evidence["to"]
        for number, state in self.state.items():
            assert told[f"m@{number}"] == state


TestRegistry = Registry.TestCase
TestRegistry.settings = settings(stateful_step_count=25)


texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3),
    max_leaves=6,
)


def chain(contents: list[tuple[int, str, dict[str, Any]]]) -> list[Entry]:
    entries: list[Entry] = []
    for at_us, text, evidence in contents:
        words = {"actor": text, "action": text, "subject": text, "reason": text}
        entries.append(next_entry(entries[-1] if entries else None, at_us=at_us, evidence=evidence, **words))
    return entries


contents = st.tuples(st.integers(0, 2**52), texts, st.dictionaries(texts, values, max_size=2))
chains = st.lists(contents, min_size=1, max_size=4).map(chain)


@given(chains)
def test_chain_as_written_is_whole(entries: list[Entry]) -> None:
    assert verify(entries) is None


@given(chains, st.data())
def test_any_change_of_any_field_of_any_entry_is_found(entries: list[Entry], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))
    name = data.draw(st.sampled_from([field.name for field in fields(Entry)]))
    old = getattr(entries[index], name)
    new = {**old, "forged": True} if isinstance(old, dict) else old + (1 if isinstance(old, int) else "x")
    changed: dict[str, Any] = {name: new}
    entries[index] = replace(entries[index], **changed)

    problem = verify(entries)

    assert problem is not None
    assert problem.at == f"history[{index + 1}]"


@given(st.lists(st.integers(0, 4), max_size=6))
def test_removal_repetition_or_exchange_of_entries_is_found(order: list[int]) -> None:
    entries = chain([(step, "note", {}) for step in range(5)])
    only_cut_short = order == list(range(len(order)))

    assert (verify(entries[index] for index in order) is None) is only_cut_short
