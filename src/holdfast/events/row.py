"""One request row: strict JSON in, stored values or the reason why not out.

The same rule table judges files and requests. A row in a usual form is decided here in plain Python, within
microseconds; any other value is decided exactly, as the vectorised judge does it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec

from holdfast.events.exact import NOT_FINITE, NUMBER, fixed_point, instant_text
from holdfast.events.identity import digest_row
from holdfast.events.reason import Reason, expected, explain
from holdfast.events.rule import (
    BOUNDS,
    FINITE,
    FIRST_INSTANT,
    LAST_INSTANT,
    LENGTH,
    MISSING,
    ONE_OF,
    PLACES,
    TYPE,
    Rule,
    RuleTable,
)
from holdfast.kernel.errors import did_you_mean

MAX_ROWS: Final = 1_000
"""Greatest number of rows of one request."""
_NAMED = 8
"""Columns that a hint names at most; it counts the others."""

Row = dict[str, Any]
"""A parsed row: text, int, `Number`, bool, None, or what should not be there."""
Stored = dict[str, Any]
"""Stored values of every column: fixed point and times as int, text, bool, float, or None."""
Parsed = Row | Reason


class Number(str):
    """A JSON number as it was written, so that it is never rounded on its way in."""

    __slots__ = ()


_DECODER = msgspec.json.Decoder(float_hook=Number)


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys, those named twice among them."""


_PAIRS = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_float=Number, parse_int=Number, parse_constant=Number
)
_NEGATIVE_ZERO = re.compile(rb"-0(?![.0-9eE])")


def read_row(body: bytes) -> Parsed:
    """Return the row of a JSON object, or the reason why it cannot be read (HF214).

    Notes
    -----
    A decoder keeps the last of duplicate keys, so they are found by counting: in a flat object without
    escapes, colons outside of texts are exactly as many as there are members. Whatever does not add up is
    read again with every key kept.
    """
    try:
        found = _DECODER.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _read_carefully(body)
    if type(found) is not dict or b"\\" in body or _NEGATIVE_ZERO.search(body):
        return _read_carefully(body)
    colons = len(found)
    for key, value in found.items():
        if type(value) is str:
            colons += value.count(":")
        if ":" in key:
            colons += key.count(":")
    return found if colons == body.count(b":") else _read_carefully(body)


def read_rows(body: bytes) -> list[Parsed] | Reason:
    """Return the rows of a JSON array of objects, each read or with its reason; or why there are none."""
    try:
        found = _DECODER.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        found = None
    if type(found) is not list or b"\\" in body or _NEGATIVE_ZERO.search(body) or not _adds_up(found, body):
        parsed = _careful(body)
        if isinstance(parsed, Reason):
            return parsed
        if type(parsed) is not list:
            return Reason("HF214", "", f"the body is {_kind(parsed)}, expected an object or an array.")
        found = [_whole(item, f"row {place}") for place, item in enumerate(parsed)]
    if not 0 < len(found) <= MAX_ROWS:
        return Reason("HF208", "", f"an array must have 1 to {MAX_ROWS:,} rows, found {len(found):,}.")
    return found


def _adds_up(rows: list[Any], body: bytes) -> bool:
    colons = 0
    for row in rows:
        if type(row) is not dict:
            return False
        colons += len(row)
        for key, value in row.items():
            colons += key.count(":")
            if type(value) is str:
                colons += value.count(":")
    return colons == body.count(b":")


def is_array(body: bytes) -> bool:
    """Whether a JSON text begins an array."""
    return body.lstrip()[:1] == b"["


def _read_carefully(body: bytes) -> Parsed:
    parsed = _careful(body)
    return parsed if isinstance(parsed, Reason) else _whole(parsed, "the body")


