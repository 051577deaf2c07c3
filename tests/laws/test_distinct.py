"""Laws of counting different values: kernels and oracle agree, and no order or cut changes the number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.features import distinct_kernels as kernels
from holdfast.features import sketch
from holdfast.features.aggregate import EXACT_DISTINCT
from holdfast.features.materialize import measures_as_known
from holdfast.features.online import compile_state, fold, read_measures
from holdfast.features.view import Measure, View
from holdfast.features.window import Window
from holdfast.kernel.time import DAY, HOUR
from holdfast.testing.oracle import measures_of
from holdfast.testing.strategies import CARD, PAYMENT, event_frame, spine_frame

words = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
sets = st.lists(words, max_size=40)
limits = st.sampled_from((1, 2, 4, 8, 16))


def held(values: Sequence[int], exact: int) -> tuple[np.ndarray, int]:
    """Return a set of these values, and its size as kernels note it."""
    array, n = np.zeros(exact, np.int64), 0
    for value in values:
        n = kernels.add_value(array, 0, n, value, exact, np.empty(exact, np.int64))
    return array[: exact if n < 0 else n], n


def size(array: np.ndarray, n: int, exact: int) -> int:
    return int(kernels.size_of(array, 0, n, exact, np.empty(kernels.RANKS, np.int64)))


@given(words)
def test_values_are_scrambled_alike(value: int) -> None:
    left, right = kernels.scramble(value)

    assert (left, right) == sketch.scramble(value)
    assert kernels.rank_of(left) == 33 - left.bit_length()


@given(sets, limits)
def test_size_is_exact_up_to_the_limit_and_the_oracle_s_estimate_above(values: list[int], exact: int) -> None:
    array, n = held(values, exact)

    different = set(values)
    expected = len(different) if len(different) <= exact else sketch.estimate(different, exact)
    assert size(array, n, exact) == expected


@given(sets, limits, st.randoms(use_true_random=False))
def test_order_and_repetition_change_no_word(values: list[int], exact: int, random: Any) -> None:
    mixed = random.sample(values, len(values)) + values[:3]

    (one, n), (other, m) = held(values, exact), held(mixed, exact)

    assert n == m
    assert one.tolist() == other.tolist()


@given(sets, sets, sets, limits)
def test_merging_is_associative_and_equals_the_set_of_all(
    a: list[int], b: list[int], c: list[int], exact: int
) -> None:
    def merged(left: tuple[np.ndarray, int], right: tuple[np.ndarray, int]) -> tuple[np.ndarray, int]:
        array = np.zeros(exact, np.int64)
        array[: left[0].size] = left[0]
        n = kernels.add_set(array, 0, left[1], right[0], 0, right[1], exact, np.empty(exact, np.int64))
        return array[: exact if n < 0 else n], n

    x, y, z = held(a, exact), held(b, exact), held(c, exact)

    for found in (merged(merged(x, y), z), merged(x, merged(y, z)), merged(z, merged(y, x))):
        whole = held([*a, *b, *c], exact)
        assert found[1] == whole[1]
        assert found[0].tolist() == whole[0].tolist()


@pytest.mark.parametrize("n", [EXACT_DISTINCT, EXACT_DISTINCT + 1, 1_000, 20_000])
def test_many_values_are_counted_within_a_tenth_and_alike_everywhere(n: int) -> None:
    measures = tuple(
        Measure(name, "distinct", window, column)
        for name, window, column in (
            ("numbers", Window(2 * DAY, 0, HOUR), "items"),
            ("texts", Window(2 * DAY, 0, HOUR), "country"),
        )
    )
    view = View("v", "payments", CARD, measures)
    content = {"card_id": "a", "shop": 1, "amount": None, "rate": None, "weight": None, "online": True}
    rows = [
        {
            "tx_id": str(i),
            **content,
            "items": i,
            "country": str(i),
            "at": i * 5_000_000,
            "_arrived": i,
            "_batch": 1,
        }
        for i in range(n)
    ]
    t = n * 5_000_000
    frame = event_frame(rows)
    plan = compile_state([view], {"payments": PAYMENT}, ring=8)
    (blob,) = fold(plan, "payments", frame).values()

    asked = spine_frame([{"card_id": "a", "shop": 1, "_t": t, "_known_at": t}])
    offline = measures_as_known([view], {"payments": PAYMENT}, asked, {"payments": frame})
    online = read_measures(plan, [blob], t)

    assert online.inexact == 0
    assert online.values.tolist() == [float(offline[m.name][0]) for m in measures]
    truth = measures_of(view, PAYMENT, rows, ["a"], t, t)
    assert online.values.tolist() == list(truth.values())
    for value in online.values:
        assert value == n if n <= EXACT_DISTINCT else abs(value - n) < 0.1 * n
