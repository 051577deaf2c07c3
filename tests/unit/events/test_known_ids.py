"""Known ids against plain sets, whatever the order of days and hashes."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.events.known_ids import KnownIds

HASHES = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20), max_size=30)


@given(st.lists(st.tuples(st.integers(-3, 3), HASHES), max_size=30), HASHES)
def test_holds_what_was_added(added: list[tuple[int, list[int]]], asked: list[int]) -> None:
    known = KnownIds()
    plain: dict[int, list[int]] = {}
    for day, hashes in added:
        known.add(day, np.array(hashes, np.uint64))
        plain.setdefault(day, []).extend(hashes)

    assert known.unknown(range(-3, 4)) == [day for day in range(-3, 4) if day not in plain]
    assert known.size == sum(map(len, plain.values()))
    for day, hashes in plain.items():
        some = [*asked, *hashes[:5]]
        assert known.holds(day, np.array(some, np.uint64)).tolist() == [each in hashes for each in some]
        lengths = [len(run) for run in known.days[day]]
        assert all(longer > 2 * shorter for longer, shorter in pairwise(lengths))


def test_days_least_recently_used_are_forgotten_first() -> None:
    known = KnownIds()
    for day in range(4):
        known.add(day, np.arange(10, dtype=np.uint64))
    known.holds(0, np.zeros(1, np.uint64))

    known.forget(25)

    assert list(known.days) == [3, 0]
    assert known.forgotten == {1, 2}
    assert known.size == 20
    known.add(1, np.zeros(0, np.uint64))
    assert known.forgotten == {2}
    known.forget(0)
    assert list(known.days) == [1]
