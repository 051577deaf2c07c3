"""Approvals: permissions given by a named person, and who may give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.kernel.errors import Problem, did_you_mean

People = Mapping[str, Sequence[str]]
"""Names by role."""


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """What an approval must be before a version may answer.

    Attributes
    ----------
    role : the approver holds it
    not_author : the approver did not train the version
    """

    role: str
    not_author: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's permission for one version. Never changed, never removed.

    Attributes
    ----------
    role : the role it was given in; empty where no policy was declared
    """

    model: str
    number: int
    by: str
    role: str
    reason: str
    at_us: int


def may_approve(policy: ApprovalPolicy | None, people: People, by: str, author: str) -> Problem | None:
    """Return why a person may not approve a version, or None if they may.

    Without a policy anybody may. Names are compared exactly; only for the question whether somebody is the
    author does case not count.
    """
    if policy is None:
        return None
    holders = tuple(people.get(policy.role, ()))
    able = [name for name in holders if not _is_author(policy, name, author)]
    if by in able:
        return None
    if by in holders:
        message = f"`{by}` is the author, and the policy lets no author approve."
    else:
        message = f"`{by}` may not approve: the policy asks for role `{policy.role}`."
    if able:
        near = did_you_mean(by, able) if by not in holders else ""
        hint = near or f"{_one_of(able)} may approve"
    elif holders:
        hint = f"nobody else holds `{policy.role}`: name another person in `people`"
    else:
        hint = f'name them: people={{"{policy.role}": [...]}}'
    has = tuple(f"{policy.role}: {name}" for name in holders) or (f"{policy.role}: nobody",)
    return Problem("HF401", message, has=has, hint=hint)


def is_enough(policy: ApprovalPolicy | None, approvals: Iterable[Approval], author: str) -> bool:
    """Return whether the approvals on record are what the policy asks for."""
    return policy is None or any(
        approval.role == policy.role and not _is_author(policy, approval.by, author) for approval in approvals
    )


def _is_author(policy: ApprovalPolicy, name: str, author: str) -> bool:
    return policy.not_author and name.casefold() == author.casefold()


def _one_of(names: Sequence[str]) -> str:
    """Join names as a person would: `ana`, `ana or ben`, `ana, ben or cem`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
