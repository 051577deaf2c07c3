"""What a definition of a forecast may say, and what it is told."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.demand_world import EXAMPLE

from holdfast.app.workspace import Workspace
from holdfast.kernel.errors import Problem

Write = Callable[[str], Path]
TEXT = (EXAMPLE / "project.py").read_text(encoding="utf-8")
FORECAST = 'hf.Forecast(horizons=range(1, 29), origins="5d")'


def problems(project: Write, *changes: tuple[str, str]) -> list[Problem]:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Workspace(project(text)).validate()


def test_example_is_valid_without_warnings() -> None:
    assert Workspace(EXAMPLE).validate() == []


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("hf.Forecast(horizons=[0, 1])", "HF103", "whole numbers from 1"),
        ("hf.Forecast(horizons=[2, 2])", "HF103", "different whole numbers"),
        ("hf.Forecast(horizons=[])", "HF103", "found none"),
        ("hf.Forecast(horizons=[1.5])", "HF103", "found 1.5"),
        ("hf.Forecast(horizons=[1], quantiles=[1.5])", "HF103", "between 0 and 1"),
        ('hf.Forecast(horizons=[1], origins="0s")', "HF105", "longer than 0"),
        ('hf.Forecast(horizons=[1], origins="36h")', "HF105", "no rows of a spine"),
        ("hf.Forecast(horizons=[1], quantiles=[0.5])", "HF113", "asks for quantiles"),
    ],
)
def test_horizons_quantiles_and_origins_are_checked(project: Write, said: str, code: str, words: str) -> None:
    found = problems(project, (FORECAST, said))

    assert [each.code for each in found] == [code]
    assert words in found[0].message


def test_forecast_needs_every_instant_of_a_series(project: Write) -> None:
    found = problems(project, ("include_zero=True", "include_zero=False"))

    assert "leaves out those without events" in found[0].message


def test_forecast_and_season_are_for_rows_of_a_spine(project: Write) -> None:
    found = problems(
        project,
        ("@project.features(grid,", "@project.features(sales,"),
        ("x.target", "x.day"),
        ("x.horizon", "1"),
        ("hf.Label(sales.quantity.sum(", 'hf.Label(key="item_id", source=sales.quantity.sum('),
    )

    assert [each.code for each in found if "hf.Spine" in each.message] == ["HF110", "HF110"]


def test_what_is_known_ahead_says_when_it_was_announced(project: Write) -> None:
    found = problems(
        project,
        (' = hf.arrival_time(doc="from when on the shop knew of it")', ""),
        ("known_ahead=True", 'known_ahead=True, known_after="0s"'),
    )

    assert [(each.code, each.severity) for each in found] == [("HF109", "warning")]
    assert "never ahead" in found[0].message


def test_a_key_may_not_be_called_as_a_column_of_every_grid_row(project: Write) -> None:
    found = problems(project, ("item_id", "target"))

    assert "a row of a spine has of its own" in "".join(each.message for each in found)


def test_a_guard_cannot_compare_with_the_baseline(project: Write) -> None:
    found = problems(
        project,
        (
            "    approval=hf.Approval",
            '    guards=[hf.kpi("waste") <= hf.baseline()],\n    approval=hf.Approval',
        ),
    )

    assert "no baseline answers requests" in found[0].message


def test_a_gate_against_the_baseline_is_enough_for_a_first_version(project: Write) -> None:
    gates = TEXT[TEXT.index('        hf.metric("wape") <= 0.6,') : TEXT.index("    ],\n    approval")]

    assert problems(project, (gates, '        hf.metric("wape") <= hf.baseline(),\n')) == []
    relative = problems(project, (gates, '        hf.metric("wape") <= hf.champion(),\n'))
    assert "no absolute gate" in relative[0].message
