"""Typed expression trees: the only form in which computed features, filters and rules exist.

A tree is data: it has canonical JSON, a fingerprint and a Python text. What each operation means is said
here, computed by `holdfast.kernel.program` (compiled, for rows and for batches alike) and, naively, by
`holdfast.features.oracle`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Op:
    """What the table of operations says of one of them: number of operands, parameters, a sentence."""

    operands: int
    parameters: tuple[str, ...]
    doc: str


OPS: dict[str, Op] = {
    # leaves: parameters only
    "col": Op(0, ("name",), "the column or feature of that name"),
    "const": Op(0, ("value",), "a number, truth value, text, or None for missing"),
    # arithmetic: float64; missing if an operand is missing or the result is not finite
    "add": Op(2, (), "a + b"),
    "sub": Op(2, (), "a - b"),
    "mul": Op(2, (), "a * b"),
    "div": Op(2, (), "a / b; division by zero is missing"),
    "neg": Op(1, (), "-a"),
    "abs": Op(1, (), "absolute value"),
    "log": Op(1, (), "natural logarithm; missing for a <= 0"),
    "exp": Op(1, (), "e to the a; missing on overflow"),
    "sqrt": Op(1, (), "square root; missing for a < 0"),
    "clip": Op(1, ("low", "high"), "a limited to [low, high]; either may be None"),
    # comparison: 1.0 or 0.0; missing if an operand is missing
    "lt": Op(2, (), "a < b"),
    "le": Op(2, (), "a <= b"),
    "gt": Op(2, (), "a > b"),
    "ge": Op(2, (), "a >= b"),
    "eq": Op(2, (), "a == b; texts only as a column against constants"),
    "ne": Op(2, (), "a != b"),
    # logic, Kleene: any non-zero is true
    "and": Op(2, (), "false if either is false, else missing if either is missing"),
    "or": Op(2, (), "true if either is true, else missing if either is missing"),
    "not": Op(1, (), "missing stays missing"),
    "where": Op(3, (), "b if a is true, c if a is false, missing if a is missing"),
    "is_missing": Op(1, (), "1.0 if missing, else 0.0; never missing"),
    "fill": Op(1, ("value",), "a, or the value where a is missing"),
    "isin": Op(
        1, ("values",), "1.0 if a equals one of the values (numbers or texts), missing if a is missing"
    ),
    # date parts of a time column (int64 microseconds UTC), in zone `tz` (an IANA name; "UTC" by default)
    "hour": Op(1, ("tz",), "hour of day 0-23, with the fraction dropped"),
    "weekday": Op(1, ("tz",), "day of week, Monday 0 to Sunday 6"),
    "day": Op(1, ("tz",), "day of month 1-31"),
    "month": Op(1, ("tz",), "month 1-12"),
    # a text column by the vocabulary fitted on the training split
    "code": Op(1, (), "position in the column's vocabulary, 0 for any other text, missing if missing"),
}
"""Every operation an expression may hold. Registers are float64 and missing is NaN."""


@dataclass(frozen=True, slots=True)
class Expr:
    """One node: an operation of `OPS`, its operands and its parameters.

    Equality and hash are structural, so equal trees are equal data. `holdfast.kernel.ids.to_data` and
    `from_data` turn it into JSON and back.

    Raises
    ------
    ValueError
        If the operation is unknown or has the wrong number of operands or parameters.
    """

    op: str
    args: tuple[Expr, ...] = ()
    params: tuple[Scalar | tuple[Scalar, ...], ...] = ()

    def __post_init__(self) -> None:
        expected = OPS.get(self.op)
        if expected is None:
            raise ValueError(f"unknown operation {self.op!r}")
        if len(self.args) != expected.operands or len(self.params) != len(expected.parameters):
            raise ValueError(
                f"`{self.op}` takes {expected.operands} operands and {len(expected.parameters)} parameters, "
                f"found {len(self.args)} and {len(self.params)}"
            )

    def walk(self) -> Iterator[Expr]:
        """Yield this node and all below it, operands first."""
        for arg in self.args:
            yield from arg.walk()
        yield self

    def columns(self) -> tuple[str, ...]:
        """Names of the columns this tree reads, in order of first use."""
        found = dict.fromkeys(str(node.params[0]) for node in self.walk() if node.op == "col")
        return tuple(found)


def col(name: str) -> Expr:
    """Return the leaf that reads a column."""
    return Expr("col", (), (name,))


def const(value: Scalar) -> Expr:
    """Return a constant leaf; None is missing."""
    return Expr("const", (), (value,))


_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "eq": "==", "ne": "!=", "and": "&", "or": "|",
}  # fmt: skip


def to_text(expr: Expr) -> str:
    """Return the Python text a person would have written, fully parenthesised inside."""
    return _text(expr, top=True)


def _text(expr: Expr, top: bool = False) -> str:
    if expr.op == "col":
        return str(expr.params[0])
    if expr.op == "const":
        return "missing" if expr.params[0] is None else repr(expr.params[0])
    args = [_text(arg) for arg in expr.args]
    if expr.op in _INFIX:
        text = f"{args[0]} {_INFIX[expr.op]} {args[1]}"
        return text if top else f"({text})"
    if expr.op == "neg":
        return f"-{args[0]}"
    if expr.op == "not":
        return f"~{args[0]}"
    if expr.op == "where":
        return f"where({', '.join(args)})"
    shown = [
        repr(list(p) if isinstance(p, tuple) else p)
        for p, name in zip(expr.params, OPS[expr.op].parameters, strict=True)
        if not (name == "tz" and p == "UTC")
    ]
    return f"{args[0]}.{expr.op}({', '.join(shown)})"
