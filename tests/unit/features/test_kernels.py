"""Kernels on small arrays: limits, ordering, edges."""

import math
from typing import Any

import numpy as np
import pytest

from holdfast.features import kernels
from holdfast.features.lowering_kernels import (
    AS_OF,
    DISTINCT,
    FIRST,
    KINDS,
    MAX,
    MAX_EVENTS,
    MEAN,
    SINCE,
    STD,
    SUM,
    VAR,
)
from holdfast.features.sketch import estimate

COMPILED = pytest.mark.parametrize(
    "run", [kernels.window_values, kernels.window_values.py_func], ids=["compiled", "plain"]
)


def run_one(
    run: Any,
    values: list[int],
    *,
    times: list[int] | None = None,
    arrived: list[int] | None = None,
    t: int = 1000,
    known: int = 1000,
    span: tuple[int, int, int] = (1000, 0, 0),
    scale: int = 0,
    max_events: int = MAX_EVENTS,
    until: list[int] | None = None,
) -> tuple[tuple[int, int], list[float]]:
    """Run one entity, one window and one lane; all aggregates of numbers."""
    m = len(values)
    at = np.array(times or range(m), np.int64)
    out = np.full((KINDS, 1), np.nan)
    verdict = run(
        at, at if arrived is None else np.array(arrived, np.int64), np.array(until or [], np.int64),
        np.array([0, m]),
        np.array([t]), np.array([known]), np.array([0]), np.array([0, 1]),
        np.array([span]), np.array([values], np.int64), np.empty((0, m), np.bool_),
        np.array([[0, -1, scale, 0]]), np.arange(KINDS).reshape(1, 1, KINDS),
        out, out.view(np.int64), max_events, kernels.PATIENCE, 4,
    )  # fmt: skip
    return tuple(verdict), out[:, 0].tolist()


@COMPILED
def test_aggregates_of_a_window(run: Any) -> None:
    verdict, values = run_one(run, [150, 250, -100], scale=2)

    assert verdict == (kernels.OK, 0)
    assert values[:VAR] == [3.0, 3.0, 1.0, math.sqrt(195000 / 60000), -1.0, 2.5]
    assert values[VAR:SINCE] == [195000 / 60000, 1.5, -1.0, 3.0]
    assert values[AS_OF] == -1.0


@COMPILED
def test_std_is_exact_where_floats_cancel(run: Any) -> None:
    _, values = run_one(run, [2**32, 2**32 - 1, 2**32])

    assert values[STD] == math.sqrt(2 / 6)


@COMPILED
def test_std_of_one_event_is_missing(run: Any) -> None:
    _, values = run_one(run, [7])

    assert math.isnan(values[STD])
    assert values[MEAN] == 7.0


@COMPILED
def test_an_event_at_t_is_outside_and_one_at_the_far_edge_inside(run: Any) -> None:
    _, values = run_one(run, [1, 2, 4, 8], times=[89, 90, 99, 100], t=100, span=(10, 0, 0))

    assert values[SUM] == 6.0


@COMPILED
def test_an_event_is_seen_from_the_instant_it_arrives(run: Any) -> None:
    _, values = run_one(
        run, [1, 2, 4], times=[1, 2, 3], arrived=[50, 51, 49], t=100, known=50, span=(100, 0, 0)
    )

    assert values[SUM] == 5.0


@COMPILED
@pytest.mark.parametrize("patience", [math.inf, -1.0], ids=["scan", "sweep"])
def test_an_event_is_seen_until_it_is_corrected(
    run: Any, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PATIENCE", patience)
    events = {"times": [1, 2, 3], "arrived": [1, 60, 3], "until": [50, 55, kernels.FOREVER], "t": 100}

    _, before = run_one(run, [7, 9, 1], **events, known=49, span=(100, 0, 0))
    _, after = run_one(run, [7, 9, 1], **events, known=50, span=(100, 0, 0))
    _, late = run_one(run, [7, 9, 1], **events, known=1000, span=(100, 0, 0))

    assert [before[k] for k in (SUM, MAX, FIRST, DISTINCT)] == [8, 7, 7, 2]
    assert [after[k] for k in (SUM, MAX, FIRST, DISTINCT)] == [1, 1, 1, 1]
    np.testing.assert_array_equal(late, after)


@COMPILED
def test_different_values_are_estimated_above_the_limit(run: Any) -> None:
    _, four = run_one(run, [5, 5, -3, 2**30, 7])
    _, many = run_one(run, list(range(100)))

    assert four[DISTINCT] == 4.0
    assert 50 < many[DISTINCT] < 200
    assert many[DISTINCT] == estimate(range(100), 4)


@COMPILED
def test_window_that_is_too_full_is_refused(run: Any) -> None:
    assert run_one(run, [1, 1, 1], max_events=4)[0] == (kernels.OK, 0)
    assert run_one(run, [1, 1, 1], max_events=3)[0] == (kernels.TOO_MANY, 0)


@COMPILED
@pytest.mark.parametrize("value", [2**32 + 1, -(2**32) - 1])
def test_value_beyond_the_fixed_point_limit_is_refused(run: Any, value: int) -> None:
    assert run_one(run, [1, value])[0] == (kernels.TOO_LARGE, 0)


def test_read_only_arrays_run_on_the_one_compiled_signature() -> None:
    run_one(kernels.window_values, [1])

    assert len(kernels.window_values.signatures) == 1


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9])
def test_ascending_is_a_stable_sort(size: int) -> None:
    keys = np.arange(size) * 5 % 3

    assert kernels.ascending(keys).tolist() == sorted(range(size), key=lambda i: keys[i])
