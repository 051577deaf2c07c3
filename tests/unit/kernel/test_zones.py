"""Tables of zones against the zones themselves."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kernel.errors import NotFoundError
from holdfast.kernel.kernels import CYCLE_US
from holdfast.kernel.time import DAY, SECOND
from holdfast.kernel.zones import PERIOD_START, find_zone, zone_table

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = (
    "Europe/Lisbon",
    "America/New_York",
    "Africa/Casablanca",
    "Asia/Gaza",
    "Africa/Freetown",
    "Etc/GMT+5",
)


def offset_in_table(tz: str, us: int) -> int:
    transitions, offsets = zone_table(tz)
    key = us if us < PERIOD_START else PERIOD_START + (us - PERIOD_START) % CYCLE_US
    return offsets[bisect_right(transitions, key)]


def offset_in_zone(tz: str, us: int) -> int:
    offset = (EPOCH + timedelta(microseconds=us)).astimezone(ZoneInfo(tz)).utcoffset()
    assert offset is not None
    return offset // timedelta(microseconds=1)


@pytest.mark.parametrize("tz", NAMES)
@given(st.integers(-62_135_596_800_000_000 + 2 * DAY, 253_402_300_799_999_999 - 2 * DAY))
def test_table_equals_the_zone_in_any_year(tz: str, us: int) -> None:
    assert offset_in_table(tz, us) == offset_in_zone(tz, us)


@pytest.mark.parametrize("tz", NAMES)
def test_table_equals_the_zone_around_every_change(tz: str) -> None:
    transitions, _ = zone_table(tz)

    for change in transitions:
        for us in (change - SECOND, change - 1, change, change + SECOND):
            assert offset_in_table(tz, us) == offset_in_zone(tz, us)


@pytest.mark.parametrize("tz", NAMES)
def test_table_changes_whenever_the_zone_does(tz: str) -> None:
    for day in range(-20_000, 60_000):
        us = day * DAY
        assert offset_in_table(tz, us) == offset_in_zone(tz, us)


def test_unknown_zone_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(NotFoundError) as caught:
        zone_table("Europe/Lisboa")

    assert caught.value.hint == "did you mean `Europe/Lisbon`?"


@pytest.mark.parametrize("tz", ["", "Nowhere", "America", "../etc/passwd", "/etc/passwd", "a\0b"])
def test_what_is_no_zone_is_not_found(tz: str) -> None:
    assert find_zone(tz) is None
