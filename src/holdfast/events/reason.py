"""Why a row was not accepted, in words: what was expected, then what was found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from holdfast.events.exact import NOT_FINITE, NUMBER, text_of
from holdfast.events.rule import Rule, plain


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row was not accepted: the code, the column, and the fact as a sentence."""

    code: str
    column: str
    message: str


def explain(rule: Rule, code: int, value: Any) -> str:
    """Return the sentence that says which rule the value broke: expected, then found."""
    name = f"`{rule.column}`"
    match code:
        case 201:
            return f"{name} is required, found nothing."
        case 203:
            return f"{name} must be {_range(rule, value)}, found {_found(rule, value)}."
        case 204 if rule.type == "time":
            return f"{name} must have at most 6 digits after the second, found {_found(rule, value)}."
        case 204:
            return f"{name} must have at most {rule.scale} decimal places, found {_found(rule, value)}."
        case 205:
            return f"{name} must have a zone, found {_found(rule, value)}."
        case 206:
            return f"{name} must be finite, found {_found(rule, value)}."
        case 207:
            return f"{name} must be one of {', '.join(rule.one_of or ())}, found {_found(rule, value)}."
        case 208:
            return f"{name} must have at most {rule.max_length} characters, found {len(value)}."
        case _:
            return f"{name} must be {_EXPECTED[rule.type]}, found {_found(rule, value)}."


def expected(rule: Rule) -> str:
    """Return in words what a value of this column is."""
    if rule.one_of is not None:
        return f"one of {', '.join(rule.one_of)}"
    words = _EXPECTED[rule.type]
    if rule.max_length is not None:
        words += f" of at most {rule.max_length} characters"
    if rule.at_least and rule.at_most:
        words += f" from {rule.at_least} to {rule.at_most}"
    elif rule.at_least or rule.at_most:
        words += f" of at least {rule.at_least}" if rule.at_least else f" of at most {rule.at_most}"
    if rule.scale:
        words += f" with at most {rule.scale} decimal places"
    return words


_EXPECTED: dict[str, str] = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "time": "a time such as 2026-11-02T10:15:00Z",
}


def _range(rule: Rule, value: Any) -> str:
    if rule.type == "time":
        return "between the years 1 and 9999"
    number = _bounded_decimal(text_of(value))
    if rule.at_most and number > Decimal(rule.at_most):
        return f"at most {rule.at_most}"
    if rule.at_least and number < Decimal(rule.at_least):
        return f"at least {rule.at_least}"
    return "a number that fits 64 bits" + (f" with {rule.scale} decimal places" if rule.scale else "")


def _bounded_decimal(text: str) -> Decimal:
    """Return the number, or one of its sign beyond all bounds where its exponent is huge."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(exponent) <= 6:
        return Decimal(text)
    return Decimal("-1e999999" if mantissa.startswith("-") else "1e999999")


def _found(rule: Rule, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    if rule.type in ("int", "float", "decimal"):
        if NOT_FINITE.fullmatch(text):
            sign = "-" if text.startswith("-") else ""
            return "NaN" if "nan" in text.lower() else f"{sign}infinity"
        if NUMBER.fullmatch(text):
            return _shown_number(text)
    if isinstance(value, str):
        return repr(text if len(text) <= 80 else f"{text[:77]}...")
    return text if len(text) <= 80 else f"{text[:77]}..."


def _shown_number(text: str) -> str:
    if len(text) > 40 or len(text.lower().partition("e")[2]) > 4:
        return text if len(text) <= 80 else f"{text[:77]}..."
    number = Decimal(text)
    return plain(number) if abs(number.adjusted()) < 30 else text
