"""What can be declared and does nothing yet is warned of wherever a definition is judged."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands import holdfast

from holdfast.app.workspace import Workspace
from holdfast.testing.hostile_definitions import _PARTS, _TEXT

USUAL = _TEXT.format(**{name: usual for name, (usual, _) in _PARTS.items()})
DECLARED = {
    "rollout=hf.Canary([1, 100], hold='30m', unit=card)": (
        "releases.fraud.rollout",
        "nothing acts on it yet",
    ),
    "guards=[hf.errors() <= 0.001]": ("releases.fraud.guards", "nothing watches them yet"),
}


def warned(folder: Path) -> list[tuple[str, str]]:
    return [(p.code, p.at) for p in Workspace(folder).validate() if p.severity == "warning"]


def test_nothing_is_warned_of_where_nothing_is_declared(project: Callable[[str], Path]) -> None:
    assert "HF113" not in [code for code, _ in warned(project(USUAL))]


@pytest.mark.parametrize("declared", DECLARED)
def test_what_nothing_acts_on_is_warned_of(declared: str, project: Callable[[str], Path]) -> None:
    at, words = DECLARED[declared]
    folder = project(USUAL.replace("gates=[", f"{declared}, gates=["))

    assert ("HF113", at) in warned(folder)
    for command in (["validate"], ["plan"], ["apply", "--by", "eva"]):
        ran = holdfast(*command, cwd=folder)
        assert ran.status == 0
        assert words in ran.out
        assert "[HF113]" in ran.out


def test_a_search_is_warned_of_with_the_way_by_hand(project: Callable[[str], Path]) -> None:
    folder = project(USUAL.replace("params={", "search={'a': hf.Int(1, 9)}, params={"))

    (found,) = [p for p in Workspace(folder).validate() if p.code == "HF113"]

    assert found.at == "models.fraud"
    assert "--set a=..." in found.hint


def test_plan_gives_warnings_to_programs(project: Callable[[str], Path]) -> None:
    folder = project(USUAL.replace("gates=[", "guards=[hf.errors() <= 0.001], gates=["))

    told = holdfast("plan", "--json", cwd=folder).json

    assert "HF113" in [each["code"] for each in told["warnings"]]
