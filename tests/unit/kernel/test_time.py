"""Instants and durations."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kernel.errors import DefinitionError
from holdfast.kernel.time import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    floor_to,
    format_duration,
    format_instant,
    instant_of,
    parse_duration,
    parse_instant,
)

FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("0s", 0), ("90s", 90 * SECOND), ("1h30m", 90 * MINUTE), ("7d", 7 * DAY), ("1w", 7 * DAY),
        ("5ms", 5_000), ("3us", 3), ("0.5s", 500_000), ("1.5h", 90 * MINUTE), (" 10m ", 10 * MINUTE),
        (12, 12), (timedelta(days=1, microseconds=1), DAY + 1),
        ("0.1s", 100_000), ("1.1s", 1_100_000), ("4.1d", 4 * DAY + 144 * MINUTE),
        ("9007199254740993us", 2**53 + 1),
    ],
)  # fmt: skip
def test_duration_is_parsed_exactly(text: str | int | timedelta, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize(
    "text", ["", "7", "d", "7 days", "-1h", "1h-", "h1", "0.5us", "1e3s", "1.2345678s", "٣s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_duration(text)

    assert caught.value.code == "HF105"


@pytest.mark.parametrize("negative", [-1, timedelta(microseconds=-1), True])
def test_negative_duration_is_refused_in_any_form(negative: int | timedelta) -> None:
    with pytest.raises(DefinitionError):
        parse_duration(negative)


@given(st.integers(0, 10**18))
def test_duration_survives_its_text(us: int) -> None:
    assert parse_duration(format_duration(us)) == us


@pytest.mark.parametrize(
    ("us", "text"),
    [(0, "0s"), (HOUR + 30 * MINUTE, "1h30m"), (7 * DAY, "7d"), (-5, "-5us"), (1_001, "1ms1us")],
)
def test_duration_is_written_shortly(us: int, text: str) -> None:
    assert format_duration(us) == text


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31 19:00-0500", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.5z", 500_000),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00Z", FIRST),
        ("9999-12-31T23:59:59.999999Z", LAST),
    ],
)
def test_instant_is_parsed(text: str, us: int) -> None:
    assert parse_instant(text, assume_utc=True) == us


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-1-1", "2026-13-01T00:00Z", "2026-02-30Z", "2026-01-01T24:00Z", "2026-01-01T10Z",
        "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.1234567Z", "2026-01-01T00:00:00+25:00",
        "2026-01-01T00:00:00+01:75", "٢٠٢٦-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-00:01",
    ],
)  # fmt: skip
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_instant(text)


def test_instant_without_zone_says_that_only_the_zone_is_missing() -> None:
    with pytest.raises(ValueError, match="zone"):
        parse_instant("2026-01-01T00:00:00")


@given(st.integers(FIRST, LAST))
def test_instant_survives_its_text(us: int) -> None:
    assert parse_instant(format_instant(us)) == us


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_instant_equals_the_parser_of_python(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))

    assert parse_instant(aware.isoformat()) == instant_of(aware)


def test_instant_of_an_aware_datetime_is_exact() -> None:
    assert instant_of(datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)) == LAST


@given(st.integers(FIRST, LAST), st.integers(0, 400 * DAY))
def test_floor_is_the_greatest_multiple_at_or_before(us: int, hop: int) -> None:
    floored = floor_to(us, hop)

    if hop == 0:
        assert floored == us
    else:
        assert floored % hop == 0
        assert floored <= us < floored + hop
