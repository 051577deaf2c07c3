"""What the text of a number or of a time says, exactly, one value at a time.

Whatever is quicker about usual forms must agree with it (tests/laws/test_rule_table.py).
"""

from __future__ import annotations

import re
from typing import Any

from holdfast.events.rule import BOUNDS, FINITE, INT64_MAX, INT64_MIN, PLACES, TYPE, ZONE
from holdfast.kernel.time import parse_instant

NUMBER = re.compile(r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$")
NOT_FINITE_WORDS = r"(?i:[+-]?(?:nan|inf|infinity))"
NOT_FINITE = re.compile(NOT_FINITE_WORDS)


def fixed_point(text: str, places: int) -> tuple[int, int]:
    """Return (value times 10^places, code) of a number's text, exactly; one of them is 0."""
    if NUMBER.fullmatch(text) is None or text.endswith("\n"):
        return 0, FINITE if NOT_FINITE.fullmatch(text) else TYPE
    mantissa, _, exponent = text.lower().partition("e")
    negative = mantissa.startswith("-")
    whole, _, fraction = mantissa.lstrip("+-").partition(".")
    digits = (whole + fraction).lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return 0, 0
    power_digits = exponent.lstrip("+-").lstrip("0")
    if len(power_digits) > 9:
        return 0, PLACES if exponent.startswith("-") else BOUNDS
    power = (-1 if exponent.startswith("-") else 1) * int(power_digits or "0")
    power += len(digits) - len(kept) - len(fraction) + places
    if power < 0:
        return 0, PLACES
    if len(kept) + power > 19:
        return 0, BOUNDS
    value = int(kept) * 10**power
    value = -value if negative else value
    return (value, 0) if INT64_MIN <= value <= INT64_MAX else (0, BOUNDS)


def text_of(value: Any) -> str:
    """Return a number as the text that names it exactly."""
    return repr(value) if isinstance(value, float) else str(value)


_ANY_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]+))?)?"
    r"(Z|z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"
)


def offset_of(zone: str) -> int:
    """Return the microseconds that a zone such as ``+02:00`` is ahead of UTC."""
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return (-1 if zone[0] == "-" else 1) * minutes * 60_000_000


def instant_text(text: str) -> tuple[int, int]:
    """Return the microseconds UTC of a text, and a code, 0 where it names an instant with its zone."""
    match = _ANY_TIME.fullmatch(text)
    if match is None:
        return 0, TYPE
    day, clock, fraction, zone = match.groups()
    if fraction is not None and clock.count(":") < 2:
        return 0, TYPE
    digits = (fraction or "").rstrip("0")
    try:
        seconds = parse_instant(f"{day}T{clock or '00:00'}", assume_utc=True)
    except ValueError:
        return 0, TYPE
    if zone is None:
        return 0, ZONE
    if len(digits) > 6:
        return 0, PLACES
    return seconds + int(digits.ljust(6, "0")) - (0 if zone in "Zz" else offset_of(zone)), 0
