import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from holdfast.kernel.errors import NotFoundError
from holdfast.training.calibration import reliability
from holdfast.training.metric import (
    METRICS,
    Costs,
    Interval,
    Scored,
    as_values,
    evaluate,
    evaluate_with_intervals,
    get_metric,
    metric_names,
    task_of,
)


def rows_of(y: list[float], score: list[float], **more: object) -> Scored:
    n = len(y)
    given = {"weight": np.ones(n), "day": np.zeros(n, dtype=np.int64)} | more
    return Scored(np.array(y, dtype=float), np.array(score), **given)  # type: ignore[arg-type]


def noisy(n: int, seed: int = 0) -> Scored:
    random = np.random.default_rng(seed)
    p = random.beta(0.5, 5, n)
    y = (random.random(n) < p).astype(float)
    costs = Costs(p > 0.3, 5.0, random.random(n) * 100)
    return Scored(y, p, np.ones(n), np.sort(random.integers(0, 30, n)), 100, costs)


def test_metrics_without_positives_are_not_defined() -> None:
    found = evaluate(rows_of([0, 0], [0.2, 0.4]), "binary")

    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"average_precision", "auc", "calibration_slope"}


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_metrics_of_no_rows_are_not_defined(task: str) -> None:
    found = evaluate_with_intervals(rows_of([], []), task, seed=1)  # type: ignore[arg-type]

    assert set(found.values()) == {Interval(None)}


def test_precision_per_day_is_a_mean_over_days_of_what_each_has() -> None:
    rows = rows_of(
        [1, 0, 1, 0, 1], [0.9, 0.8, 0.1, 0.7, 0.6], day=np.array([0, 0, 0, 1, 1], dtype=np.int64), k=2
    )

    assert evaluate(rows, "binary")["precision@2/day"] == (1 / 2 + 1 / 2) / 2


def test_rows_tied_at_the_last_place_share_it() -> None:
    rows = rows_of([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.5], k=2)

    assert evaluate(rows, "binary")["precision@2/day"] == pytest.approx((1 + 1 / 3) / 2)


def test_entity_takes_one_place_and_leaves_once_found() -> None:
    rows = rows_of(
        [1, 1, 0, 0, 1, 0],
        [0.9, 0.8, 0.7, 0.6, 0.95, 0.5],
        day=np.array([0, 0, 0, 1, 1, 1], dtype=np.int64),
        entity=np.array([0, 0, 1, 1, 0, 2], dtype=np.int64),
        per="card",
        k=2,
    )

    # Day 0: cards 0 (found) and 1. Day 1: card 0 is known by then, which leaves 1 and 2.
    assert evaluate(rows, "binary")["precision@2/day/card"] == (1 / 2 + 0) / 2


def test_entity_metric_is_named_only_where_an_entity_is_declared() -> None:
    assert not any("/day/" in name for name in metric_names("binary", 100, has_costs=False))
    assert "precision@5/day/card" in metric_names("binary", 5, has_costs=False, per="card")
    assert get_metric("precision@5/day/card").unit == "entity"


def test_interval_of_the_entity_metric_resamples_entities_and_leaves_the_others_alone() -> None:
    rows = noisy(3_000)
    of_cards = replace(rows, entity=np.arange(3_000) % 30, per="card")

    plain = evaluate_with_intervals(rows, "binary", seed=3)
    found = evaluate_with_intervals(of_cards, "binary", seed=3)

    assert {name: found[name] for name in plain} == plain
    extra = found["precision@100/day/card"]
    assert extra.low is not None
    assert extra.low < extra.high  # type: ignore[operator]


def test_constant_score_has_the_share_of_positives_as_average_precision() -> None:
    found = evaluate(rows_of([1, 0, 0, 0], [0.25] * 4, k=2), "binary")

    assert found["average_precision"] == 0.25
    assert found["precision@2/day"] == 0.25
    assert found["auc"] == 0.5
    assert found["calibration"] == 0


def test_cost_is_named_only_where_costs_are_declared() -> None:
    assert "cost" not in metric_names("binary", 100, has_costs=False)
    assert metric_names("binary", 100, has_costs=True)[-1] == "cost"
    assert metric_names("regression", 100, has_costs=True) == ("rmse", "mae", "wape")


