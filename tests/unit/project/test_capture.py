"""Ordinary functions become expressions; what they cannot mean is refused with the remedy."""

from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.kernel.errors import DefinitionError
from holdfast.kernel.expr import to_text
from holdfast.project.capture import MeasureTerm, Row, Stream


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: x.a + 1, "a + 1"),
        (lambda x: 1 - x.a, "1 - a"),
        (lambda x: (x.a > 1) & ~(x.b == "PT"), "a > 1 & ~(b == 'PT')"),
        (lambda x: x["count"] * 2, "count * 2"),
    ],
)
def test_operators_build_expressions(function: Callable[[Any], Any], text: str) -> None:
    found = to_text(function(Row()).expr)

    assert found.replace("(", "").replace(")", "") == text.replace("(", "").replace(")", "")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1 if x.a else 0,
        lambda x: 1 < x.a < 5,
        lambda x: x.a in (1, 2),
        lambda x: x.a and x.b,
        lambda x: x.a or x.b,
        lambda x: not x.a,
    ],
)
def test_truth_of_a_column_is_refused_with_the_remedy(function: Callable[[Any], Any]) -> None:
    with pytest.raises(DefinitionError) as caught:
        function(Row())

    assert caught.value.code == "HF103"
    assert "hf.where" in caught.value.hint
    assert ".isin" in caught.value.hint
    assert caught.value.problem.place.startswith("test_capture.py:")


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda x: x.a.hours(), "did you mean `hour`?"),
        (lambda x: x.a.isin("PT"), "write .isin(['PT'])"),
        (lambda x: float(x.a), "use .log(), .exp(), .abs()"),
        (lambda x: 1 in x.a, "use column.isin([...])"),
    ],
)
def test_what_cannot_be_captured_has_a_hint(function: Callable[[Any], Any], hint: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        function(Row())

    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda s: s.counts(over="1d"), "did you mean `count`?"),
        (lambda s: s.a.summ(over="1d"), "did you mean `sum`?"),
        (lambda s: s.a.sum(over="1d") / 2, "name it in the view, then combine it in a feature"),
        (lambda s: s.a.sum(over="1d") > 2, "name it in the view, then combine it in a feature"),
        (lambda s: 1 if s.count(over="1d") else 0, "combine it in a feature"),
    ],
)
def test_wrong_use_of_an_aggregate_has_a_hint(function: Callable[[Any], Any], hint: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        function(Stream("payments"))

    assert caught.value.hint == hint


def test_aggregate_remembers_source_column_window_and_place() -> None:
    found = Stream("payments").amount.sum(over="1d", offset="2d")

    assert isinstance(found, MeasureTerm)
    assert (found.source, found.column, found.aggregate) == ("payments", "amount", "sum")
    assert (found.over, found.offset) == ("1d", "2d")
    assert found.place.startswith("test_capture.py:")


def test_brackets_reach_a_column_that_a_method_hides() -> None:
    found = Stream("payments")["count"].sum(over="1d")

    assert found.column == "count"


def test_where_takes_columns_and_constants() -> None:
    found = hf.where(Row().a > 1, 0.5, Row().b)

    assert found.expr.op == "where"


def test_a_set_of_values_is_captured_in_one_order() -> None:
    one = Row().a.isin({"b", "a", "c"})
    two = Row().a.isin({"c", "b", "a"})

    assert one.expr == two.expr
