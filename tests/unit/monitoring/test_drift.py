import numpy as np
import pytest

from holdfast.datasets.profile import ColumnProfile, profile
from holdfast.monitoring.drift import compare, compare_column, stability_index


def profiled(values: np.ndarray, kind: str = "numeric") -> ColumnProfile:
    names = ("f",) if kind == "categorical" else ()
    return profile(("f",), names, values[:, None], np.zeros(values.size)).columns[0]


@pytest.fixture
def normal() -> np.ndarray:
    return np.random.default_rng(1).normal(size=5_000)


def test_same_distribution_is_not_marked(normal: np.ndarray) -> None:
    fresh = np.random.default_rng(2).normal(size=2_000)

    found = compare_column(profiled(normal), fresh)

    assert not found.is_marked
    assert found.psi is not None
    assert found.psi < 0.05


def test_shifted_distribution_is_marked_with_its_evidence(normal: np.ndarray) -> None:
    found = compare_column(profiled(normal), normal + 1)

    assert found.is_marked
    assert found.why.startswith("PSI ")
    assert found.mean_now == pytest.approx((found.mean_then or 0) + 1)


def test_shift_in_a_small_sample_is_not_believed(normal: np.ndarray) -> None:
    assert not compare_column(profiled(normal), normal[:20] + 1).is_marked


def test_missing_values_that_appear_are_marked(normal: np.ndarray) -> None:
    now = normal[:2_000].copy()
    now[:560] = np.nan

    found = compare_column(profiled(normal), now)

    assert found.why == "missing 0.0% -> 28.0%"


def test_category_never_seen_before_counts_as_a_code_of_its_own() -> None:
    then = np.repeat([1.0, 2.0], 500)
    now = np.repeat([1.0, 3.0], 500)

    found = compare_column(profiled(then, "categorical"), now)

    assert found.is_marked


def test_column_that_was_always_missing_compares_its_share_only() -> None:
    found = compare_column(profiled(np.full(1_000, np.nan)), np.ones(1_000))

    assert found.psi is None
    assert found.why == "missing 100.0% -> 0.0%"


def test_marked_columns_come_first(normal: np.ndarray) -> None:
    x = np.column_stack([normal, normal])
    columns = profile(("same", "shifted"), (), x, np.zeros(normal.size)).columns

    found = compare(columns, np.column_stack([normal, normal + 2]))

    assert [column.name for column in found] == ["shifted", "same"]


def test_index_of_equal_histograms_is_zero() -> None:
    index, chance = stability_index(np.array([10.0, 20.0]), np.array([10.0, 20.0]))

    assert index == 0.0
    assert chance > 0.0
