"""What each column of a schema must be: one compiled rule table, as data with a fingerprint.

Every way in is judged by it (`holdfast.events.contract`, `holdfast.events.row`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.source import ARRIVED, BASIS, BATCH, ORIGIN
from holdfast.kernel.ids import fingerprint
from holdfast.kernel.schema import FIXED_POINT_LIMIT, Column, ColumnType, Schema
from holdfast.kernel.time import parse_instant

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
FIRST_INSTANT: Final = parse_instant("0001-01-01T00:00:00Z")
LAST_INSTANT: Final = parse_instant("9999-12-31T23:59:59.999999Z")
TIME: Final = pl.Datetime("us", "UTC")

MISSING: Final = 201
TYPE: Final = 202
BOUNDS: Final = 203
PLACES: Final = 204
ZONE: Final = 205
FINITE: Final = 206
ONE_OF: Final = 207
LENGTH: Final = 208

Codes = NDArray[np.uint16]
"""(n,) code of each row, without its `HF`; 0 where nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one column must be, ready to be checked.

    Attributes
    ----------
    scale
        Decimal places of the stored fixed point; None where the stored value is not fixed point.
    low, high
        Inclusive bounds of the stored int64 (fixed point included); None for other types.
    low_float, high_float
        Inclusive bounds of a float column without a scale.
    at_least, at_most
        The bounds as a person wrote them, for messages.
    made
        The value is no input: it is made of the content of all other columns.
    """

    column: str
    type: ColumnType
    required: bool
    scale: int | None = None
    low: int | None = None
    high: int | None = None
    low_float: float | None = None
    high_float: float | None = None
    at_least: str = ""
    at_most: str = ""
    one_of: tuple[str, ...] | None = None
    max_length: int | None = None
    made: bool = False


@dataclass(frozen=True, slots=True)
class RuleTable:
    """The compiled rules of one schema, in column order: data, with a fingerprint."""

    schema: str
    rules: tuple[Rule, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(rule.column for rule in self.rules)

    @property
    def made(self) -> str | None:
        """Name of the column that is made of the content of all others, if there is one."""
        return next((rule.column for rule in self.rules if rule.made), None)

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the columns that an input has, in order."""
        return tuple(rule.column for rule in self.rules if not rule.made)

    @property
    def fingerprint(self) -> str:
        """Content hash of the rules."""
        return fingerprint(self)

    def stored_schema(self) -> dict[str, pl.DataType]:
        """Return the stored type of every column."""
        return {rule.column: stored_type(rule) for rule in self.rules}


def compile_rules(schema: Schema, *, fixed_point_bounded: frozenset[str] = frozenset()) -> RuleTable:
    """Return the rule table of a schema.

    Parameters
    ----------
    fixed_point_bounded
        Columns that enter sum, mean, std or var: their |value| x 10^scale is at most 2^32.
    """
    return RuleTable(
        schema.name, tuple(_compile(column, column.name in fixed_point_bounded) for column in schema.columns)
    )


def _compile(column: Column, bounded: bool) -> Rule:
    required = not column.nullable or column.role in ("event_id", "event_time", "arrival_time")
    places = {"int": 0, "decimal": column.scale or 0, "float": column.scale}.get(column.type)
    at_least = "" if column.ge is None else plain(Decimal(str(column.ge)))
    at_most = "" if column.le is None else plain(Decimal(str(column.le)))
    rule = Rule(
        column.name,
        column.type,
        required,
        scale=places if column.type != "int" else None,
        at_least=at_least,
        at_most=at_most,
        one_of=column.one_of,
        max_length=column.max_length,
        made=column.role == "content_id",
    )
    if places is None:
        if column.type != "float":
            return rule
        return _with(rule, low_float=_float(column.ge), high_float=_float(column.le))
    unit = Decimal(10) ** places
    low = INT64_MIN if column.ge is None else _ceil(Decimal(str(column.ge)) * unit)
    high = INT64_MAX if column.le is None else _floor(Decimal(str(column.le)) * unit)
    if bounded:
        limit = plain(Decimal(FIXED_POINT_LIMIT) / unit)
        if low < -FIXED_POINT_LIMIT:
            low, at_least = -FIXED_POINT_LIMIT, f"-{limit}"
        if high > FIXED_POINT_LIMIT:
            high, at_most = FIXED_POINT_LIMIT, limit
    low, high = max(low, INT64_MIN), min(high, INT64_MAX)
    return _with(rule, low=low, high=high, at_least=at_least, at_most=at_most)


def _with(rule: Rule, **changes: Any) -> Rule:
    return Rule(**{name: changes.get(name, getattr(rule, name)) for name in Rule.__dataclass_fields__})


def _float(bound: float | None) -> float | None:
    return None if bound is None else float(bound)


def _ceil(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_CEILING))


def _floor(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_FLOOR))


def stored_type(rule: Rule) -> pl.DataType:
    """Return the type in which the lake stores the column."""
    if rule.scale is not None:
        return pl.Int64()
    match rule.type:
        case "time":
            return TIME
        case "int":
            return pl.Int64()
        case "float":
            return pl.Float64()
        case "bool":
            return pl.Boolean()
        case _:
            return pl.String()


def empty_table(schema: Schema) -> pl.DataFrame:
    """Return no rows with the columns of a source's lake table: those of the schema, then the lake's own."""
    own = {ARRIVED: pl.Int64(), BASIS: pl.String(), BATCH: pl.Int64(), ORIGIN: pl.String()}
    return pl.DataFrame(schema={**compile_rules(schema).stored_schema(), **own})


def plain(number: Decimal) -> str:
    """Return a number without exponent and without zeros that say nothing."""
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
