"""Splits: where the parts lie, and what is said when there is too little time for them."""

import numpy as np
import pytest

from holdfast.datasets.split import PARTS, Boundaries, TimeSplit, resolve
from holdfast.kernel.errors import ContractError
from holdfast.kernel.time import DAY, HOUR, parse_instant


def hourly(days: int) -> np.ndarray:
    return np.arange(days * 24, dtype=np.int64) * HOUR


def test_parts_are_counted_back_from_the_last_row() -> None:
    t = hourly(100)
    end = int(t[-1]) + 1

    found = resolve(TimeSplit(test=20 * DAY, validation=10 * DAY, gap=5 * DAY), t, horizon=7 * DAY)

    assert found == Boundaries(0, end - 35 * DAY, end - 25 * DAY, end - 20 * DAY, end)


def test_lengths_default_to_shares_of_the_span_and_the_gap_to_the_horizon() -> None:
    assert resolve(TimeSplit(), np.arange(1000), horizon=50) == Boundaries(0, 650, 750, 800, 1000)


def test_zero_gap_is_legal() -> None:
    found = resolve(TimeSplit(gap=0), np.arange(100), horizon=50)

    assert found.validation_end == found.test_start


def test_positions_agree_with_names() -> None:
    found = Boundaries(0, 10, 20, 25, 40)
    t = np.arange(40)

    assert [PARTS[index] for index in found.parts(t)] == [found.part_of(int(at)) for at in t]
    assert [found.interval(part) for part in PARTS] == [(0, 10), (10, 20), (20, 25), (25, 40)]


def test_too_short_a_span_says_what_was_found_what_is_needed_and_what_would_fit() -> None:
    with pytest.raises(ContractError) as caught:
        resolve(TimeSplit(test=14 * DAY, validation=7 * DAY), hourly(20), horizon=7 * DAY)

    problem = caught.value.problem
    assert problem.code == "HF212"
    assert "span 19d23h, from 1970-01-01T00:00:00Z to 1970-01-20T23:00:00Z" in problem.message
    assert "needs more than 28d" in problem.message
    assert problem.has == ("test 14d", "gap 7d (the horizon)", "validation 7d")
    assert problem.hint == 'load at least 8d1h more history, or declare test="2d" and validation="1d7h"'


def test_horizon_longer_than_the_span_is_named_as_the_cause() -> None:
    with pytest.raises(ContractError, match="or shorten the label's horizon of 7d"):
        resolve(TimeSplit(), hourly(5), horizon=7 * DAY)


def test_declared_gap_longer_than_the_span_is_named_as_the_cause() -> None:
    with pytest.raises(ContractError, match="or shorten the gap of 7d"):
        resolve(TimeSplit(gap=7 * DAY), hourly(5), horizon=DAY)


@pytest.mark.parametrize("horizon", [7, 100, 999])
def test_span_that_is_needed_is_the_least_that_fails_but_for_rounding(horizon: int) -> None:
    needed = -(-horizon * 100 // 70)

    with pytest.raises(ContractError, match=f"needs more than .*{needed % 1000}us"):
        resolve(TimeSplit(), np.arange(needed - 2), horizon)
    assert resolve(TimeSplit(), np.arange(needed + 2), horizon).train_end > 0


def test_empty_part_is_named_with_the_counts_and_a_length_that_reaches_a_row() -> None:
    t = np.concatenate([hourly(10), 30 * DAY + np.arange(300)])
    split = TimeSplit(test=DAY, validation=2 * DAY, gap=0)

    with pytest.raises(ContractError) as caught:
        resolve(split, t, horizon=0)

    problem = caught.value.problem
    assert problem.code == "HF212"
    assert "the validation part" in problem.message
    assert problem.has == ("train 240 rows", "validation 0 rows", "gap 0 rows", "test 300 rows")
    assert problem.hint.endswith('declare validation="20d"')
    assert resolve(TimeSplit(test=DAY, validation=20 * DAY, gap=0), t, horizon=0)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ContractError, match="no labelled rows"):
        resolve(TimeSplit(), np.array([], dtype=np.int64), horizon=0)


def test_parts_can_be_whole_days_and_training_a_declared_length() -> None:
    t = hourly(30)[5:-3]  # begins and ends inside a day
    split = TimeSplit(test=7 * DAY, validation=0, gap=7 * DAY, train=7 * DAY, every=DAY)

    found = resolve(split, t, horizon=DAY)

    assert found == Boundaries(9 * DAY, 16 * DAY, 16 * DAY, 23 * DAY, 30 * DAY)
    assert found.part_of(16 * DAY) == "gap"


def test_last_row_at_midnight_begins_a_day_of_its_own() -> None:
    assert resolve(TimeSplit(every=DAY), np.append(hourly(30), 30 * DAY), horizon=DAY).end == 31 * DAY


def test_edges_that_are_moved_to_whole_days_keep_the_gap() -> None:
    found = resolve(TimeSplit(test=36 * HOUR, gap=30 * HOUR, every=DAY), hourly(30), horizon=30 * HOUR)

    assert found.test_start - found.validation_end >= 30 * HOUR
    assert all(edge % DAY == 0 for edge in (found.train_end, found.validation_end, found.test_start))


def test_training_length_beyond_the_history_is_named() -> None:
    with pytest.raises(ContractError) as caught:
        resolve(TimeSplit(test=7 * DAY, validation=DAY, gap=DAY, train=60 * DAY), hourly(30), horizon=DAY)

    assert "train 60d" in caught.value.problem.has


def test_only_a_validation_part_declared_empty_may_be_empty() -> None:
    split = TimeSplit(test=DAY, validation=0, gap=0)

    assert resolve(split, hourly(10), horizon=0).validation_end == resolve(split, hourly(10), 0).train_end
    with pytest.raises(ContractError, match="the validation part"):
        resolve(TimeSplit(test=DAY, validation=HOUR // 2, gap=HOUR // 4), hourly(10), horizon=0)


def test_rows_long_after_the_others_are_left_out_by_the_time_that_the_hint_names() -> None:
    split, horizon = TimeSplit(test=8 * DAY, validation=5 * DAY), 7 * DAY
    t = np.append(hourly(60), [300 * DAY, 300 * DAY + HOUR])

    with pytest.raises(ContractError, match="the validation part") as caught:
        resolve(split, t, horizon)

    hint = caught.value.problem.hint
    assert hint.startswith("2 of 1442 rows come after 240d1h without any; leave them out: --as-of 1970-")
    as_of = parse_instant(hint.rpartition(" ")[2])
    assert resolve(split, t[t + horizon <= as_of], horizon) == resolve(split, hourly(60), horizon)


def test_a_span_too_short_for_a_share_of_it_is_refused() -> None:
    with pytest.raises(ContractError, match=r"the test part, .*, has no labelled rows"):
        resolve(TimeSplit(), np.arange(3, dtype=np.int64), 0)