def _careful(body: bytes) -> Any:
    """Return the JSON value with objects as pairs, or a reason."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return Reason("HF214", "", f"the body is not UTF-8: byte {error.start} is wrong.")
    try:
        return _PAIRS.decode(text)
    except RecursionError:
        return Reason("HF214", "", "the body nests too deeply.")
    except json.JSONDecodeError as error:
        words = f"{error.msg[:1].lower()}{error.msg[1:]}"
        if not text.strip():
            return Reason("HF214", "", "the body is empty, expected a JSON object.")
        return Reason("HF214", "", f"the body is not JSON: {words} (character {error.pos}).")


def _whole(value: Any, what: str) -> Parsed:
    """Return a careful object as a row, or the reason why it is none."""
    if not isinstance(value, _Pairs):
        return Reason("HF214", "", f"{what} is {_kind(value)}, expected an object.")
    row: Row = {}
    for key, item in value:
        if key in row:
            return Reason("HF214", key, f"{what} names `{key}` twice.")
        if _has_surrogate(key) or (type(item) is str and _has_surrogate(item)):
            return Reason("HF214", "", f"{what} has half of a surrogate pair.")
        row[key] = item
    return row


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _kind(value: Any) -> str:
    match value:
        case Number():
            return "a number"
        case str():
            return "a string"
        case bool():
            return "true or false"
        case None:
            return "null"
        case _Pairs():
            return "an object"
        case _:
            return "an array"


# ------------------------------------------------------------------------------------------------- verdict

_UNSURE: Final = object()
Check = Callable[[Any], Any]
"""The stored value of a parsed one in a usual form, or `_UNSURE`: `decide` knows."""


class RowJudge:
    """Judges single rows by a rule table.

    Attributes
    ----------
    names : columns of the table, in order

    Notes
    -----
    About 3 microseconds for eight columns. Law: same verdict, reason and stored values as
    `holdfast.events.contract.judge` (tests/laws/test_row.py).
    """

    def __init__(self, table: RuleTable) -> None:
        self.table = table
        self.names = table.columns
        self._known = frozenset(table.given)
        self._made = table.made
        self._rules = tuple(rule for rule in table.rules if not rule.made)
        self._checks = tuple((rule.column, _check(rule)) for rule in self._rules)

    def judge(self, row: Parsed) -> Stored | Reason:
        """Return the stored values of every column, or the first reason why there are none."""
        if type(row) is not dict:
            return row
        if not row.keys() <= self._known:
            unknown = self._unknown(row)
            if unknown is not None:
                return unknown
        get = row.get
        stored: Stored = {}
        for place, (name, check) in enumerate(self._checks):
            value = check(get(name))
            if value is _UNSURE:
                value, code = decide(self._rules[place], get(name))
                if code:
                    given = get(name)
                    words = explain(self._rules[place], code, None if given is None else _text(given))
                    return Reason(f"HF{code}", name, words)
            stored[name] = value
        if self._made is not None:
            stored[self._made] = digest_row(stored, self.table.given).hex()
        return stored

    def hint(self, reason: Reason, row: Parsed) -> str:
        """Return what to do about a reason, computed from the row, or an empty string."""
        match reason.code:
            case "HF209" if reason.column == self._made:
                return f"drop it, or mark `{reason.column}` hf.event_id() without content=True"
            case "HF209" if isinstance(row, dict):
                return did_you_mean(reason.column, self._known - row.keys()) or did_you_mean(
                    reason.column, self._known
                )
            case "HF201" if isinstance(row, dict):
                return self._missing(reason.column, row)
            case "HF205":
                return "end it with Z or an offset such as +02:00"
            case "HF203" | "HF204" if isinstance(row, dict):
                return self._hundredths(reason.column, row.get(reason.column))
            case _:
                return ""

    def _missing(self, name: str, row: Row) -> str:
        """Return what to send for a required column, and how the row lacks it."""
        wanted = expected(self.table.rules[self.names.index(name)])
        if name in row:
            return f"it is {'null' if row[name] is None else 'an empty text'}: send {wanted}"
        similar = did_you_mean(name, [other for other in row if other not in self._known])
        if similar:
            return similar.replace("did you mean", f"send `{name}`, not")[:-1]
        lacking = [
            rule.column
            for rule in self._rules
            if rule.required and rule.column != name and rule.column not in row
        ]
        others = ", ".join(f"`{other}`" for other in lacking[:_NAMED])
        if len(lacking) > _NAMED:
            others += f" and {len(lacking) - _NAMED} more"
        return f"add it, {wanted}; the row also lacks {others}" if others else f"add it, {wanted}"

    def _hundredths(self, name: str, value: Any) -> str:
        """Return a hint where an amount looks as if it were in hundredths."""
        rule = self.table.rules[self.names.index(name)]
        if rule.scale != 2 or not isinstance(value, (int, str)) or isinstance(value, bool):
            return ""
        stored, code = fixed_point(str(value), 2)
        if code or stored % 100 or rule.high is None or not rule.high < stored <= 100 * rule.high:
            return ""
        return f"`{name}` is not in hundredths: {Decimal(stored).scaleb(-4):.2f}?"

    def _unknown(self, row: Row) -> Reason | None:
        for name, value in row.items():
            if name not in self._known and value is not None:
                words = f"the row has `{name}`, which schema `{self.table.schema}` does not have."
                if name == self._made:
                    words = f"the row has `{name}`, which is made of the content of the others."
                return Reason("HF209", name, words)
        return None


def decide(rule: Rule, value: Any) -> tuple[Any, int]:
    """Return the stored value and the code of one parsed value in any form; the code is 0 where it fits."""
    if value is None or (type(value) is str and not value):
        return None, MISSING if rule.required else 0
    text = _text(value)
    if rule.scale is not None or rule.type == "int":
        return _decide_fixed(rule, text)
    match rule.type:
        case "string":
            if type(value) is not str:
                return None, TYPE
            if rule.one_of is not None and text not in rule.one_of:
                return None, ONE_OF
            too_long = rule.max_length is not None and len(text) > rule.max_length
            return (None, LENGTH) if too_long else (text, 0)
        case "bool":
            stored = {"true": True, "false": False}.get(text.lower())
            return stored, 0 if stored is not None else TYPE
        case "float":
            return _decide_float(rule, text)
        case _:
            us, code = instant_text(text)
            if code == 0 and not FIRST_INSTANT <= us <= LAST_INSTANT:
                code = BOUNDS
            return (None, code) if code else (us, 0)


def _decide_fixed(rule: Rule, text: str) -> tuple[Any, int]:
    assert rule.low is not None
    assert rule.high is not None
    fixed, code = fixed_point(text, rule.scale or 0)
    if code == PLACES and rule.type == "int":
        code = TYPE
    if code == 0 and not rule.low <= fixed <= rule.high:
        code = BOUNDS
    return (None, code) if code else (fixed, 0)


def _decide_float(rule: Rule, text: str) -> tuple[Any, int]:
    if NUMBER.fullmatch(text) is None or text.endswith("\n"):
        return None, FINITE if NOT_FINITE.fullmatch(text) else TYPE
    number = float(text)
    if not math.isfinite(number):
        return None, FINITE
    low = rule.low_float is not None and number < rule.low_float
    high = rule.high_float is not None and number > rule.high_float
    return (None, BOUNDS) if low or high else (number, 0)


def _text(value: Any) -> str:
    """Return the JSON text of a parsed value; a text as it is."""
    if isinstance(value, str):
        return str(value)
    return json_text(value)


def json_text(value: Any) -> str:
    """Return a parsed value as JSON text, numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, _Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {json_text(item)}" for key, item in value) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


