"""Metrics equal their definitions: scikit-learn where it has them, plain loops where it has not."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    roc_auc_score,
)

from holdfast.training.calibration import BINS, LEAST_OVERLAP, LEAST_PROBABILITY
from holdfast.training.metric import METRICS, Costs, Scored, evaluate, evaluate_with_intervals

CLOSE = {"rel": 1e-9, "abs": 1e-12}


@st.composite
def scored(draw: st.DrawFn, *, whole_weights: bool = False, least: int = 1) -> Scored:
    """Rows with many ties, some weights of zero, and a few days."""
    n = draw(st.integers(least, 40))
    weights = st.integers(0, 3).map(float)
    if not whole_weights:
        weights = weights | st.floats(0.01, 5.0)
    column = lambda values: np.array(draw(st.lists(values, min_size=n, max_size=n)), dtype=np.float64)  # noqa: E731
    rows = Scored(
        y=column(st.sampled_from((0.0, 1.0))),
        score=column(st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.9, 1.0)) | st.floats(0.0, 1.0)),
        weight=column(weights),
        day=column(st.integers(0, 4)).astype(np.int64),
        k=draw(st.integers(1, 12)),
        costs=Costs(column(st.integers(0, 1)) > 0, draw(st.floats(0, 10)), column(st.floats(0, 100))),
    )
    assume(rows.weight.sum() > 0)
    return rows


def value(name: str, rows: Scored) -> float:
    return METRICS[name].prepare(rows)(rows.weight)


def logits(rows: Scored) -> np.ndarray:
    """Logits of the rows that count."""
    p = np.clip(rows.score[rows.weight > 0], LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.log(p) - np.log1p(-p)


def assert_equal(found: dict[str, float], expected: dict[str, float], rows: Scored) -> None:
    """Compare metrics up to the rounding of sums; that of a slope is of what it makes over all scores."""
    span = np.ptp(logits(rows)) or 1.0
    assert found.keys() == expected.keys()
    for name in found:
        least = 1e-9 * max(1.0, 1 / span) if name == "calibration_slope" else 1e-9
        assert found[name] == pytest.approx(expected[name], rel=1e-6, abs=least, nan_ok=True), name


def has_both(rows: Scored) -> bool:
    return (rows.weight * rows.y).sum() > 0 and (rows.weight * (1 - rows.y)).sum() > 0


@given(scored())
def test_average_precision_equals_scikit_learn(rows: Scored) -> None:
    assume((rows.weight * rows.y).sum() > 0)

    expected = average_precision_score(rows.y, rows.score, sample_weight=rows.weight)

    assert value("average_precision", rows) == pytest.approx(expected, **CLOSE)


@given(scored())
def test_auc_equals_scikit_learn(rows: Scored) -> None:
    assume(has_both(rows))

    expected = roc_auc_score(rows.y, rows.score, sample_weight=rows.weight)

    assert value("auc", rows) == pytest.approx(expected, **CLOSE)


@given(scored())
def test_log_loss_and_brier_equal_scikit_learn(rows: Scored) -> None:
    loss = log_loss(rows.y, rows.score, sample_weight=rows.weight, labels=[0, 1])
    brier = brier_score_loss(rows.y, rows.score, sample_weight=rows.weight, labels=[0, 1])

    assert value("log_loss", rows) == pytest.approx(loss, **CLOSE)
    assert value("brier", rows) == pytest.approx(brier, **CLOSE)


@given(scored(), st.lists(st.floats(-1e6, 1e6), min_size=40, max_size=40))
def test_errors_of_values_equal_scikit_learn(rows: Scored, values: list[float]) -> None:
    y = np.array(values[: len(rows.y)])
    of_values = Scored(y, rows.score, rows.weight, rows.day)

    squared = mean_squared_error(y, rows.score, sample_weight=rows.weight)
    absolute = mean_absolute_error(y, rows.score, sample_weight=rows.weight)

    assert value("rmse", of_values) == pytest.approx(math.sqrt(squared), **CLOSE)
    assert value("mae", of_values) == pytest.approx(absolute, **CLOSE)
    size = sum(w * abs(v) for w, v in zip(rows.weight, y, strict=True))
    if size > 0:
        off = sum(w * abs(v - s) for w, v, s in zip(rows.weight, y, rows.score, strict=True))
        assert value("wape", of_values) == pytest.approx(off / size, **CLOSE)


@given(scored())
def test_precision_per_day_equals_a_loop_over_the_days(rows: Scored) -> None:
    days: dict[int, dict[float, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for y, score, weight, day in zip(rows.y, rows.score, rows.weight, rows.day, strict=True):
        days[day][score].append((y, weight))
    shares = []
    for by_score in days.values():
        left, taken, hits = float(rows.k), 0.0, 0.0
        for score in sorted(by_score, reverse=True):
            whole = sum(weight for _, weight in by_score[score])
            part = min(whole, left)
            if whole > 0 and part > 0:
                hits += part * sum(y * weight for y, weight in by_score[score]) / whole
                taken, left = taken + part, left - part
        if taken > 0:
            shares.append(hits / taken)

    assert value("precision@k/day", rows) == pytest.approx(sum(shares) / len(shares), rel=1e-7, abs=1e-9)


@given(scored(), st.data())
def test_precision_per_entity_equals_a_loop_over_days_and_entities(rows: Scored, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 6), min_size=len(rows.y), max_size=len(rows.y)))
    rows = replace(rows, entity=np.array(numbers, dtype=np.int64), per="card")
    found: set[int] = set()
    shares = []
    for day in sorted(set(rows.day)):
        cards: dict[int, tuple[float, float, float]] = {}
        for y, score, weight, on, card in zip(
            rows.y, rows.score, rows.weight, rows.day, numbers, strict=True
        ):
            if on == day and weight > 0 and card not in found:
                s, label, places = cards.get(card, (-1.0, 0.0, 0.0))
                cards[card] = (max(s, score), max(label, y), max(places, weight))
        left, taken, hits = float(rows.k), 0.0, 0.0
        for score in sorted({s for s, _, _ in cards.values()}, reverse=True):
            tied = {card: (label, places) for card, (s, label, places) in cards.items() if s == score}
            size = sum(places for _, places in tied.values())
            assume(abs(size - left) > 1e-9 or size == left)
            part = min(size, left)
            hits += part / size * sum(label * places for label, places in tied.values())
            taken, left = taken + part, left - part
            if part == size:
                found |= {card for card, (label, _) in tied.items() if label > 0}
        if taken > 0:
            shares.append(hits / taken)

    expected = sum(shares) / len(shares) if shares else math.nan
    assert value("precision@k/day/entity", rows) == pytest.approx(expected, rel=1e-7, abs=1e-9, nan_ok=True)


@given(scored())
def test_calibration_equals_a_loop_over_bins_of_equal_weight(rows: Scored) -> None:
    total = sum(rows.weight)
    bins: dict[int, list[int]] = defaultdict(list)
    for i, score in enumerate(rows.score):
        below = math.fsum(w for w, s in zip(rows.weight, rows.score, strict=True) if s < score)
        tied = math.fsum(w for w, s in zip(rows.weight, rows.score, strict=True) if s == score)
        middle = (below + tied / 2) / total * BINS
        assume(abs(middle - round(middle)) > 1e-9 or all(w.is_integer() for w in rows.weight))
        bins[min(int(middle), BINS - 1)].append(i)
    gaps = [
        abs(math.fsum(rows.weight[i] * (rows.y[i] - rows.score[i]) for i in inside))
        for inside in bins.values()
    ]

    assert value("calibration", rows) == pytest.approx(sum(gaps) / total, rel=1e-9, abs=1e-9)


@given(scored(least=12))
def test_calibration_slope_equals_scikit_learn_where_it_exists(rows: Scored) -> None:
    rows = Scored(rows.y, np.clip(rows.score, 0.01, 0.99), rows.weight, rows.day)
    used = rows.weight > 0
    y, margin = rows.y[used], np.log(rows.score[used] / (1 - rows.score[used]))
    found = value("calibration_slope", rows)

    overlap = -math.inf
    if has_both(rows):
        above, below = margin[y > 0], margin[y == 0]
        overlap = min(below.max() - above.min(), above.max() - below.min())
    least = LEAST_OVERLAP * np.ptp(margin)
    assume(abs(overlap - least) > 1e-12)
    assert math.isnan(found) == (overlap <= least)
    if overlap > least:
        fit = LogisticRegression(C=math.inf, tol=1e-10, max_iter=5_000).fit(
            margin[:, np.newaxis], y, sample_weight=rows.weight[used]
        )
        assert found == pytest.approx(float(fit.coef_[0, 0]), rel=1e-3, abs=1e-3)


@given(scored())
def test_cost_equals_a_loop(rows: Scored) -> None:
    assert rows.costs is not None
    spent = 0.0
    for i in range(len(rows.y)):
        if rows.costs.acted[i] and rows.y[i] == 0:
            spent += rows.weight[i] * rows.costs.false_alarm
        if not rows.costs.acted[i] and rows.y[i] == 1:
            spent += rows.weight[i] * rows.costs.missed[i]

    assert value("cost", rows) == pytest.approx(spent / rows.weight.sum(), **CLOSE)


@given(scored(whole_weights=True), st.randoms(use_true_random=False))
def test_order_of_rows_changes_no_metric(rows: Scored, random: object) -> None:
    order = list(range(len(rows.y)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert rows.costs is not None
    costs = Costs(rows.costs.acted[order], rows.costs.false_alarm, rows.costs.missed[order])
    shuffled = Scored(rows.y[order], rows.score[order], rows.weight[order], rows.day[order], rows.k, costs)

    assert_equal(evaluate(shuffled, "binary"), evaluate(rows, "binary"), rows)


def repeated(rows: Scored) -> Scored:
    times = rows.weight.astype(int)
    costs = rows.costs and Costs(
        rows.costs.acted.repeat(times), rows.costs.false_alarm, rows.costs.missed.repeat(times)
    )
    y, score, day = (column.repeat(times) for column in (rows.y, rows.score, rows.day))
    return Scored(y, score, np.ones(times.sum()), day, rows.k, costs)


@given(scored(whole_weights=True))
def test_weight_of_two_means_two_rows(rows: Scored) -> None:
    assert_equal(evaluate(rows, "binary"), evaluate(repeated(rows), "binary"), rows)


@st.composite
def crowded(draw: st.DrawFn) -> Scored:
    """Rows of a few scores, some of which differ in their last digits only."""
    scores = draw(st.lists(st.sampled_from((0.0, 1e-9, 0.05, 0.25, 0.5, 0.9, 1.0)), min_size=1, max_size=3))
    gap = 10.0 ** draw(st.floats(-17, -3))
    near = st.sampled_from([min(max(score + gap * by, 0.0), 1.0) for score in scores for by in (-1, 0, 1)])
    row = st.tuples(st.sampled_from((0.0, 1.0)), near, st.sampled_from((1.0, 2.0, 3.0)))
    y, score, weight = np.array(draw(st.lists(row, min_size=2, max_size=30))).T
    return Scored(y, score, weight, np.zeros(len(y), np.int64))


# Both were found; the slope was nan or -1.83, and -12.59 or -12.21, as the sums were rounded.
@example(
    Scored(
        np.array([1.0, 0, 0, 1, 0, 1, 1]),
        np.array([0.25000000000000006, 0.25, *[0.25000000000000006] * 4, 1e-09]),
        np.array([1.0, 3, 1, 3, 1, 1, 2]),
        np.zeros(7, np.int64),
    )
)
@example(
    Scored(
        np.array([1.0, 0, 1, 1, 0, 1]),
        np.array([*[0.49999999999999994] * 2, 0.5000000000000001, *[0.49999999999999994] * 2, 0.05]),
        np.array([2.0, 3, 1, 2, 2, 3]),
        np.zeros(6, np.int64),
    )
)
@given(crowded())
def test_weight_of_two_means_two_rows_where_scores_are_nearly_equal(rows: Scored) -> None:
    both = ({"calibration_slope": value("calibration_slope", each)} for each in (rows, repeated(rows)))

    assert_equal(*both, rows)


@given(
    st.sampled_from((1e-9, 0.01, 0.3, 0.5, 0.9)),
    st.floats(-9, -2),
    st.tuples(*[st.integers(1, 50).map(float)] * 4),
)
def test_slope_of_two_scores_joins_the_logits_of_their_shares(
    low: float, gap: float, counts: tuple[float, ...]
) -> None:
    score = np.array([low, low, low * (1 + 10.0**gap), low * (1 + 10.0**gap)])
    rows = Scored(np.array([1.0, 0, 1, 0]), score, np.array(counts), np.zeros(4, np.int64))
    x = logits(rows)

    expected = math.log(counts[2] * counts[1] / (counts[3] * counts[0]))

    assert value("calibration_slope", rows) * (x[2] - x[0]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(scored(), st.integers(0, 2**63))
def test_intervals_hold_their_value_and_depend_on_the_seed_alone(rows: Scored, seed: int) -> None:
    found = evaluate_with_intervals(rows, "binary", seed=seed, repeats=20)

    assert found == evaluate_with_intervals(rows, "binary", seed=seed, repeats=20)
    for name, interval in found.items():
        plain = value("precision@k/day" if name.startswith("precision") else name, rows)
        assert (interval.value is None) == math.isnan(plain)
        if interval.low is not None and interval.high is not None:
            assert interval.value is not None
            assert interval.low <= interval.value <= interval.high
