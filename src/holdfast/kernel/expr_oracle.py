"""The naive evaluator: plain Python that says what an expression is worth, one row at a time.

It shares nothing with the compiled interpreter but the tree, so that a law can hold one against the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from holdfast.kernel.expr import Expr

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def evaluate_expression(
    expr: Expr,
    row: Mapping[str, object],
    vocabularies: Mapping[str, tuple[str, ...]],
    scales: Mapping[str, int],
) -> float | None:
    """Return the value of an expression on one row, None where it is missing.

    Parameters
    ----------
    expr : a tree without problems, see `holdfast.kernel.typecheck.check`
    row : stored values by column: fixed point as int, time as int microseconds, text as str, missing as None
    vocabularies : texts by column; code ``i + 1`` is entry ``i``
    scales : decimal places of the fixed-point columns
    """
    value = _value(expr, row, vocabularies, scales)
    assert not isinstance(value, str)
    return value


def _value(
    expr: Expr,
    row: Mapping[str, object],
    vocabularies: Mapping[str, tuple[str, ...]],
    scales: Mapping[str, int],
) -> float | str | None:
    if expr.op == "const":
        constant = expr.params[0]
        assert not isinstance(constant, tuple)
        return constant if constant is None or isinstance(constant, str) else float(constant)
    if expr.op == "col":
        name = str(expr.params[0])
        stored = row[name]
        if stored is None or isinstance(stored, str):
            return stored
        return _finite(float(stored) / float(10 ** scales.get(name, 0)))  # type: ignore[arg-type]
    operands = [_value(arg, row, vocabularies, scales) for arg in expr.args]
    if expr.op == "code":
        vocabulary = vocabularies.get(str(expr.args[0].params[0]), ())
        text = operands[0]
        if text is None:
            return None
        return float(vocabulary.index(str(text)) + 1) if text in vocabulary else 0.0
    if expr.op == "isin":
        among = expr.params[0]
        assert isinstance(among, tuple)
        if operands[0] is None:
            return None
        texts = isinstance(operands[0], str)
        return float(any(operands[0] == (value if texts else float(value)) for value in among))  # type: ignore[arg-type]
    if expr.op == "is_missing":
        return float(operands[0] is None)
    if expr.op in ("eq", "ne"):
        if None in operands:
            return None
        return float((operands[0] == operands[1]) == (expr.op == "eq"))
    return _number(expr, [_as_float(operand) for operand in operands])


def _as_float(value: float | str | None) -> float | None:
    assert not isinstance(value, str)
    return value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(expr: Expr, operands: list[float | None]) -> float | None:
    """Operations that take numbers only: first those that look at missing operands, then the strict ones."""
    if expr.op == "and":
        if 0.0 in operands:
            return 0.0
        return None if None in operands else 1.0
    if expr.op == "or":
        if any(operand is not None and operand != 0.0 for operand in operands):
            return 1.0
        return None if None in operands else 0.0
    if expr.op == "where":
        condition, if_true, if_false = operands
        if condition is None:
            return None
        return if_true if condition != 0.0 else if_false
    if expr.op == "fill":
        return float(expr.params[0]) if operands[0] is None else operands[0]  # type: ignore[arg-type]
    known = [operand for operand in operands if operand is not None]
    if len(known) < len(operands):
        return None
    if len(known) == 2:
        return _pair(expr.op, known[0], known[1])
    return _single(expr, known[0])


def _pair(op: str, a: float, b: float) -> float | None:
    match op:
        case "add":
            return _finite(a + b)
        case "sub":
            return _finite(a - b)
        case "mul":
            return _finite(a * b)
        case "div":
            return None if b == 0.0 else _finite(a / b)
        case "lt":
            return float(a < b)
        case "le":
            return float(a <= b)
        case "gt":
            return float(a > b)
        case "ge":
            return float(a >= b)
    raise AssertionError(op)


def _single(expr: Expr, a: float) -> float | None:
    match expr.op:
        case "neg":
            return -a
        case "abs":
            return abs(a)
        case "not":
            return float(a == 0.0)
        case "log":
            return math.log(a) if a > 0.0 else None
        case "sqrt":
            return math.sqrt(a) if a >= 0.0 else None
        case "exp":
            try:
                return _finite(math.exp(a))
            except OverflowError:
                return None
        case "clip":
            low, high = expr.params
            if low is not None and a < float(low):  # type: ignore[arg-type]
                a = float(low)  # type: ignore[arg-type]
            if high is not None and a > float(high):  # type: ignore[arg-type]
                a = float(high)  # type: ignore[arg-type]
            return a
    return _date_part(expr.op, a, str(expr.params[0]))


def _date_part(op: str, us: float, tz: str) -> float | None:
    try:
        moment = (_EPOCH + timedelta(microseconds=int(us))).astimezone(ZoneInfo(tz))
    except OverflowError:  # outside the years 1 to 9999
        return None
    match op:
        case "hour":
            return float(moment.hour)
        case "weekday":
            return float(moment.weekday())
        case "day":
            return float(moment.day)
        case "month":
            return float(moment.month)
    raise AssertionError(op)