# ------------------------------------------------------------------------------------------ column by column


def _check(rule: Rule) -> Check:
    missing = _UNSURE if rule.required else None
    if rule.scale is not None or rule.type == "int":
        return _fixed(rule, missing)
    return {"string": _string, "bool": _bool, "float": _float, "time": _time}[rule.type](rule, missing)


def _string(rule: Rule, missing: object) -> Check:
    one_of = None if rule.one_of is None else frozenset(rule.one_of)
    longest = rule.max_length if rule.max_length is not None else 2**62

    def check(value: Any) -> Any:
        if type(value) is str:
            if value and len(value) <= longest and (one_of is None or value in one_of):
                return value
            return _UNSURE if value else missing
        return missing if value is None else _UNSURE

    return check


def _bool(rule: Rule, missing: object) -> Check:
    def check(value: Any) -> Any:
        if value is True or value is False:
            return value
        return missing if value is None else _UNSURE

    return check


def _fixed(rule: Rule, missing: object) -> Check:
    places = rule.scale or 0
    unit = 10**places
    low, high = rule.low, rule.high
    assert low is not None
    assert high is not None

    def check(value: Any) -> Any:
        if type(value) is Number:
            whole, _, fraction = value.partition(".")
            more = places - len(fraction)
            if more < 0 or len(whole) > 19 or not fraction.isdigit():
                fixed, code = fixed_point(value, places)
                if code:
                    return _UNSURE
            else:
                fixed = int(whole + fraction) * 10**more
        elif type(value) is int:
            fixed = value * unit
        else:
            return missing if value is None else _UNSURE
        return fixed if low <= fixed <= high else _UNSURE

    return check


def _float(rule: Rule, missing: object) -> Check:
    low = -math.inf if rule.low_float is None else rule.low_float
    high = math.inf if rule.high_float is None else rule.high_float

    def check(value: Any) -> Any:
        if type(value) is Number:
            number = float(value)
        elif type(value) is int:
            if not -(2**63) <= value < 2**63:
                return _UNSURE
            number = float(value)
        else:
            return missing if value is None else _UNSURE
        return number if low <= number <= high and math.isfinite(number) else _UNSURE

    return check


_USUAL_TIME = re.compile(
    r"([1-9][0-9]{3}-[0-9]{2}-[0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,6}))?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))",
    re.ASCII,
)
_SECOND = 1_000_000


def _time(rule: Rule, missing: object) -> Check:
    days: dict[str, int] = {}
    fullmatch = _USUAL_TIME.fullmatch

    def check(value: Any) -> Any:
        if type(value) is not str:
            return missing if value is None else _UNSURE
        found = fullmatch(value)
        if found is None:
            return _UNSURE if value else missing
        day, hour, minute, second, fraction, sign, ahead, and_minutes = found.groups()
        start = days.get(day)
        if start is None:
            try:
                start = date.fromisoformat(day).toordinal() - 719_163
            except ValueError:
                return _UNSURE
            if len(days) >= 1_024:
                days.clear()
            days[day] = start
        us = (start * 86_400 + int(hour) * 3_600 + int(minute) * 60 + int(second)) * _SECOND
        if fraction is not None:
            us += int(fraction.ljust(6, "0"))
        if sign is not None:
            offset = (int(ahead) * 60 + int(and_minutes)) * 60 * _SECOND
            us += -offset if sign == "+" else offset
        return us if FIRST_INSTANT <= us <= LAST_INSTANT else _UNSURE

    return check


__all__ = [
    "MAX_ROWS",
    "Number",
    "Parsed",
    "Row",
    "RowJudge",
    "Stored",
    "is_array",
    "json_text",
    "read_row",
    "read_rows",
]
