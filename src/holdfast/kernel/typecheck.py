"""Types of expressions: what may stand where, said before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.kernel.errors import DefinitionError, Problem, did_you_mean
from holdfast.kernel.expr import Expr, Scalar, to_text
from holdfast.kernel.schema import Column, ColumnType
from holdfast.kernel.zones import find_zone, nearest_zone

Types = Mapping[str, Column | ColumnType]
"""Columns by name: with their bounds where known, else only their type."""

EXACT_LIMIT = 2**53
"""Greatest magnitude up to which every integer is a float64."""

_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_TRUTH = (*_COMPARISONS, "and", "or", "not", "is_missing", "isin")
DATE_PARTS = ("hour", "weekday", "day", "month")


def check(expr: Expr, types: Types, *, at: str = "") -> list[Problem]:
    """All problems of an expression whose value is a number; none means it can be lowered.

    Parameters
    ----------
    types : the columns it may read
    at : path of the definition, for the problems

    Returns
    -------
    HF102 for unknown columns, HF103 for what has no meaning, HF104 for columns of a type that cannot be used
    like this, in the order of the tree, operands first.
    """
    checker = _Checker(types, at)
    if checker.type_of(expr) == "string":
        checker.report(
            "HF104",
            f"the value of `{_shown(expr)}` is a text, and registers hold numbers.",
            "use `==`, `isin`, or the code of a categorical column",
        )
    return checker.problems


def check_values(expr: Expr, columns: Mapping[str, Column]) -> list[Problem]:
    """Problems of texts that are compared with a column whose declared values do not hold them.

    Apart from `check`, which also judges what a bundle holds: there an older schema may have said otherwise.
    """
    problems: dict[Problem, None] = {}
    for node in postorder(expr):
        texts: tuple[object, ...] = ()
        if node.op in ("eq", "ne"):
            texts = tuple(arg.params[0] for arg in node.args if arg.op == "const")
        elif node.op == "isin" and isinstance(node.params[0], tuple):
            texts = node.params[0]
        names = [str(arg.params[0]) for arg in node.args if arg.op == "col"]
        column = columns.get(names[0]) if len(names) == 1 else None
        if column is None or column.one_of is None:
            continue
        for text in texts:
            if isinstance(text, str) and text not in column.one_of:
                problems[
                    Problem(
                        "HF103",
                        f"`{_shown(node)}` compares with {text!r}, which column `{column.name}` never holds.",
                        has=column.one_of,
                        hint=did_you_mean(text, column.one_of) or "compare with a declared value",
                    )
                ] = None
    return list(problems)


def result_type(expr: Expr, types: Types) -> ColumnType:
    """Type of an expression's value: bool for truth, int for codes and date parts, float for arithmetic.

    A column keeps its own type, also through `where` with two branches of one type.

    Raises
    ------
    DefinitionError
        If the expression has problems.
    """
    checker = _Checker(types, "")
    found = checker.type_of(expr)
    if checker.problems or found is None:
        raise DefinitionError(checker.problems)
    return found


def postorder(expr: Expr) -> list[Expr]:
    """Each node object once, operands before the nodes that use them; linear, without recursion."""
    order: list[Expr] = []
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(expr, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((arg, False) for arg in reversed(node.args))
    return order


def column_type(column: Column | ColumnType) -> ColumnType:
    """Type of a column that is given whole or by its type."""
    return column.type if isinstance(column, Column) else column


def as_number(value: object) -> float | None:
    """Return a constant as a finite float64, or None where it is none."""
    if not isinstance(value, bool | int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _shown(expr: Expr, length: int = 60) -> str:
    """The text of an expression, shortened; deep ones by their operation alone."""
    size: dict[int, int] = {}
    for node in postorder(expr):
        size[id(node)] = 1 + sum(size[id(arg)] for arg in node.args)
    if size[id(expr)] > 30:
        return f"{expr.op}(...)"
    text = to_text(expr)
    return text if len(text) <= length else f"{text[: length - 3]}..."


@dataclass(slots=True)
class _Checker:
    """One pass over one tree; a node that has a problem has no type, and is not complained of again."""

    types: Types
    at: str
    problems: list[Problem] = field(default_factory=list)

    def report(self, code: str, message: str, hint: str = "", has: tuple[str, ...] = ()) -> None:
        problem = Problem(code, message, at=self.at, has=has, hint=hint)
        if problem not in self.problems:
            self.problems.append(problem)

    def type_of(self, expr: Expr) -> ColumnType | None:
        found: dict[int, ColumnType | None] = {}
        for node in postorder(expr):
            found[id(node)] = self._node(node, [found[id(arg)] for arg in node.args])
        return found[id(expr)]

    def _node(self, node: Expr, operands: list[ColumnType | None]) -> ColumnType | None:
        n_before = len(self.problems)
        if node.op == "col":
            return self._column(str(node.params[0]))
        if node.op == "const":
            return self._constant(node.params[0])
        if node.op in ("eq", "ne") and "string" in operands:
            self._text_comparison(node, operands)
        elif node.op in _COMPARISONS and any(_is_missing_constant(arg) for arg in node.args):
            self.report(
                "HF103",
                f"`{_shown(node)}` compares with missing, which is always missing.",
                "use `is_missing`",
            )
        elif node.op == "isin":
            self._membership(node, operands[0])
        elif node.op == "code":
            if operands[0] is not None and (operands[0] != "string" or node.args[0].op != "col"):
                self._refuse(node, operands[0], "only a text column has a code")
        elif node.op in DATE_PARTS:
            self._date_part(node, operands[0])
        elif node.op == "is_missing":
            if node.args[0].op != "col":
                self._numbers_only(node, operands)
        else:
            self._numbers_only(node, operands)
            if node.op == "clip":
                self._limits(node)
            elif node.op == "fill" and as_number(node.params[0]) is None:
                self._bad_parameter(node, "a finite number", node.params[0])
        if len(self.problems) > n_before or (None in operands and node.op == "where"):
            return None
        return self._result(node, operands)

    @staticmethod
    def _result(node: Expr, operands: list[ColumnType | None]) -> ColumnType:
        if node.op in _TRUTH:
            return "bool"
        if node.op == "code" or node.op in DATE_PARTS:
            return "int"
        if node.op == "where" and operands[1] == operands[2] and operands[1] in ("bool", "int", "time"):
            return operands[1]
        if node.op == "fill":
            value = node.params[0]
            if operands[0] == "bool" and isinstance(value, bool):
                return "bool"
            if operands[0] == "int" and isinstance(value, int) and not isinstance(value, bool):
                return "int"
        return "float"

    def _column(self, name: str) -> ColumnType | None:
        column = self.types.get(name)
        if column is None:
            known = tuple(self.types)
            self.report("HF102", f"there is no column `{name}`.", did_you_mean(name, known), known)
            return None
        if isinstance(column, Column) and column.type == "int":
            bounds = [bound for bound in (column.ge, column.le) if bound is not None]
            if any(abs(bound) > EXACT_LIMIT for bound in bounds):
                self.report(
                    "HF104",
                    f"column `{name}` may hold integers beyond 2^53 = {EXACT_LIMIT}, which are not exact "
                    f"in an expression; its bounds are {column.ge} and {column.le}.",
                    "use it as a key, or declare it as a string or with narrower bounds",
                )
                return None
        return column_type(column)

    def _constant(self, value: Scalar | tuple[Scalar, ...]) -> ColumnType | None:
        if isinstance(value, str):
            return "string"
        if value is not None and as_number(value) is None:
            self.report("HF103", f"a constant is a finite number, a text or missing; found {value!r}.")
            return None
        return "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"

    def _refuse(self, node: Expr, found: ColumnType, rule: str, hint: str = "") -> None:
        self.report("HF104", f"{rule}; `{_shown(node)}` has a {_WORDS[found]}.", hint)

    def _bad_parameter(self, node: Expr, expected: str, found: object) -> None:
        self.report("HF103", f"`{node.op}` takes {expected}; found {found!r}.")

    def _numbers_only(self, node: Expr, operands: list[ColumnType | None]) -> None:
        if "string" in operands:
            self._refuse(
                node,
                "string",
                f"`{node.op}` takes numbers",
                "a text column enters by `==`, `!=`, `isin`, `is_missing` or its code",
            )

    def _text_comparison(self, node: Expr, operands: list[ColumnType | None]) -> None:
        if None in operands:
            return
        if sorted(arg.op for arg in node.args) != ["col", "const"] or set(operands) != {"string"}:
            missing = any(_is_missing_constant(arg) for arg in node.args)
            self.report(
                "HF104",
                f"a text column is compared with a text; found `{_shown(node)}`.",
                "use `is_missing`" if missing else "compare with a constant, or take an `isin`",
            )

    def _membership(self, node: Expr, operand: ColumnType | None) -> None:
        values = node.params[0]
        if not isinstance(values, tuple):
            self._bad_parameter(node, "a list of values", values)
        elif operand == "string":
            if node.args[0].op != "col":
                self._refuse(node, "string", "`isin` takes a column or a number")
            for value in values:
                if not isinstance(value, str):
                    self._bad_parameter(node, "texts, for a text column", value)
        elif operand is not None:
            for value in values:
                if as_number(value) is None:
                    self._bad_parameter(node, f"finite numbers, for a {_WORDS[operand]}", value)

    def _limits(self, node: Expr) -> None:
        for value in node.params:
            if value is not None and as_number(value) is None:
                self._bad_parameter(node, "finite limits or none", value)
                return
        low, high = (as_number(value) for value in node.params)
        if low is not None and high is not None and low > high:
            self.report("HF103", f"`clip` has a lower limit {low!r} above its upper limit {high!r}.")

    def _date_part(self, node: Expr, operand: ColumnType | None) -> None:
        if operand is not None and operand != "time":
            self._refuse(node, operand, f"`{node.op}` takes a time column")
        tz = node.params[0]
        if not isinstance(tz, str) or find_zone(tz) is None:
            self.report(
                "HF103",
                f"`{node.op}` takes the IANA name of a zone; found {tz!r}.",
                nearest_zone(str(tz)),
            )


def _is_missing_constant(expr: Expr) -> bool:
    return expr.op == "const" and expr.params[0] is None


_WORDS: dict[ColumnType, str] = {
    "string": "text",
    "int": "number (int)",
    "float": "number (float)",
    "decimal": "number (decimal)",
    "bool": "truth value",
    "time": "time",
}
