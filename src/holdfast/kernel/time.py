"""Instants and durations: int64 microseconds, UTC, half-open intervals.

The only place where text becomes time. Nothing here reads a clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from holdfast.kernel.errors import DefinitionError

US = 1
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

_UNITS = {"us": US, "ms": 1_000, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)", re.ASCII)
_LONGEST_TEXT = 60
_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?\s*(Z|z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999


def parse_duration(text: str | int | timedelta) -> int:
    """Return a duration in microseconds from ``"90s"``, ``"1h30m"``, ``"7d"``; integers pass through.

    Raises
    ------
    DefinitionError
        If the text is not a duration, is negative, or is not a whole number of microseconds.
    """
    if isinstance(text, timedelta):
        us = (text.days * 86_400 + text.seconds) * SECOND + text.microseconds
    elif isinstance(text, int) and not isinstance(text, bool):
        us = text
    else:
        return _duration_of(str(text).strip())
    if us < 0:
        raise DefinitionError(f"a duration is not negative; found {format_duration(us)}.", code="HF105")
    return us


def _duration_of(text: str) -> int:
    parts = _DURATION.findall(text) if len(text) <= _LONGEST_TEXT else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise DefinitionError(
            f"a duration is written like '90s', '10m', '24h' or '7d'; found {text[:_LONGEST_TEXT]!r}.",
            code="HF105",
            hint="units are us, ms, s, m (minutes), h, d and w",
        )
    total = sum(Fraction(number) * _UNITS[unit] for number, unit in parts)
    if total.denominator != 1:
        raise DefinitionError(f"durations are whole microseconds; found {text!r}.", code="HF105")
    return int(total)


def format_duration(us: int) -> str:
    """Return the shortest exact text of a duration, such as ``7d`` or ``1h30m``."""
    if us == 0:
        return "0s"
    sign, rest, out = ("-" if us < 0 else ""), abs(us), []
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            out.append(f"{count}{unit}")
    return sign + "".join(out)


def parse_instant(text: str, *, assume_utc: bool = False) -> int:
    """Return microseconds since the epoch from an ISO 8601 text with a zone.

    Parameters
    ----------
    text : such as ``2026-11-02T10:15:00Z`` or ``2026-11-02``
    assume_utc : accept a text without zone as UTC (for command-line arguments only, never for data)

    Raises
    ------
    ValueError
        With ``zone`` in its message when only the zone is missing; also outside the years 1 to 9999 UTC.
    """
    match = _INSTANT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not an ISO 8601 time: {text!r}")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if zone is None and not assume_utc:
        raise ValueError(f"no zone in {text!r}")
    offset = 0
    if zone not in (None, "Z", "z"):
        assert zone is not None
        sign = -1 if zone[0] == "-" else 1
        digits = zone[1:].replace(":", "")
        hours, minutes = int(digits[:2]), int(digits[2:])
        if hours > 23 or minutes > 59:
            raise ValueError(f"not an offset from UTC: {zone!r}")
        offset = sign * (hours * HOUR + minutes * MINUTE)
    moment = datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
    )
    micros = int((fraction or "0").ljust(6, "0"))
    us = instant_of(moment) + micros - offset
    if not _FIRST <= us <= _LAST:
        raise ValueError(f"outside the years 1 to 9999 UTC: {text!r}")
    return us


def instant_of(moment: datetime) -> int:
    """Return microseconds since the epoch of an aware datetime, exactly."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def format_instant(us: int) -> str:
    """Return ``2026-11-02T10:15:00Z``, with a fraction only where there is one."""
    moment = _EPOCH + timedelta(microseconds=us)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{text}.{moment.microsecond:06d}Z" if moment.microsecond else f"{text}Z"


def floor_to(us: int, hop: int) -> int:
    """Return the greatest multiple of `hop` (on the UTC epoch) at or before `us`; hop 0 is exact."""
    return us if hop == 0 else us // hop * hop
