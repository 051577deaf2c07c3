import pytest
from tests.laws.test_parity import ASK, ONE, plan_of, records_of, total

from holdfast.features.view import FeaturePlan, Measure, View
from holdfast.features.window import Window
from holdfast.serving.parity_trial import Scratch, try_parity
from holdfast.testing.strategies import CARD, event_frame


@pytest.fixture
def plan() -> FeaturePlan:
    return plan_of((View("v", "payments", CARD, (Measure("n", "count", Window(10_000_000)),)),))


def scratch() -> Scratch:
    import polars as pl

    return Scratch({"payments": event_frame(ONE).with_columns(pl.lit("measured").alias("_basis"))})


def test_parity_fails_for_each_way_of_falsifying(plan: FeaturePlan) -> None:
    trials = try_parity(records_of(plan, ONE, [ASK], [2]), plan, total, scratch(), settled=3)

    assert [trial.what for trial in trials] == [
        "nothing changed",
        "a stored value flipped by one bit",
        "an event dropped",
        "an event moved to a later batch",
    ]
    assert all(trial.caught for trial in trials)
    assert [trial.differing for trial in trials] == [0, 1, 3, 3]


def test_trial_leaves_the_scratch_copy_as_it_was(plan: FeaturePlan) -> None:
    copy = scratch()
    before = copy.tables["payments"]

    try_parity(records_of(plan, ONE, [ASK], [2]), plan, total, copy, settled=3)

    assert copy.tables["payments"].equals(before)


def test_trial_without_any_event_seen_says_so(plan: FeaturePlan) -> None:
    trials = try_parity(records_of(plan, ONE, [ASK], [1]), plan, total, scratch(), settled=3)

    assert not trials[2].caught
    assert trials[2].where == "no record saw an event"
