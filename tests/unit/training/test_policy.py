import math

import numpy as np
import pytest

from holdfast.training.policy import Bands

BANDS = Bands((("block", 0.9), ("review", 0.6), ("allow", 0.0)))


@pytest.mark.parametrize(
    ("score", "name"),
    [(0.9, "block"), (0.89, "review"), (0.6, "review"), (0.1, "allow"), (-1, "allow"), (math.nan, "allow")],
)
def test_highest_band_that_the_score_reaches_decides(score: float, name: str) -> None:
    assert BANDS.decide(score) == name


def test_recommendations_stand_in_the_order_of_the_bands() -> None:
    assert BANDS.in_order(["allow", "block", "review"]) == ["block", "review", "allow"]
    assert BANDS.in_order(["none", "allow", "hold"]) == ["allow", "hold", "none"], "of other bands: behind"


def test_acting_follows_the_decision() -> None:
    scores = np.array([0.95, 0.9, 0.7, 0.6, 0.2, -1, np.nan])

    for act_on in (None, ("block",), ("allow",), ()):
        acting = ("block", "review") if act_on is None else act_on
        expected = [BANDS.decide(score) in acting for score in scores]
        assert BANDS.acts(scores, act_on).tolist() == expected


def test_one_band_never_acts_unless_it_is_named() -> None:
    only = Bands((("allow", 0.0),))

    assert not only.acts(np.array([0.5])).any()
    assert only.acts(np.array([0.5]), ["allow"]).all()
