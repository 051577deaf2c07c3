"""Results are tables for people and plain JSON values for programs."""

import json
import math
from dataclasses import dataclass
from types import MappingProxyType

import pytest

from holdfast.app.outcomes import History
from holdfast.cli import render
from holdfast.kernel.errors import Problem
from holdfast.kernel.time import DAY, SECOND
from holdfast.registry.ledger import Entry
from holdfast.serving.predict import PredictReport


@dataclass(frozen=True)
class Noun:
    value: object

    @property
    def adds_up(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, None),
        ((1, 2.5, "x", None, True), [1, 2.5, "x", None, True]),
        ({1: (2,)}, {"1": [2]}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Noun((Noun(1),)), {"value": [{"value": 1, "adds_up": True}], "adds_up": True}),
        (Problem("HF100", "m"), None),
    ],
)
def test_results_become_json_values(value: object, expected: object) -> None:
    found = render.to_json(value)

    assert json.loads(json.dumps(found, allow_nan=False)) == found
    if not isinstance(value, Problem):
        assert found == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "missing"),
        (math.nan, "missing"),
        (1200.0, "1,200"),
        (123.456, "123.46"),
        (1.234, "1.23"),
        (0.5, "0.500"),
    ],
)
def test_numbers_have_the_digits_a_person_reads(value: float | None, text: str) -> None:
    assert render.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (math.nan, "n/a"), (0.5, ".500"), (-0.25, "-.250"), (1.0, "1.000"), (10.5, "10.500")],
)
def test_metrics_have_three_decimals(value: float | None, text: str) -> None:
    assert render.metric(value) == text


def test_table_aligns_columns() -> None:
    found = render.table([("a", "1"), ("bcd", "23")], head=("x", "n"), right=(1,))

    assert found.splitlines() == ["x     n", "a     1", "bcd  23"]


def test_table_without_rows_is_its_head() -> None:
    assert render.table([]) == ""
    assert render.table([], head=("a", "b")) == "a  b"


@pytest.mark.parametrize(("n", "text"), [(0, "0 rows"), (1, "1 row"), (2000, "2,000 rows")])
def test_counts_have_a_plural(n: int, text: str) -> None:
    assert render.count(n, "row") == text


def test_history_without_entries_says_so() -> None:
    found = render.history(History((), None))

    assert found == "nothing has happened yet\n0 entries, chain verified"


def entry(sequence: int, at_us: int) -> Entry:
    return Entry(sequence, at_us, "eva", "apply", "shop", "", {}, "", "")


def test_history_says_where_the_clock_was_set_back() -> None:
    steady = (entry(1, 5 * DAY), entry(2, 5 * DAY - SECOND), entry(3, 6 * DAY))

    shown = render.history(History((*steady, entry(4, DAY)), None, 4))

    assert shown.splitlines()[-1] == ("the project's clock was set back before entry 4; entries are in order")
    assert "set back" not in render.history(History(steady, None, 3))


def test_prediction_of_nothing_points_nowhere() -> None:
    assert render.predicted(PredictReport("m", 1, 5, 5, 0)) == "m@1: 5 rows, 0 predicted, 5 answered before"


def test_prediction_of_an_empty_interval_says_where_the_rows_are() -> None:
    found = PredictReport("m", 1, 0, 0, 0, since=40 * DAY, span=(DAY, 3 * DAY + 5))

    assert render.predicted(found).splitlines() == [
        "m@1: 0 rows, 0 predicted, 0 answered before",
        "  the interval holds none of the rows, which are of 1970-01-02 to 1970-01-04",
    ]
