"""Profiles: bins that everything falls into, whatever the values."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.datasets.profile import BINS, ColumnProfile, profile

NAN = float("nan")


def numeric(*values: float) -> ColumnProfile:
    x = np.array(values, dtype=np.float64).reshape(-1, 1)
    return profile(["a"], [], x, np.zeros(len(values))).columns[0]


def test_edges_are_quantiles_and_counts_are_even() -> None:
    found = numeric(*range(100))

    assert found.edges == tuple(float(edge) for edge in range(5, 100, 5))
    assert found.counts == (5,) * BINS
    assert (found.minimum, found.maximum, found.mean, found.rows, found.missing) == (0, 99, 49.5, 100, 0)
    assert found.std == np.std(np.arange(100), ddof=1)


def test_rare_value_above_a_common_minimum_has_its_own_bin() -> None:
    found = numeric(*[0.0] * 97, 1.0, 1.0, 1.0)

    assert found.edges == (1.0,)
    assert found.counts == (97, 3)


def test_missing_values_are_counted_apart() -> None:
    found = numeric(NAN, 1.0, NAN, 3.0)

    assert (found.rows, found.missing, found.mean) == (4, 2, 2.0)
    assert sum(found.counts) == 2


def test_constant_column_has_one_bin() -> None:
    found = numeric(7.0, 7.0)

    assert (found.edges, found.counts, found.std) == ((), (2,), 0.0)


def test_column_without_values_has_no_statistics() -> None:
    found = numeric(NAN, NAN)

    assert (found.mean, found.std, found.minimum, found.maximum) == (None, None, None, None)
    assert (found.edges, found.counts) == ((), (0,))


def test_single_value_has_no_deviation() -> None:
    assert numeric(3.0).std is None


def test_statistics_beyond_float64_are_none() -> None:
    found = numeric(1.7e308, 1.7e308)

    assert (found.mean, found.std, found.maximum) == (None, None, 1.7e308)


def test_categorical_column_is_counted_by_code() -> None:
    x = np.array([[2.0], [0.0], [2.0], [NAN]])

    (found,) = profile(["country"], ["country"], x, np.zeros(4)).columns

    assert (found.kind, found.edges, found.counts, found.missing) == ("categorical", (), (1, 0, 2), 1)


def test_label_mean_is_the_positive_share_of_binary_labels_only() -> None:
    x = np.zeros((4, 1))

    assert profile(["a"], [], x, np.array([0.0, 1.0, 0.0, 0.0])).label_mean == 0.25
    assert profile(["a"], [], x, np.array([0.0, 1.5, 0.0, 0.0])).label_mean is None


@given(st.lists(st.floats(allow_infinity=False) | st.sampled_from([0.0, -0.0, 1.0]), min_size=1, max_size=80))
def test_every_value_is_in_the_bin_its_edges_say_and_no_bin_is_empty(values: list[float]) -> None:
    found = numeric(*values)
    present = [value for value in values if value == value]

    assert list(found.edges) == sorted(set(found.edges))
    assert len(found.edges) < BINS
    assert sum(found.counts) == len(present) == found.rows - found.missing
    if present:
        assert all(found.counts)
    for index, count in enumerate(found.counts):
        low = found.edges[index - 1] if index else -np.inf
        high = found.edges[index] if index < len(found.edges) else np.inf
        assert count == sum(low <= value < high for value in present)


@given(st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=50), st.randoms())
def test_order_of_rows_changes_no_bin(values: list[float], random: object) -> None:
    values = [value for value in values if abs(value) != np.inf] or [0.0]
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert numeric(*shuffled).edges == numeric(*values).edges
    assert numeric(*shuffled).counts == numeric(*values).counts
