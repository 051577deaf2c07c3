"""Time zones as tables of integers: when the offset from UTC changes, and to what.

Read from the tz database installed with Python or the system, once per zone and process, when an expression
is lowered; the interpreter sees only the table.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from holdfast.kernel.errors import NotFoundError, did_you_mean
from holdfast.kernel.time import DAY, SECOND, WEEK, instant_of

_FIRST = instant_of(datetime(1840, 1, 1, tzinfo=UTC))
PERIOD_START = instant_of(datetime(2100, 1, 1, tzinfo=UTC))
"""From here on only rules are in force, and the calendar makes them repeat every 400 years."""
_LAST = instant_of(datetime(2500, 1, 1, tzinfo=UTC))


def find_zone(tz: str) -> ZoneInfo | None:
    """Return the zone of that IANA name, or None."""
    try:
        return ZoneInfo(tz)
    except (OSError, KeyError, ValueError):  # a folder, unknown, not a name at all
        return None


def nearest_zone(tz: str) -> str:
    """Return ``did you mean `x`?`` for the nearest name of a zone, or an empty string."""
    return did_you_mean(tz, sorted(available_timezones()))


@lru_cache(maxsize=64)
def zone_table(tz: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Transitions and offsets of a zone up to the year 2500.

    Parameters
    ----------
    tz : an IANA name, such as ``Europe/Lisbon``

    Returns
    -------
    (n,) transitions, ascending, and (n + 1,) offsets, both in microseconds; offset ``i`` holds before
    transition ``i``, and from it on holds offset ``i + 1``.

    Raises
    ------
    NotFoundError
        If the installed tz database does not have the zone.

    Notes
    -----
    Found by bisection between every other day (week after 2100). A change undone sooner would not be seen;
    the shortest in the database lasted four days (Freetown, 1939).
    Law: equal to `zoneinfo` at any instant (tests/unit/kernel/test_zones.py).
    """
    zone = find_zone(tz)
    if zone is None:
        raise NotFoundError(f"there is no time zone {tz!r}.", code="HF103", hint=nearest_zone(tz))
    transitions: list[int] = []
    before = _FIRST
    offsets = [_offset(zone, before)]
    while before < _LAST:
        after = before + (2 * DAY if before < PERIOD_START else WEEK)
        if _offset(zone, after) != offsets[-1]:
            low, high = before, after
            while high - low > SECOND:
                middle = low + (high - low) // (2 * SECOND) * SECOND
                low, high = (middle, high) if _offset(zone, middle) == offsets[-1] else (low, middle)
            transitions.append(high)
            offsets.append(_offset(zone, high))
            after = high
        before = after
    return tuple(transitions), tuple(offsets)


def _offset(zone: ZoneInfo, us: int) -> int:
    """Offset from UTC at an instant, both in microseconds."""
    offset = datetime.fromtimestamp(us // SECOND, zone).utcoffset()
    assert offset is not None
    return (offset.days * 86_400 + offset.seconds) * SECOND
