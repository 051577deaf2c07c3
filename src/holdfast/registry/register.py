"""The verb of the registry: register, approve, reject and deploy versions.

Every function is one transaction: the change and its entries in the history are stored together. Repeating
one that took effect changes nothing and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.kernel.errors import ConflictError, RefusedError, UsageError
from holdfast.kernel.ports import Clock
from holdfast.kernel.time import format_instant
from holdfast.registry.alias import AliasName
from holdfast.registry.approval import Approval, ApprovalPolicy, People, is_enough, may_approve
from holdfast.registry.lookup import get_champion, get_run, get_version
from holdfast.registry.ports import RegistryStore, RegistryView, RegistryWork
from holdfast.registry.version import ModelVersion, State


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call did.

    Attributes
    ----------
    version : the version as it is now
    changed : False where everything was so before
    message : one sentence for people
    """

    version: ModelVersion
    changed: bool
    message: str


@dataclass(frozen=True, slots=True)
class _Act:
    """Who does something, why and when: what all entries of one call share."""

    work: RegistryWork
    at_us: int
    actor: str
    reason: str

    def write(self, action: str, subject: str, evidence: Mapping[str, Any]) -> None:
        """Append one entry."""
        self.work.append(
            at_us=self.at_us,
            actor=self.actor,
            action=action,
            subject=subject,
            reason=self.reason,
            evidence=evidence,
        )

    def move(
        self, version: ModelVersion, to: State, action: str, evidence: Mapping[str, Any]
    ) -> ModelVersion:
        """Change a version's state along a legal arrow, with its entry."""
        moved = version.move(to)
        self.work.set_state(version.model, version.number, to)
        self.write(action, version.name, {"from": version.state, "to": to, **evidence})
        return moved

    def withdraw(self, version: ModelVersion) -> None:
        """Take the name of challenger from a version that has it, with its entry."""
        alias = self.work.find_alias(version.model, "challenger")
        if alias is not None and alias.version == version.number:
            self.work.compare_and_set(version.model, "challenger", None, alias.revision)
            self.write("withdraw", version.name, {"revision": alias.revision + 1})


def register(
    store: RegistryStore,
    *,
    model: str,
    bundle: str,
    run: str,
    dataset: str,
    author: str,
    clock: Clock,
    reason: str = "gates passed",
    evidence: Mapping[str, Any] | None = None,
) -> Outcome:
    """Make a version of a run that passed its gates.

    Parameters
    ----------
    run : id of a run that is saved
    evidence : what the gates saw, as plain JSON values

    Raises
    ------
    NotFoundError
        If the run is not saved.
    """
    _demand_words(author, reason)
    with store.transaction() as work:
        get_run(work, run)
        act = _Act(work, clock.now_us(), author, reason)
        version, new = work.add_version(
            model=model, bundle=bundle, run=run, dataset=dataset, author=author, created_us=act.at_us
        )
        if not new:
            return Outcome(version, False, f"run {run} is registered already, as {version.name}")
        lineage = {"bundle": bundle, "run": run, "dataset": dataset}
        act.write("register", version.name, {**(evidence or {}), **lineage, "to": version.state})
        return Outcome(version, True, f"registered {version.name}")


def approve(
    store: RegistryStore,
    model: str,
    number: int,
    *,
    by: str,
    reason: str,
    policy: ApprovalPolicy | None,
    people: People,
    clock: Clock,
) -> Outcome:
    """Record one person's permission; the first one makes a registered version approved.

    A version in use, or retired, may be approved too: a policy declared later asks for it.

    Raises
    ------
    NotFoundError
        If there is no such version.
    RefusedError
        If the policy does not let this person approve it (HF401).
    ConflictError
        If the version is rejected or barred (HF302).
    """
    _demand_words(by, reason)
    with store.transaction() as work:
        version = get_version(work, model, number)
        problem = may_approve(policy, people, by, version.author)
        if problem is not None:
            raise RefusedError(
                problem.message, code=problem.code, at=version.name, has=problem.has, hint=problem.hint
            )
        if version.state in ("rejected", "barred"):
            version.move("approved")  # no such arrow: says why
        act = _Act(work, clock.now_us(), by, reason)
        approval = Approval(model, number, by, policy.role if policy else "", reason, act.at_us)
        if not work.add_approval(approval):
            return Outcome(version, False, _repeated(work, approval))
        given = {"role": approval.role, "author": version.author}
        if version.state == "registered":
            version = act.move(version, "approved", "approve", given)
        else:
            act.write("approve", version.name, {"from": version.state, "to": version.state, **given})
        return Outcome(version, True, f"{by} approved {version.name}")


