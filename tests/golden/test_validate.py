"""Everything that is wrong with a definition is told at once; the whole output is reviewed as text."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.commands import holdfast

BROKEN = Path(__file__).resolve().parents[1] / "resources" / "broken"


def test_every_mistake_is_reported_in_one_run(golden: Callable[[str, str], None]) -> None:
    ran = holdfast("validate", "--project", BROKEN)

    assert ran.status == 1
    assert ran.err == ""
    golden("validate_broken.txt", ran.out)


def test_every_error_has_a_place_in_the_file_and_a_code() -> None:
    problems = holdfast("validate", "--project", BROKEN, "--json").json["problems"]

    assert len(problems) > 60
    for problem in problems:
        assert re.fullmatch(r"project\.py:\d+", problem["place"]), problem
        assert re.fullmatch(r"HF1\d\d", problem["code"]), problem


def test_the_mistakes_cover_every_code_of_a_definition() -> None:
    problems = holdfast("validate", "--project", BROKEN, "--json").json["problems"]

    assert {p["code"] for p in problems} == {f"HF1{n:02d}" for n in range(1, 14)}


def test_what_is_not_valid_has_no_fingerprint() -> None:
    ran = holdfast("validate", "--project", BROKEN, "--json")

    found = ran.json
    severities = [problem["severity"] for problem in found["problems"]]
    assert ran.status == 1
    assert not found["is_valid"]
    assert [found[name] for name in ("project", "fingerprint", "holds")] == [None, None, None]
    assert found["errors"] == severities.count("error") > 60
    assert found["warnings"] == severities.count("warning")