def test_task_is_binary_when_every_label_is_zero_or_one() -> None:
    assert task_of(np.array([0.0, 1.0])) == "binary"
    assert task_of(np.array([0.0, 0.5])) == "regression"


def test_metric_is_found_by_the_name_it_appears_under() -> None:
    assert get_metric("precision@25/day").name == "precision@k/day"
    assert get_metric("auc") is METRICS["auc"]


@pytest.mark.parametrize("name", ["average_precison", "precision@0/day", "precision@k/day"])
def test_unknown_metric_is_an_error_with_a_hint(name: str) -> None:
    with pytest.raises(NotFoundError, match="did you mean") as caught:
        get_metric(name)

    assert caught.value.code == "HF102"


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = evaluate(noisy(200_000), "binary")
    inside = dict.fromkeys(("auc", "brier", "log_loss", "average_precision", "calibration_slope"), 0)

    for seed in range(1, 41):
        found = evaluate_with_intervals(noisy(800, seed), "binary", seed=seed, repeats=60)
        for name in inside:
            low, high = found[name].low, found[name].high
            assert low is not None
            assert high is not None
            inside[name] += low <= truth[name] <= high

    assert all(33 <= count <= 40 for count in inside.values()), inside


def test_interval_of_a_mean_has_the_width_that_theory_gives() -> None:
    rows = noisy(5_000)

    found = evaluate_with_intervals(rows, "binary", seed=7, repeats=300)["brier"]

    error = np.std((rows.y - rows.score) ** 2) / math.sqrt(5_000)
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.2)


def test_interval_is_absent_where_most_replicates_are_not_defined() -> None:
    found = evaluate_with_intervals(rows_of([1.0], [0.5]), "binary", seed=1)

    assert found["auc"] == Interval(None)
    assert found["brier"] == Interval(0.25, 0.25, 0.25)


def test_reliability_table_has_bins_of_equal_weight_that_add_up() -> None:
    rows = noisy(1_000)

    table = reliability(rows)

    assert [bin.weight for bin in table] == [100.0] * 10
    assert sum(bin.share * bin.weight for bin in table) == pytest.approx(rows.y.sum())
    assert all(low.high < high.low for low, high in pairwise(table))


def test_reliability_keeps_equal_scores_together() -> None:
    table = reliability(rows_of([1, 0, 1, 0], [0.5] * 4))

    assert [(bin.low, bin.high, bin.weight, bin.share) for bin in table] == [(0.5, 0.5, 4.0, 0.5)]


def test_calibration_slope_of_logits_stretched_by_two_is_one_half() -> None:
    random = np.random.default_rng(3)
    margin = random.normal(-1, 1, 50_000)
    y = (random.random(50_000) < 1 / (1 + np.exp(-margin))).astype(float)

    stretched = rows_of(y.tolist(), (1 / (1 + np.exp(-2 * margin))).tolist())

    assert evaluate(stretched, "binary")["calibration_slope"] == pytest.approx(0.5, abs=0.02)


def test_calibration_slope_is_found_from_far_away() -> None:
    rows = rows_of([0, 1] * 20 + [1, 0], [1e-12, 1e-9] * 20 + [1e-13, 1 - 1e-9])

    slope = evaluate(rows, "binary")["calibration_slope"]

    assert math.isfinite(slope)


def test_calibration_slope_is_found_where_plain_steps_run_away() -> None:
    y = np.array([1, 0, 1, 0, 0, 0, 0, 0], dtype=float)
    score = np.array([0.99, 0.1, 0.1, 0.68469626, 0.20117188, 0.9, 0.5, 0.01])
    weight = np.array([1, 1, 2, 1.9375, 4.2265625, 2, 1.25, 1])

    found = evaluate(Scored(y, score, weight, np.zeros(8, dtype=np.int64)), "binary")

    assert found["calibration_slope"] == pytest.approx(0.126934, abs=1e-5)


def test_values_of_metrics_are_nan_where_not_defined() -> None:
    values = as_values({"auc": Interval(None), "brier": Interval(0.1, 0.0, 0.2)})

    assert math.isnan(values["auc"])
    assert values["brier"] == 0.1


def test_regression_metrics_come_with_intervals() -> None:
    found = evaluate_with_intervals(rows_of([1, 2, 30], [1, 3, 20]), "regression", seed=5)

    assert list(found) == ["rmse", "mae", "wape"]
    assert found["wape"].value == pytest.approx(11 / 33)
