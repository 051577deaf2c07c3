import pytest

from holdfast.registry.approval import Approval, ApprovalPolicy, is_enough, may_approve

LEAD = ApprovalPolicy("risk-lead", not_author=True)
PEOPLE = {"risk-lead": ["ana", "ben", "cem"], "ops": ["dia"]}


def test_without_a_policy_anybody_may() -> None:
    assert may_approve(None, {}, "anybody", "anybody") is None


def test_holder_of_the_role_may() -> None:
    assert may_approve(LEAD, PEOPLE, "ben", author="ana") is None


def test_author_may_where_the_policy_does_not_say_otherwise() -> None:
    assert may_approve(ApprovalPolicy("risk-lead"), PEOPLE, "ana", author="ana") is None


@pytest.mark.parametrize("author", ["ana", "Ana"])
def test_author_may_not_where_the_policy_says_so(author: str) -> None:
    problem = may_approve(LEAD, PEOPLE, "ana", author)

    assert problem is not None
    assert problem.code == "HF401"
    assert problem.message == "`ana` is the author, and the policy lets no author approve."
    assert problem.has == ("risk-lead: ana", "risk-lead: ben", "risk-lead: cem")
    assert problem.hint == "ben or cem may approve"


def test_somebody_without_the_role_may_not() -> None:
    problem = may_approve(LEAD, PEOPLE, "dia", author="eli")

    assert problem is not None
    assert problem.message == "`dia` may not approve: the policy asks for role `risk-lead`."
    assert problem.hint == "ana, ben or cem may approve"


def test_name_that_is_almost_right_is_recognised() -> None:
    problem = may_approve(LEAD, PEOPLE, "Ben", author="ana")

    assert problem is not None
    assert problem.hint == "did you mean `ben`?"


def test_role_that_only_the_author_holds_needs_another_person() -> None:
    problem = may_approve(LEAD, {"risk-lead": ["ana"]}, "ana", author="ana")

    assert problem is not None
    assert problem.hint == "nobody else holds `risk-lead`: name another person in `people`"


def test_role_that_nobody_holds_needs_people() -> None:
    problem = may_approve(LEAD, {}, "ana", author="eli")

    assert problem is not None
    assert problem.has == ("risk-lead: nobody",)
    assert problem.hint == 'name them: people={"risk-lead": [...]}'


@pytest.mark.parametrize(
    ("policy", "by", "role", "enough"),
    [
        (None, None, "", True),
        (LEAD, None, "", False),
        (LEAD, "ben", "risk-lead", True),
        (LEAD, "ben", "", False),
        (LEAD, "ana", "risk-lead", False),
        (ApprovalPolicy("risk-lead"), "ana", "risk-lead", True),
        (ApprovalPolicy("cfo"), "ben", "risk-lead", False),
    ],
)
def test_approvals_on_record_are_judged_by_the_policy_of_today(
    policy: ApprovalPolicy | None, by: str | None, role: str, enough: bool
) -> None:
    approvals = [Approval("fraud", 1, by, role, "fine", 1)] if by else []

    assert is_enough(policy, approvals, author="ana") is enough
