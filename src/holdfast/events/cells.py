"""The cells of one column become stored values, each with the code of the rule it broke.

Vectorised where a value is in a usual form; any other value is decided by `holdfast.events.exact`, one by
one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.exact import NOT_FINITE_WORDS, NUMBER, fixed_point, instant_text, offset_of, text_of
from holdfast.events.rule import (
    BOUNDS,
    FINITE,
    FIRST_INSTANT,
    INT64_MAX,
    LAST_INSTANT,
    LENGTH,
    MISSING,
    ONE_OF,
    PLACES,
    TIME,
    TYPE,
    ZONE,
    Codes,
    Rule,
    stored_type,
)
from holdfast.events.usual_times import usual_micros
from holdfast.kernel.schema import ColumnType


def judge_column(rule: Rule, cells: pl.Series, alien: NDArray[np.bool_] | None) -> tuple[pl.Series, Codes]:
    """Return the stored values of a column (n,), null where a rule is broken, and the code of each (n,).

    Parameters
    ----------
    alien : (n,) whether a text came from something that was not text
    """
    if isinstance(cells.dtype, (pl.Categorical, pl.Enum)):
        cells = cells.cast(pl.String)
    if cells.dtype == pl.String and len(cells) and (cells == "").any():
        cells = cells.set(cells == "", None)
    if cells.null_count() == len(cells):
        return all_missing(rule, len(cells))
    stored, codes = _TYPES[rule.type](rule, cells, alien)
    if rule.required and cells.null_count():
        codes[cells.is_null().to_numpy()] = MISSING
    if codes.any():
        stored = stored.set(pl.Series(codes != 0), None)
    return stored, codes


def all_missing(rule: Rule, n: int) -> tuple[pl.Series, Codes]:
    """Return what a column is judged to be that has no values."""
    codes = np.full(n, MISSING if rule.required else 0, np.uint16)
    return pl.repeat(None, n, dtype=stored_type(rule), eager=True), codes


def _nothing_fits(rule: Rule, cells: pl.Series) -> tuple[pl.Series, Codes]:
    codes = np.where(cells.is_null().to_numpy(), 0, TYPE).astype(np.uint16)
    return all_missing(rule, len(cells))[0], codes


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
        words = cells.str.contains(f"^{NOT_FINITE_WORDS}$").fill_null(False).to_numpy()
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
        texts = map(text_of, cells.gather(open_rows).to_list())
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


_USUAL_TIME = (
    r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)


def _time(rule: Rule, cells: pl.Series, alien: NDArray[np.bool_] | None) -> tuple[pl.Series, Codes]:
    if isinstance(cells.dtype, pl.Datetime):
        if cells.dtype.time_zone is None:
            codes = np.where(cells.is_null().to_numpy(), 0, ZONE).astype(np.uint16)
            return all_missing(rule, len(cells))[0], codes
        values, codes = _micros_from_typed(cells)
    elif cells.dtype == pl.Date:
        codes = np.where(cells.is_null().to_numpy(), 0, ZONE).astype(np.uint16)
        return all_missing(rule, len(cells))[0], codes
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
        zones = {zone: offset_of(zone) for zone in parts["zone"].unique().to_list() if zone is not None}
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


_TYPES: dict[ColumnType, Callable[[Rule, pl.Series, NDArray[np.bool_] | None], tuple[pl.Series, Codes]]] = {
    "string": _string,
    "int": _integer,
    "float": _float64,
    "decimal": _integer,
    "bool": _bool,
    "time": _time,
}
