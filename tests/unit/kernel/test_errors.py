"""Errors and their codes."""

import inspect

import pytest

from holdfast.kernel import errors
from holdfast.kernel.errors import (
    CODES,
    ContractError,
    DefinitionError,
    HoldfastError,
    NotFoundError,
    Problem,
    UnavailableError,
    did_you_mean,
)

CLASSES = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, HoldfastError)
]


def test_problem_is_rendered_with_fact_place_alternatives_and_hint() -> None:
    problem = Problem(
        "HF102",
        "`spending` reads column `amt`, which source `payments` does not have.",
        at="views.spending",
        place="project.py:12",
        has=("amount", "card_id"),
        hint="did you mean `amount`?",
    )

    assert problem.render() == (
        "`spending` reads column `amt`, which source `payments` does not have.\n"
        "  at      views.spending  (project.py:12)\n"
        "  has     amount, card_id\n"
        "  hint    did you mean `amount`?  [HF102]"
    )


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("HF300", "nothing."), "nothing.  [HF300]"),
        (Problem("HF300", "nothing.", at="$.a"), "nothing.\n  at      $.a  [HF300]"),
        (Problem("HF300", "nothing.", place="p.py:1"), "nothing.\n  at      p.py:1  [HF300]"),
    ],
)
def test_problem_shows_only_what_is_known(problem: Problem, text: str) -> None:
    assert problem.render() == text


@pytest.mark.parametrize("kind", CLASSES)
def test_default_code_of_each_class_is_in_the_table(kind: type[HoldfastError]) -> None:
    assert kind.default_code in CODES


def test_the_tree_stays_small() -> None:
    assert len(CLASSES) <= 14


def test_error_carries_its_problem() -> None:
    error = NotFoundError("no column `a`.", code="HF102", at="x", has=["b"], hint="did you mean `b`?")

    assert (error.code, error.hint, error.problem.has) == ("HF102", "did you mean `b`?", ("b",))
    assert str(error) == error.problem.render()


def test_definition_error_carries_all_problems() -> None:
    problems = [Problem("HF102", "one."), Problem("HF104", "two.", severity="warning")]

    error = DefinitionError(iter(problems))

    assert error.problems == tuple(problems)
    assert error.code == "HF102"
    assert str(error) == "one.  [HF102]\n\ntwo.  [HF104]"


def test_definition_error_of_a_text_has_one_problem() -> None:
    error = DefinitionError("no.", code="HF105", hint="yes")

    assert error.problems == (error.problem,)
    assert error.code == "HF105"


def test_only_the_world_is_worth_a_retry() -> None:
    assert [kind for kind in CLASSES if kind.retryable] == [UnavailableError]
    assert ContractError("x").code == "HF200"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("amont", "did you mean `amount`?"), ("zzz", ""), ("", ""), ("amount", "did you mean `amount`?")],
)
def test_hint_names_the_nearest_candidate(name: str, hint: str) -> None:
    assert did_you_mean(name, iter(["card_id", "amount"])) == hint


@pytest.mark.parametrize(
    ("name", "candidates", "found"),
    [
        ("amt", ("at", "amount", "card_id"), "did you mean `amount`?"),
        ("amuont", ("at", "amount", "account"), "did you mean `amount`?"),
        ("amount", ("country", "card_id"), ""),
        ("label", ("channel", "at"), ""),
    ],
)
def test_did_you_mean_knows_slips_and_abbreviations_and_is_silent_otherwise(
    name: str, candidates: tuple[str, ...], found: str
) -> None:
    assert did_you_mean(name, candidates) == found
