"""Windows say which instants they cover."""

import pytest

from holdfast.features.window import Window, default_hop
from holdfast.kernel.time import DAY, HOUR, MINUTE


def test_window_without_hop_ends_at_t_and_begins_its_length_before() -> None:
    assert Window(over=HOUR).bounds(10 * HOUR + 1) == (9 * HOUR + 1, 10 * HOUR + 1)


def test_hop_floors_the_far_edge_only_where_there_is_no_offset() -> None:
    window = Window(over=HOUR, hop=5 * MINUTE)

    assert window.bounds(10 * HOUR + 7 * MINUTE) == (9 * HOUR + 5 * MINUTE, 10 * HOUR + 7 * MINUTE)


def test_offset_moves_both_edges_and_hop_floors_them() -> None:
    window = Window(over=2 * DAY, offset=DAY, hop=DAY)

    assert window.bounds(10 * DAY + HOUR) == (7 * DAY, 9 * DAY)


def test_floor_goes_down_before_the_epoch_too() -> None:
    assert Window(over=HOUR, offset=1, hop=HOUR).bounds(-HOUR) == (-3 * HOUR, -2 * HOUR)


@pytest.mark.parametrize(
    ("over", "hop"),
    [
        (12 * HOUR - 1, 5 * MINUTE),
        (12 * HOUR, HOUR),
        (12 * DAY - 1, HOUR),
        (12 * DAY, DAY),
    ],
)
def test_default_hop_grows_with_the_window(over: int, hop: int) -> None:
    assert default_hop(over) == hop
