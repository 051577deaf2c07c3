"""Numbers for words, and the counting sort, on small arrays; compiled and as plain Python."""

from typing import Any

import numpy as np
import pytest

from holdfast.features import grouping_kernels as kernels


def both(kernel: Any) -> Any:
    return pytest.mark.parametrize("run", [kernel, kernel.py_func], ids=["compiled", "plain"])


@both(kernels.counting_order)
def test_counting_order_is_stable_and_leaves_out_negative_codes(run: Any) -> None:
    order, start = run(np.array([2, -1, 0, 2, 0]), 3)

    assert order.tolist() == [2, 4, 0, 3]
    assert start.tolist() == [0, 2, 2, 4]


@both(kernels.number_words)
def test_words_are_numbered_as_they_come_and_rows_without_key_are_not(run: Any) -> None:
    words = np.array([7, -3, 7, 9, -3])

    codes, first, _, _ = run(words, np.array([True, True, True, False, True]))

    assert (codes.tolist(), first.tolist()) == ([0, 1, 0, -1, 1], [0, 1])


@both(kernels.number_words)
def test_numbers_survive_a_table_that_grows_and_words_that_share_a_place(run: Any) -> None:
    words = np.repeat(np.arange(1500) << 20, 2)  # low bits alike, so they crowd

    codes, first, held, slots = run(words, np.ones(3000, np.bool_))
    found = np.empty(3001, np.int64)
    kernels.find_words(np.append(words, 5), np.ones(3001, np.bool_), held, slots, found)

    assert codes.tolist() == np.repeat(np.arange(1500), 2).tolist()
    assert first.tolist() == list(range(0, 3000, 2))
    assert found.tolist() == [*codes.tolist(), -1]


@both(kernels.find_words)
def test_a_row_without_key_is_not_found(run: Any) -> None:
    words = np.array([4, 4])
    _, _, held, slots = kernels.number_words(words, np.ones(2, np.bool_))
    found = np.empty(2, np.int64)

    run(words, np.array([True, False]), held, slots, found)

    assert found.tolist() == [0, -1]


def test_read_only_arrays_run_on_the_one_compiled_signature() -> None:
    codes = np.array([1, 0])
    codes.flags.writeable = False

    kernels.counting_order(codes, 2)

    assert len(kernels.counting_order.signatures) == 1
