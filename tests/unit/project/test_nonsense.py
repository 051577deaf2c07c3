"""Definitions that compile and mean nothing are refused, with what is wrong and what would be right."""

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.app.workspace import Workspace
from holdfast.testing.hostile_definitions import _PARTS, _TEXT

USUAL = {name: usual for name, (usual, _) in _PARTS.items()}


@pytest.mark.parametrize(
    ("part", "code", "at", "words"),
    [
        ({"term": "x.channel == 'onlin'"}, "HF103", "feature_sets.features.odd", "did you mean `online`?"),
        ({"term": "x.channel.isin(['shop', 'shp'])"}, "HF103", "feature_sets.features.odd", "never holds"),
        ({"limit": "1.5"}, "HF110", "releases.fraud.gates[0]", "can never pass: auc is in [0, 1]"),
        ({"limit": "-1"}, "HF110", "releases.fraud.gates[0]", "can never fail: auc is in [0, 1]"),
        ({"high": "0.4"}, "HF110", "releases.fraud.decision", "neither rise nor fall"),
        ({"low": "-1"}, "HF110", "releases.fraud.decision", "below every score"),
        ({"censored": '"allow"'}, "HF110", "releases.fraud.decision", "is the lowest band"),
        ({"over": '"73000d"'}, "HF105", "views.spending.spent", "50 years"),
        ({"horizon": f'"{"9" * 5000}d"'}, "HF105", "models.fraud.label", "a duration is written like"),
        ({"absent": "10**400"}, "HF103", "models.fraud.label", "is a finite number"),
        ({"term": "sum(x)"}, "HF103", "feature_sets.features", "cannot be iterated"),
        ({"term": "x[0]"}, "HF103", "feature_sets.features", "reached by its name"),
    ],
)
def test_nonsense_is_refused(
    project: Callable[[str], Path], part: dict[str, str], code: str, at: str, words: str
) -> None:
    found = Workspace(project(_TEXT.format(**USUAL | part))).validate()

    errors = [p for p in found if p.severity == "error" and words in p.render()]
    assert [(p.code, p.at) for p in errors] == [(code, at)], found
    assert errors[0].place.startswith("project.py:")


def test_the_usual_definition_is_valid(project: Callable[[str], Path]) -> None:
    assert not [p for p in Workspace(project(_TEXT.format(**USUAL))).validate() if p.severity == "error"]
