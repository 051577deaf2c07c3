"""Events and spine rows are brought together by entity."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.features import grouping
from holdfast.features.grouping import grouped, int64_of, key_codes
from holdfast.kernel.errors import ContractError


def test_keys_of_several_columns_match_only_as_a_whole() -> None:
    spine = pl.DataFrame({"card": ["a", "a", "b"], "shop": [1, 2, 1]})
    events = pl.DataFrame({"card": ["b", "a", "b"], "shop": [1, 2, 2]})

    asked, found, groups = key_codes(["card", "shop"], spine, events)

    assert groups == 3
    assert found.tolist() == [asked[2], asked[1], -1]


def test_a_null_in_a_key_matches_nothing_on_either_side() -> None:
    spine = pl.DataFrame({"card": ["a", None], "shop": [None, 1]}, schema_overrides={"card": pl.String})
    events = pl.DataFrame({"card": ["a", None, "a"], "shop": [None, 1, 1]})

    asked, found, groups = key_codes(["card", "shop"], spine, events)

    assert (asked.tolist(), found.tolist(), groups) == ([-1, -1], [-1, -1, -1], 0)


def test_a_key_that_is_null_in_every_spine_row_needs_no_type() -> None:
    asked, found, _ = key_codes(["card"], pl.DataFrame({"card": [None]}), pl.DataFrame({"card": ["a"]}))

    assert (asked.tolist(), found.tolist()) == ([-1], [-1])


def test_integer_keys_of_different_width_are_the_same_key() -> None:
    asked, found, _ = key_codes(
        ["shop"], pl.DataFrame({"shop": pl.Series([7], dtype=pl.Int32)}), pl.DataFrame({"shop": [7]})
    )

    assert asked.tolist() == found.tolist() == [0]


def test_keys_of_different_kinds_are_refused() -> None:
    with pytest.raises(
        ContractError, match="key `shop` is Int64 in the events, String in the spine"
    ) as caught:
        key_codes(["shop"], pl.DataFrame({"shop": ["7"]}), pl.DataFrame({"shop": [7]}))

    assert caught.value.code == "HF202"


texts = st.sampled_from(["", "a", "b", "ab", "a longer text than is held inline", "ü", None])
numbers = st.sampled_from([0, 1, -1, 2**62, None])
keys = st.lists(st.tuples(texts, numbers), max_size=12)


def meaning(codes: list[int], rows: list[tuple[str | None, int | None]]) -> dict[int, set[object]]:
    """Return the keys that each code stands for."""
    return {code: {key for c, key in zip(codes, rows, strict=True) if c == code} for code in codes}


@pytest.mark.parametrize("collide", [False, True], ids=["hashes differ", "every key has one hash"])
@given(spine=keys, events=keys, chunk=st.integers(1, 4))
def test_codes_are_equal_where_keys_are(
    collide: bool,
    spine: list[tuple[str | None, int | None]],
    events: list[tuple[str | None, int | None]],
    chunk: int,
) -> None:
    schema = {"card": pl.String, "shop": pl.Int64}
    asked_keys, event_keys = (pl.DataFrame(rows, schema, orient="row") for rows in (spine, events))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "CHUNK_ROWS", chunk)
        if collide:
            patch.setattr(
                pl.DataFrame, "hash_rows", lambda self: pl.repeat(1, self.height, dtype=pl.UInt64, eager=True)
            )
        asked, found, groups = key_codes(["card", "shop"], asked_keys, event_keys)

    codes = [*asked.tolist(), *found.tolist()]
    whole = {key for key in spine if None not in key}
    known = meaning(codes, [*spine, *events])
    known.pop(-1, None)
    assert groups == len(known) == len(whole)
    assert sorted(known) == list(range(groups))
    assert all(len(stands_for) == 1 for stands_for in known.values())
    assert set().union(*known.values()) == whole
    rows = [*spine, *events]
    assert all((code >= 0) == (key in whole) for code, key in zip(codes, rows, strict=True))


@pytest.mark.parametrize("late", [0, 1])
def test_rows_are_sorted_by_group_and_then_by_time_whatever_their_order(late: int) -> None:
    codes, time = (
        np.array([1, 0, -1, 1, 0]),
        np.array([10, 20, 30, 40, 50]) - 45 * np.array([0, 0, 0, late, 0]),
    )

    groups = grouped(codes, 2, time)

    assert groups.start.tolist() == [0, 2, 4]
    assert groups.order.tolist() == ([1, 4, 3, 0] if late else [1, 4, 0, 3])


def test_equal_times_are_ordered_by_the_next_column() -> None:
    groups = grouped(np.zeros(3, np.int64), 1, np.array([5, 5, 6]), np.array([9, 8, 1]))

    assert groups.order.tolist() == [1, 0, 2]


small = st.integers(-1, 3)


@given(st.lists(st.tuples(small, small, small, small), min_size=1, max_size=30), st.booleans())
def test_groups_are_sorted_by_every_time_and_ties_keep_their_order(
    rows: list[tuple[int, int, int, int]], in_time: bool
) -> None:
    rows = sorted(rows, key=lambda row: row[1]) if in_time else rows
    codes, *times = np.array(rows, np.int64).T.copy()

    groups = grouped(codes, 4, *times)

    expected = [i for i in sorted(range(len(rows)), key=lambda i: rows[i]) if rows[i][0] >= 0]
    assert groups.order.tolist() == expected
    assert groups.start.tolist() == [sum(0 <= row[0] < group for row in rows) for group in range(5)]


def test_a_missing_time_is_refused() -> None:
    with pytest.raises(ContractError, match="`_t` is missing in 1 of 2 rows"):
        int64_of(pl.Series("_t", [1, None]))