def reject(store: RegistryStore, model: str, number: int, *, by: str, reason: str, clock: Clock) -> Outcome:
    """Refuse a version for good; a challenger is withdrawn.

    Raises
    ------
    NotFoundError
        If there is no such version.
    ConflictError
        If it is the champion (HF302): another must take its place first.
    """
    _demand_words(by, reason)
    with store.transaction() as work:
        version = get_version(work, model, number)
        if version.state == "rejected":
            return Outcome(version, False, f"{version.name} is rejected already")
        act = _Act(work, clock.now_us(), by, reason)
        version = act.move(version, "rejected", "reject", {})
        act.withdraw(version)
        return Outcome(version, True, f"{by} rejected {version.name}")


def deploy(
    store: RegistryStore,
    model: str,
    number: int,
    *,
    by: str,
    reason: str,
    policy: ApprovalPolicy | None,
    clock: Clock,
    expected_revision: int | None = None,
    lift_bar: bool = False,
) -> Outcome:
    """Make a version the champion; the champion before it is retired.

    Parameters
    ----------
    lift_bar : the version was rolled back, and the person says with the reason why it may answer again
    expected_revision
        Revision of the alias that the decision was made upon; by default the one at the time of the call.

    Raises
    ------
    NotFoundError
        If there is no such version.
    RefusedError
        If no approval on record is what the policy asks for (HF401).
    ConflictError
        If another deployment came first (HF301), the version is rejected or barred (HF302), or a bar is to be
        lifted that is not there (HF302).
    """
    _demand_words(by, reason)
    if expected_revision is None:
        expected_revision = _revision(store, model, "champion")
    with store.transaction() as work:
        version = get_version(work, model, number)
        if version.state == "champion":
            return Outcome(version, False, f"{version.name} is the champion already")
        act = _Act(work, clock.now_us(), by, reason)
        if lift_bar:
            version = _lift(act, version)
        _demand_fit(work, version, policy)
        before = work.find_alias(model, "champion")
        alias = work.compare_and_set(model, "champion", number, expected_revision)
        message = f"{version.name} is the champion"
        previous = before.version if before else None
        if previous is not None:
            retired = act.move(get_version(work, model, previous), "retired", "retire", {"for": version.name})
            message += f", {retired.name} is retired"
        version = act.move(version, "champion", "deploy", {"revision": alias.revision, "previous": previous})
        act.withdraw(version)
        return Outcome(version, True, message)


def _lift(act: _Act, version: ModelVersion) -> ModelVersion:
    """Return a barred version as retired, with its entry."""
    if version.state != "barred":
        raise ConflictError(
            f"`{version.name}` is {version.state}, so there is no bar to lift.",
            code="HF302",
            at=version.name,
            hint=f"holdfast deploy {version.model} {version.number}",
        )
    return act.move(version, "retired", "lift", {})


def rollback(
    store: RegistryStore,
    model: str,
    *,
    to: int | None = None,
    by: str,
    reason: str,
    clock: Clock,
    expected_revision: int | None = None,
) -> Outcome:
    """Bring an earlier champion back and bar the one that answers now.

    No approval is asked for: the version that comes back was approved when it was deployed.

    Parameters
    ----------
    to : number of the version; by default the champion before this one
    expected_revision
        Revision of the alias that the decision was made upon; by default the one at the time of the call.

    Raises
    ------
    NotFoundError
        If there is no such version, or no champion.
    ConflictError
        If another deployment came first (HF301), or no champion was before, or the version never was one, or
        was rejected or barred (HF302).

    Notes
    -----
    One compare-and-set. Readers of the alias follow within their interval of looking.
    """
    _demand_words(by, reason)
    if expected_revision is None:
        expected_revision = _revision(store, model, "champion")
    with store.transaction() as work:
        failed = get_champion(work, model)
        if to == failed.number:
            return Outcome(failed, False, f"{failed.name} is the champion already")
        chosen = get_version(work, model, _earlier_champion(work, failed) if to is None else to)
        if chosen.state in ("registered", "approved"):
            raise ConflictError(
                f"`{chosen.name}` was never champion, so there is nothing to roll back to.",
                code="HF302",
                at=chosen.name,
                has=(f"{chosen.name} ({chosen.state})",),
                hint=f"holdfast deploy {model} {chosen.number}",
            )
        chosen.move("champion")
        alias = work.compare_and_set(model, "champion", chosen.number, expected_revision)
        act = _Act(work, clock.now_us(), by, reason)
        barred = act.move(failed, "barred", "bar", {"for": chosen.name})
        found = {"revision": alias.revision, "previous": failed.number}
        chosen = act.move(chosen, "champion", "rollback", found)
        act.withdraw(chosen)
        return Outcome(chosen, True, f"{chosen.name} is the champion again, {barred.name} is barred")


