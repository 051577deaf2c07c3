"""The data contract of a schema: one compiled rule table, which judges parsed raw rows.

Every way in (CSV, JSON lines, Parquet, requests) differs in parsing only. What it parsed is judged here, by
the same rules in the same order, so the same row has the same verdict, reason and stored values whichever way
it came. The first rule that fails is the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.identity import digest_rows
from holdfast.events.source import ARRIVED, BASIS, BATCH, ORIGIN
from holdfast.events.usual_times import usual_micros
from holdfast.kernel.errors import ContractError, did_you_mean
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
    at_least = "" if column.ge is None else _plain(Decimal(str(column.ge)))
    at_most = "" if column.le is None else _plain(Decimal(str(column.le)))
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
        limit = _plain(Decimal(FIXED_POINT_LIMIT) / unit)
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


# ------------------------------------------------------------------------------------------------- verdict


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row was not accepted: the code, the column, and the fact as a sentence."""

    code: str
    column: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of each row of a frame.

    Attributes
    ----------
    stored : (n,) rows in stored types and column order; a cell that broke a rule is null
    codes : (n,) code without its `HF`, 0 where the row is accepted
    places : (n,) position of the column that broke its rule; meaningless where the row is accepted
    """

    table: RuleTable
    raw: pl.DataFrame
    stored: pl.DataFrame
    codes: Codes
    places: NDArray[np.int32]

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """(n,) whether the row obeys every rule."""
        return np.equal(self.codes, 0)

    def reasons(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Reason]:
        """Return the reason of each of these refused rows."""
        out = []
        for row in rows:
            rule = self.table.rules[self.places[row]]
            code = int(self.codes[row])
            value = python_value(self.raw[rule.column], int(row)) if rule.column in self.raw.columns else None
            out.append(Reason(f"HF{code}", rule.column, explain(rule, code, value)))
        return out


def python_value(values: pl.Series, row: int) -> Any:
    """Return one value of a raw column; of a time that Python cannot say, its number of units."""
    try:
        return values[row]
    except (OverflowError, ValueError):
        return values.to_physical()[row]


def judge(
    table: RuleTable, raw: pl.DataFrame, *, not_text: Mapping[str, NDArray[np.bool_]] | None = None
) -> Verdict:
    """Judge parsed raw rows, one rule table for every way in.

    Parameters
    ----------
    raw : (n,) rows
        Columns hold text as it was written, or the typed values of a file that has types. Columns that the
        table does not know are ignored; absent ones are missing in every row. Empty text is missing.
    not_text
        By column, (n,) whether a text came from something that was not text, such as a JSON number.

    Notes
    -----
    Vectorised where a value is in a usual form; any other value is decided exactly, one by one.
    Law: equal verdicts for every format (tests/laws/test_rule_table.py).
    """
    n = raw.height
    codes = np.zeros(n, np.uint16)
    places = np.zeros(n, np.int32)
    stored: list[pl.Series] = []
    for place, rule in enumerate(table.rules):
        if rule.made:
            stored.append(pl.repeat(None, n, dtype=pl.String(), eager=True).alias(rule.column))
            continue
        if rule.column in raw.columns:
            alien = None if not_text is None else not_text.get(rule.column)
            cells, found = _judge_column(rule, raw[rule.column], alien)
        else:
            cells, found = _all_missing(rule, n)
        stored.append(cells.alias(rule.column))
        if found.any():
            first = (found != 0) & (codes == 0)
            codes[first] = found[first]
            places[first] = place
    rows = pl.DataFrame(stored)
    if table.made is not None:
        ids = pl.Series([digest.hex() for digest in digest_rows(rows, table.given)], dtype=pl.String())
        rows = rows.with_columns(ids.set(pl.Series(codes != 0), None).alias(table.made))
    return Verdict(table, raw, rows, codes, places)


def judge_one(table: RuleTable, row: Mapping[str, Any]) -> tuple[dict[str, Any], None] | tuple[None, Reason]:
    """Judge one row of Python values: its stored values, or the reason why not.

    Numbers may be int, float, Decimal or text; times are text or datetimes.
    """
    cells: dict[str, pl.Series] = {}
    alien: dict[str, NDArray[np.bool_]] = {}
    for rule in table.rules:
        if rule.made:
            continue
        value = row.get(rule.column)
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC)
        if isinstance(value, date):
            value = value.isoformat()
        elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            value, alien[rule.column] = str(value), np.ones(1, np.bool_)
        elif value is not None and not isinstance(value, (str, float, bool)):
            value, alien[rule.column] = repr(value), np.ones(1, np.bool_)
        cells[rule.column] = pl.Series([value], dtype=pl.String if isinstance(value, str) else None)
    verdict = judge(table, pl.DataFrame(cells), not_text=alien)
    if verdict.codes[0]:
        return None, verdict.reasons([0])[0]
    return verdict.stored.row(0, named=True), None


def check_columns(table: RuleTable, found: Sequence[str], *, name: str, may_omit: bool = False) -> None:
    """Refuse a file whose columns are not those of the table.

    Parameters
    ----------
    found : columns the file has
    name : the file, for the message
    may_omit : whether a row may leave a column out (JSON lines), so that absence is judged row by row

    Raises
    ------
    ContractError
        If a column is unknown, or a required one is absent (HF209).
    """
    unknown = [column for column in found if column not in table.given]
    absent = [r.column for r in table.rules if r.required and not r.made and r.column not in found]
    if not unknown and (may_omit or not absent):
        return
    facts, hints = [], []
    for column in unknown:
        if column == table.made:
            facts.append(f"column `{column}`, which is made of the content of the others")
            hints.append(f"drop it, or mark `{column}` hf.event_id() without content=True")
            continue
        facts.append(f"column `{column}`, which schema `{table.schema}` does not have")
        hints.append(did_you_mean(column, [each for each in table.given if each not in found]))
    message = f"{name} has {', and '.join(facts)}." if facts else ""
    if absent and not may_omit:
        listed = ", ".join(f"`{column}`" for column in absent)
        message += f"{' It' if message else name} lacks the required {listed}."
    raise ContractError(
        message,
        code="HF209",
        at=name,
        has=tuple(found),
        hint="; ".join(dict.fromkeys(filter(None, hints))) or f"expected {', '.join(table.given)}",
    )


# ------------------------------------------------------------------------------------------- column by column


def _judge_column(rule: Rule, cells: pl.Series, alien: NDArray[np.bool_] | None) -> tuple[pl.Series, Codes]:
    if isinstance(cells.dtype, (pl.Categorical, pl.Enum)):
        cells = cells.cast(pl.String)
    if cells.dtype == pl.String and len(cells) and (cells == "").any():
        cells = cells.set(cells == "", None)
    if cells.null_count() == len(cells):
        return _all_missing(rule, len(cells))
    stored, codes = _TYPES[rule.type](rule, cells, alien)
    if rule.required and cells.null_count():
        codes[cells.is_null().to_numpy()] = MISSING
    if codes.any():
        stored = stored.set(pl.Series(codes != 0), None)
    return stored, codes


def _all_missing(rule: Rule, n: int) -> tuple[pl.Series, Codes]:
    codes = np.full(n, MISSING if rule.required else 0, np.uint16)
    return pl.repeat(None, n, dtype=stored_type(rule), eager=True), codes


def _nothing_fits(rule: Rule, cells: pl.Series) -> tuple[pl.Series, Codes]:
    codes = np.where(cells.is_null().to_numpy(), 0, TYPE).astype(np.uint16)
    return _all_missing(rule, len(cells))[0], codes


def _string(rule: Rule, cells: pl.Series, alien: NDArray[np.bool_] | None) -> tuple[pl.Series, Codes]:
    if cells.dtype != pl.String:
        return _nothing_fits(rule, cells)
    codes = np.zeros(len(cells), np.uint16)
    if alien is not None:
        codes[alien & cells.is_not_null().to_numpy()] = TYPE
    if rule.one_of is not None:
        other = (~cells.is_in(list(rule.one_of))).fill_null(False).to_numpy()
        codes[other & (codes == 0)] = ONE_OF
    if rule.max_length is not None:
        long = (cells.str.len_chars() > rule.max_length).fill_null(False).to_numpy()
        codes[long & (codes == 0)] = LENGTH
    return cells, codes


def _bool(rule: Rule, cells: pl.Series, alien: NDArray[np.bool_] | None) -> tuple[pl.Series, Codes]:
    if cells.dtype == pl.Boolean:
        return cells, np.zeros(len(cells), np.uint16)
    if cells.dtype != pl.String:
        return _nothing_fits(rule, cells)
    words = cells.str.to_lowercase()
    stored = words.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    wrong = stored.is_null() & cells.is_not_null()
    return stored, (wrong.to_numpy() * TYPE).astype(np.uint16)


def _float64(rule: Rule, cells: pl.Series, alien: NDArray[np.bool_] | None) -> tuple[pl.Series, Codes]:
    if rule.scale is not None:
        return _integer(rule, cells, alien)
    if isinstance(cells.dtype, pl.Decimal):
        cells = cells.cast(pl.String)
    if cells.dtype == pl.String:
        number = cells.str.contains(NUMBER.pattern).fill_null(True)
        stored = cells.set(~number, None).cast(pl.Float64, strict=False)
        codes = (~number.to_numpy() * TYPE).astype(np.uint16)
        words = cells.str.contains(f"^{_NOT_FINITE_WORDS}$").fill_null(False).to_numpy()
        codes[words] = FINITE
    elif cells.dtype.is_numeric():
        stored = cells.cast(pl.Float64)
        codes = np.zeros(len(cells), np.uint16)
    else:
        return _nothing_fits(rule, cells)
    codes[(~stored.is_finite()).fill_null(False).to_numpy()] = FINITE
    values = stored.to_numpy()
    with np.errstate(invalid="ignore"):
        if rule.low_float is not None:
            codes[(values < rule.low_float) & (codes == 0)] = BOUNDS
        if rule.high_float is not None:
            codes[(values > rule.high_float) & (codes == 0)] = BOUNDS
    return stored, codes


def _integer(rule: Rule, cells: pl.Series, alien: NDArray[np.bool_] | None) -> tuple[pl.Series, Codes]:
    """Judge int, decimal and scaled float: all are stored as int64 times 10^-scale, exactly."""
    places = rule.scale or 0
    if isinstance(cells.dtype, pl.Decimal):
        cells = cells.cast(pl.String)
    if cells.dtype == pl.String:
        values, codes, decided = _fixed_from_text(cells, places)
    elif cells.dtype.is_float():
        cells = cells.cast(pl.Float64)
        values, codes, decided = _fixed_from_float(cells, places)
    elif cells.dtype.is_integer():
        values, codes, decided = _fixed_from_int(cells, places)
    else:
        return _nothing_fits(rule, cells)
    null = cells.is_null().to_numpy()
    open_rows = np.flatnonzero(~decided & ~null)
    if len(open_rows):
        texts = map(_text_of, cells.gather(open_rows).to_list())
        for row, text in zip(open_rows, texts, strict=True):
            values[row], codes[row] = fixed_point(text, places)
    if rule.type == "int":
        codes[codes == PLACES] = TYPE
    assert rule.low is not None
    assert rule.high is not None
    codes[((values < rule.low) | (values > rule.high)) & (codes == 0)] = BOUNDS
    codes[null] = 0
    stored = pl.Series(values)
    return (stored.set(pl.Series(null), None) if null.any() else stored), codes


Fixed = tuple[NDArray[np.int64], Codes, NDArray[np.bool_]]


def _fixed_from_text(cells: pl.Series, places: int) -> Fixed:
    # A decimal of at most 15 digits is recovered exactly from its nearest double (DBL_DIG is 15): where both
    # the text and m / 10^places have no more and share that double, they are the same number.
    usual = cells.str.contains(r"^[+-]?[0-9]+(\.[0-9]+)?$") & (cells.str.len_bytes() <= 15)
    usual = usual.fill_null(False)
    numbers = (cells if usual.all() else cells.set(~usual, None)).cast(pl.Float64, strict=False).to_numpy()
    return _nearest(numbers, places, 1e15)


def _fixed_from_float(cells: pl.Series, places: int) -> Fixed:
    # Below 2^50 the rounding of x * 10^places is off by less than a half, so m is the only candidate.
    return _nearest(cells.to_numpy(), places, 2.0**50)


def _nearest(numbers: NDArray[np.float64], places: int, limit: float) -> Fixed:
    if places > 15:
        nothing = np.zeros(len(numbers), np.bool_)
        return np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.uint16), nothing
    unit = 10.0**places
    with np.errstate(invalid="ignore", over="ignore"):
        nearest = np.rint(numbers * unit)
        decided = (np.abs(nearest) < limit) & (nearest / unit == numbers)
        values = np.where(decided, nearest, 0.0).astype(np.int64)
    return values, np.zeros(len(numbers), np.uint16), decided


def _fixed_from_int(cells: pl.Series, places: int) -> Fixed:
    whole = cells.cast(pl.Int64, strict=False)
    limit = INT64_MAX // 10**places
    values = whole.fill_null(0).to_numpy()
    inside = (whole.is_not_null().to_numpy()) & (values <= limit) & (values >= -limit)
    return np.where(inside, values, 0) * 10 ** min(places, 18), np.zeros(len(cells), np.uint16), inside


NUMBER = re.compile(r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$")
_NOT_FINITE_WORDS = r"(?i:[+-]?(?:nan|inf|infinity))"
NOT_FINITE = re.compile(_NOT_FINITE_WORDS)


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


def _text_of(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


# ---------------------------------------------------------------------------------------------------- times

_USUAL_TIME = (
    r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_ANY_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]+))?)?"
    r"(Z|z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"
)


def _time(rule: Rule, cells: pl.Series, alien: NDArray[np.bool_] | None) -> tuple[pl.Series, Codes]:
    if isinstance(cells.dtype, pl.Datetime):
        if cells.dtype.time_zone is None:
            codes = np.where(cells.is_null().to_numpy(), 0, ZONE).astype(np.uint16)
            return _all_missing(rule, len(cells))[0], codes
        values, codes = _micros_from_typed(cells)
    elif cells.dtype == pl.Date:
        codes = np.where(cells.is_null().to_numpy(), 0, ZONE).astype(np.uint16)
        return _all_missing(rule, len(cells))[0], codes
    elif cells.dtype == pl.String:
        values, codes = _micros_from_text(cells)
    else:
        return _nothing_fits(rule, cells)
    codes[((values < FIRST_INSTANT) | (values > LAST_INSTANT)) & (codes == 0)] = BOUNDS
    null = cells.is_null().to_numpy()
    codes[null] = 0
    bad = (codes != 0) | null
    stored = pl.Series(np.where(bad, 0, values)).cast(TIME)
    return (stored.set(pl.Series(bad), None) if bad.any() else stored), codes


def _micros_from_typed(cells: pl.Series) -> tuple[NDArray[np.int64], Codes]:
    physical = cells.to_physical().fill_null(0).to_numpy()
    codes = np.zeros(len(cells), np.uint16)
    assert isinstance(cells.dtype, pl.Datetime)
    match cells.dtype.time_unit:
        case "ns":
            codes[physical % 1000 != 0] = PLACES
            return physical // 1000, codes
        case "ms":
            far = (physical > LAST_INSTANT // 1000) | (physical < FIRST_INSTANT // 1000)
            codes[far] = BOUNDS
            return np.where(far, 0, physical) * 1000, codes
        case _:
            return physical, codes


def _micros_from_text(cells: pl.Series) -> tuple[NDArray[np.int64], Codes]:
    all_usual = usual_micros(cells)
    if all_usual is not None:
        return all_usual, np.zeros(len(cells), np.uint16)
    usual = cells.str.contains(_USUAL_TIME).fill_null(False)
    known = cells if usual.all() else cells.set(~usual, None)
    whole = known.str.slice(0, 19).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    rest = known.str.slice(19)
    in_utc = rest.str.ends_with("Z")
    if in_utc.all():
        fraction, offset = rest.str.strip_suffix("Z"), None
    else:
        parts = pl.DataFrame({"rest": rest, "utc": in_utc}).select(
            fraction=pl.when("utc").then(pl.col("rest").str.head(-1)).otherwise(pl.col("rest").str.head(-6)),
            zone=pl.when("utc").then(None).otherwise(pl.col("rest").str.tail(6)),
        )
        fraction = parts["fraction"]
        zones = {zone: _offset(zone) for zone in parts["zone"].unique().to_list() if zone is not None}
        offset = parts["zone"].replace_strict(zones, default=0, return_dtype=pl.Int64) if zones else None
    digits = fraction.str.strip_prefix(".").str.pad_end(6, "0").cast(pl.Int64, strict=False)
    micros = whole.to_physical() + digits
    if offset is not None:
        micros = micros - offset
    decided = micros.is_not_null().to_numpy()
    values = micros.fill_null(0).to_numpy().copy()
    codes = np.zeros(len(cells), np.uint16)
    open_rows = np.flatnonzero(~decided & cells.is_not_null().to_numpy())
    for row, text in zip(open_rows, cells.gather(open_rows).to_list() if len(open_rows) else (), strict=True):
        values[row], codes[row] = instant_text(text)
    return values, codes


def _offset(zone: str) -> int:
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
    return seconds + int(digits.ljust(6, "0")) - (0 if zone in "Zz" else _offset(zone)), 0


_TYPES: dict[ColumnType, Callable[[Rule, pl.Series, NDArray[np.bool_] | None], tuple[pl.Series, Codes]]] = {
    "string": _string,
    "int": _integer,
    "float": _float64,
    "decimal": _integer,
    "bool": _bool,
    "time": _time,
}


# --------------------------------------------------------------------------------------------------- words


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
    number = _bounded_decimal(_text_of(value))
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
    return _plain(number) if abs(number.adjusted()) < 30 else text


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
