"""All independent mistakes of one function are told at once, and none that only follows from another."""

from collections.abc import Callable
from pathlib import Path

from tests.payments import PAYMENTS

from holdfast.app.workspace import Workspace
from holdfast.kernel.errors import Problem

DEFINITIONS = """

@project.view(payments, entity={entity})
def activity(tx):
    return {{{view}}}


@project.features(payments, activity)
def choose(x):
    {before}
    return {{{features}}}
"""
TEXT = PAYMENTS + DEFINITIONS
GOOD = {"entity": "card", "view": '"n": tx.count(over="1h")', "features": '"n": x.n', "before": ""}


def problems(project: Callable[[str], Path], **parts: str) -> list[Problem]:
    return [p for p in Workspace(project(TEXT.format(**GOOD | parts))).validate() if p.severity == "error"]


def test_every_mistake_of_a_view_is_told(project: Callable[[str], Path]) -> None:
    view = """
        "misspelt": tx.amount.summ(over="1h"),
        "keyword": tx.amount.sum(ovr="1h"),
        "nothing": tx.amount.sum(),
        "called": tx.counts(over="1h"),
        "combined": tx.amount.sum(over="1h") / tx.count(over="1h"),
        "column": tx.amont.sum(over="1h"),
        "filtered": tx.amount.sum(over="1h", where=tx.amount.lg() > 1),
        "window": tx.amount.sum(over="1 hour"),
    """

    found = problems(project, view=view, features='"amount": x.amount')

    told = [(p.message, p.place) for p in found]
    assert [message for message, _ in told] == [
        "`amount` has no method `summ`.",
        "`sum` cannot be called so: it takes no `ovr`.",
        "`sum` cannot be called so: missing a required argument: 'over'.",
        "`counts` stands for a column and cannot be called.",
        "`sum` over a window cannot be combined inside its view.",
        "`amount` has no method `lg`.",
        "a duration is written like '90s', '10m', '24h' or '7d'; found '1 hour'.",
        "`column` reads column `amont`, which source `payments` does not have.",
    ]
    first = min(int(place.partition(":")[2]) for _, place in told)
    lines = [int(place.partition(":")[2]) - first for _, place in told]
    assert lines == [0, 1, 2, 3, 4, 6, 7, 5]


def test_what_reads_a_mistaken_feature_is_not_told_again_and_a_typo_beside_it_is(
    project: Callable[[str], Path],
) -> None:
    found = problems(
        project,
        view='"spent": tx.amount.summ(over="1h"), "n": tx.count(over="1h")',
        features='"ratio": x.amount / x.spent, **activity.all, "typo": x.amuont, "after": x.ratio + 1',
    )

    assert [p.message for p in found] == [
        "`amount` has no method `summ`.",
        "`typo` reads `amuont`, which is neither a column nor a feature here.",
    ]


def test_a_typo_is_told_where_the_view_has_a_mistake_of_its_own(project: Callable[[str], Path]) -> None:
    found = problems(project, entity='"card"', features='"n": x.n, "typo": x.amuont')

    assert [p.message.partition(",")[0] for p in found] == [
        "an hf.Entity(...) is expected",
        "`typo` reads `amuont`",
    ]


def test_a_key_that_the_source_lacks_is_told_once(project: Callable[[str], Path]) -> None:
    found = problems(project, entity='hf.Entity("card", key="cardid")')

    assert [(p.at, p.hint) for p in found] == [("views.activity", "did you mean `card_id`?")]


def test_mistakes_on_a_mistake_are_one(project: Callable[[str], Path]) -> None:
    found = problems(project, features='"hour": abs(x.at.hours().foo(3) / 2).bar() if x.at.hours() else 0')

    assert {p.message for p in found} == {"`at` has no method `hours`."}


def test_an_exception_after_a_mistake_is_taken_for_its_consequence(project: Callable[[str], Path]) -> None:
    found = problems(project, before="if x.amount > 5: raise ValueError('no')")

    assert [p.message for p in found] == ["`amount > 5` has no truth value while the definition is read."]


def test_a_loop_that_only_a_value_would_end_is_left(project: Callable[[str], Path]) -> None:
    found = problems(project, before="while x.amount > 5: pass")

    assert [p.message for p in found] == ["`amount > 5` has no truth value while the definition is read."]


def test_a_condition_that_is_too_deep_is_refused(project: Callable[[str], Path]) -> None:
    deep = " + ".join(["tx.amount"] * 900)

    found = problems(project, view=f'"n": tx.count(over="1h", where=({deep}) > 1)')

    assert [p.message for p in found] == ["the condition of `n` is nested more than 200 levels deep."]