def _earlier_champion(view: RegistryView, champion: ModelVersion) -> int:
    """Return the number of the last champion before that can come back."""
    order = [
        int(entry.subject.rpartition("@")[2])
        for entry in view.list_entries()
        if entry.action in ("deploy", "rollback") and entry.subject.rpartition("@")[0] == champion.model
    ]
    able = {version.number for version in view.list_versions(champion.model) if version.state == "retired"}
    for number in reversed(order):
        if number in able:
            return number
    raise ConflictError(
        f"`{champion.model}` has no earlier champion to roll back to.",
        code="HF302",
        at=champion.name,
        has=[f"{version.name} ({version.state})" for version in view.list_versions(champion.model)][-8:],
        hint=f"holdfast deploy {champion.model} NUMBER, once another version is approved",
    )


def set_challenger(
    store: RegistryStore,
    model: str,
    number: int,
    *,
    by: str,
    reason: str,
    policy: ApprovalPolicy | None,
    clock: Clock,
) -> Outcome:
    """Make a version the challenger; it must be fit to become champion.

    Raises
    ------
    NotFoundError
        If there is no such version.
    RefusedError
        If no approval on record is what the policy asks for (HF401).
    ConflictError
        If the version is champion, rejected or barred (HF302), or another challenger came first (HF301).
    """
    _demand_words(by, reason)
    expected_revision = _revision(store, model, "challenger")
    with store.transaction() as work:
        version = get_version(work, model, number)
        if version.state == "champion":
            raise ConflictError(
                f"`{version.name}` is the champion and cannot challenge itself.",
                code="HF302",
                at=version.name,
            )
        before = work.find_alias(model, "challenger")
        if before is not None and before.version == number:
            return Outcome(version, False, f"{version.name} is the challenger already")
        _demand_fit(work, version, policy)
        alias = work.compare_and_set(model, "challenger", number, expected_revision)
        _Act(work, clock.now_us(), by, reason).write(
            "challenge",
            version.name,
            {"revision": alias.revision, "previous": before.version if before else None},
        )
        return Outcome(version, True, f"{version.name} is the challenger")


def _revision(view: RegistryView, model: str, name: AliasName) -> int:
    alias = view.find_alias(model, name)
    return alias.revision if alias else 0


def _demand_words(person: str, reason: str) -> None:
    if not person.strip():
        raise UsageError("a change to the registry needs a name: who makes it?", at="by", hint="--by NAME")
    if not reason.strip():
        raise UsageError(
            "a change to the registry needs a reason, for those who read the history.",
            at="reason",
            hint='--reason "why"',
        )


def _demand_fit(view: RegistryView, version: ModelVersion, policy: ApprovalPolicy | None) -> None:
    """Refuse a version that cannot become champion, or lacks the approval the policy asks for."""
    version.move("champion")
    approvals = view.list_approvals(version.model, version.number)
    if policy is None or is_enough(policy, approvals, version.author):
        return
    but = f", and not its author `{version.author}`" if policy.not_author else ""
    raise RefusedError(
        f"`{version.name}` lacks the approval the policy asks for: by a `{policy.role}`{but}.",
        code="HF401",
        at=version.name,
        has=[f"approval by {approval.by} ({approval.role or 'no role'})" for approval in approvals]
        or ["no approval"],
        hint=f'holdfast approve {version.model} {version.number} --by NAME --reason "why"',
    )


def _repeated(view: RegistryView, again: Approval) -> str:
    """Say when and why somebody approved before."""
    first = next(
        approval
        for approval in view.list_approvals(again.model, again.number)
        if (approval.by, approval.role) == (again.by, again.role)
    )
    when = format_instant(first.at_us)
    return f"{again.by} approved {again.model}@{again.number} already, at {when}: {first.reason!r}"
