"""Lowers named expressions to one program of the register interpreter, and feeds it columns or one row.

A program is rebuilt from definitions wherever it runs; the bytes that travel are those of the expressions.
Common subexpressions are computed once. What the operations mean is said in `holdfast.kernel.expr.OPS`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.kernel import kernels
from holdfast.kernel.errors import ContractError, DefinitionError, Problem
from holdfast.kernel.expr import Expr
from holdfast.kernel.ids import text_code
from holdfast.kernel.schema import Column, ColumnType
from holdfast.kernel.typecheck import DATE_PARTS, Types, as_number, check, column_type, postorder, result_type
from holdfast.kernel.zones import PERIOD_START, zone_table

__all__ = ["Input", "Program", "check", "lower", "result_type"]

Columns = Mapping[str, "pl.Series | NDArray[np.float64]"]
_INTEGERS = (int, np.integer)  # truth values among them
_NUMBERS = (float, np.bool_)
_NONE: Mapping[str, tuple[str, ...]] = {}


@dataclass(frozen=True, slots=True)
class Input:
    """One column on its way into a register.

    Attributes
    ----------
    divisor : 10^scale of a fixed-point column, else 1
    whole : whether stored values are integers: int, time and fixed point
    codes
        None unless the column is a text: the codes, from 1, of its vocabulary, then of the other texts that
        expressions name. Any other text is 0, which equals none of them.
    computed
        Whether the texts were computed, and come as their numbers (`holdfast.kernel.ids.text_code`); then the
        codes are by these.

    Notes
    -----
    Times are microseconds: exact up to 2^53 (the years 1684 to 2255), beyond that the nearest float64, which
    is off by at most 16 microseconds up to the year 9999 and still exact for whole seconds.
    """

    name: str
    type: ColumnType
    divisor: float = 1.0
    whole: bool = False
    codes: dict[str, int] | None = None
    computed: dict[float, float] | None = None

    def encode(self, stored: pl.Series | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the register of stored values: (n,) float64, NaN where null.

        Parameters
        ----------
        stored : (n,) in the lake's type (times may be instants too), or float64 where computed

        Raises
        ------
        ContractError
            If the type is not the one that the column is stored in.
        """
        if isinstance(stored, np.ndarray) and self.computed is not None:
            return self._encode_numbers(stored)
        if isinstance(stored, np.ndarray):
            if stored.dtype != np.float64 or self.whole or self.codes is not None:
                raise self._mismatch(f"a {stored.dtype} array")
            return stored
        dtype = stored.dtype
        if dtype == pl.Null:
            return np.full(len(stored), math.nan)
        if self.codes is not None:
            if dtype not in (pl.String, pl.Categorical, pl.Enum):
                raise self._mismatch(str(dtype))
            return self._encode_texts(stored.cast(pl.String))
        if self.type == "time" and dtype == pl.Datetime:
            stored = stored.cast(pl.Datetime("us", getattr(dtype, "time_zone", None))).to_physical()
        elif not (dtype.is_integer() if self.whole else dtype.is_numeric() or dtype == pl.Boolean):
            raise self._mismatch(str(dtype))
        values = stored.cast(pl.Float64).to_numpy()
        return values if self.divisor == 1.0 else values / self.divisor

    def _encode_texts(self, texts: pl.Series) -> NDArray[np.float64]:
        codes = self.codes or {}
        known = texts.cast(pl.Enum(list(codes)), strict=False)
        places = known.to_physical().cast(pl.UInt32).fill_null(len(codes)).to_numpy()
        found: NDArray[np.float64] = np.array([*codes.values(), 0], np.float64)[places]
        if texts.null_count():
            found[texts.is_null().to_numpy()] = math.nan
        return found

    def _encode_numbers(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the codes of texts that come as their numbers."""
        table = self.computed or {}
        known = np.array(sorted(table), np.float64)
        codes = np.array([*(table[number] for number in known.tolist()), 0.0])
        at = np.searchsorted(known, numbers)
        is_known = np.append(known, math.nan)[at] == numbers
        return np.where(np.isnan(numbers), math.nan, codes[np.where(is_known, at, known.size)])

    def encode_value(self, stored: object) -> float:
        """Return the register of one stored value, NaN for None; the same bits as `encode`.

        Raises
        ------
        ContractError
            If the value does not have the type that the column is stored in.
        """
        if stored is None:
            return math.nan
        if self.computed is not None:
            if isinstance(stored, float):
                return math.nan if stored != stored else self.computed.get(stored, 0.0)
        elif self.codes is not None:
            if isinstance(stored, str):
                return float(self.codes.get(stored, 0))
        elif isinstance(stored, _INTEGERS):
            return float(stored) / self.divisor
        elif not self.whole and isinstance(stored, _NUMBERS):
            return float(stored)
        raise self._mismatch(repr(stored))

    def _mismatch(self, found: str) -> ContractError:
        stored = "texts" if self.codes is not None else "integers" if self.whole else "numbers"
        return ContractError(
            f"column `{self.name}` is {self.type} and stored as {stored}; found {found}.", code="HF202"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Named expressions over typed columns, ready to run.

    Attributes
    ----------
    names : (k,) names of the outputs
    inputs : (m,) the columns it reads, in the order of the input rows
    code : int64 words, read-only; their layout is said at `holdfast.kernel.kernels.interpret`
    """

    names: tuple[str, ...]
    inputs: tuple[Input, ...]
    code: NDArray[np.int64]

    def run(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of all expressions, one row for each column of the inputs.

        Parameters
        ----------
        inputs : (m, n) float64, C-ordered, as `encode` makes them

        Returns
        -------
        (n, k) float64, C-ordered; NaN where missing.

        Notes
        -----
        O(n x steps) time; scratch of one block of rows. Law: any batch is its rows one by one, bit by bit,
        and equal to the naive evaluator (tests/laws/test_expressions.py).
        """
        if inputs.shape[0] != len(self.inputs):
            raise ValueError(f"the program has {len(self.inputs)} inputs, found {inputs.shape[0]} rows")
        outputs = np.empty((inputs.shape[1], len(self.names)))
        kernels.interpret(self.code, inputs, outputs)
        return outputs

    def encode(self, columns: Columns | pl.DataFrame, n_rows: int) -> NDArray[np.float64]:
        """Return the (m, n) input registers of columns in the lake's types, or float64 where computed.

        Raises
        ------
        ContractError
            If a column has another type or another length.
        """
        registers = np.empty((len(self.inputs), n_rows))
        for row, column in zip(registers, self.inputs, strict=True):
            values = column.encode(columns[column.name])
            if values.shape != (n_rows,):
                raise ContractError(
                    f"column `{column.name}` has {values.shape[0]} rows, expected {n_rows}.", code="HF200"
                )
            row[:] = values
        return registers

    def encode_row(self, row: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the (m, 1) input registers of one row of stored values; None is missing."""
        values = [column.encode_value(row[column.name]) for column in self.inputs]
        return np.array(values, np.float64).reshape(len(values), 1)

    def run_row(self, row: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the (k,) values of one row of stored values, by the machine code that serves batches."""
        values: NDArray[np.float64] = self.run(self.encode_row(row))[0]
        return values


def lower(
    expressions: Iterable[tuple[str, Expr]],
    types: Types,
    vocabularies: Mapping[str, tuple[str, ...]] = _NONE,
    computed: Collection[str] = (),
) -> Program:
    """Lower named expressions to one program.

    Parameters
    ----------
    expressions : (k,) names and trees, in the order of the outputs
    types : the columns they may read; a fixed-point column is given whole, for its scale
    vocabularies : texts by column; code ``i + 1`` is entry ``i``. A column without one has only code 0.
    computed : columns that come as float64, texts as their numbers (`holdfast.kernel.ids.text_code`)

    Raises
    ------
    DefinitionError
        If an expression has problems (all of them, at the name of the expression) or a name is used twice.
    """
    pairs = tuple(expressions)
    names = tuple(name for name, _ in pairs)
    problems = [problem for name, expr in pairs for problem in check(expr, types, at=name)]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [Problem("HF101", f"two expressions are named `{name}`.", at=name) for name in twice]
    if problems:
        raise DefinitionError(problems)
    lowering = _Lowering(types, vocabularies, computed)
    outputs = [lowering.add(expr) for _, expr in pairs]
    return Program(names, lowering.inputs(), lowering.assemble(outputs))


_OPERATIONS = {
    "add": kernels.ADD, "sub": kernels.SUB, "mul": kernels.MUL, "div": kernels.DIV, "neg": kernels.NEG,
    "abs": kernels.ABS, "log": kernels.LOG, "exp": kernels.EXP, "sqrt": kernels.SQRT, "clip": kernels.CLIP,
    "lt": kernels.LT, "le": kernels.LE, "gt": kernels.GT, "ge": kernels.GE, "eq": kernels.EQ,
    "ne": kernels.NE, "and": kernels.AND, "or": kernels.OR, "not": kernels.NOT, "where": kernels.WHERE,
    "is_missing": kernels.IS_MISSING, "fill": kernels.FILL, "isin": kernels.ISIN, "hour": kernels.HOUR,
    "weekday": kernels.WEEKDAY, "day": kernels.DAY, "month": kernels.MONTH, "code": kernels.CODE,
}  # fmt: skip
_DATE_OPERATIONS = frozenset(_OPERATIONS[name] for name in DATE_PARTS)


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation on values, before values have registers; equal steps have equal values."""

    op: int
    values: tuple[int, ...]
    words: tuple[int, ...] = ()


_CONSTANT = -1


@dataclass(slots=True)
class _Lowering:
    """Numbers each distinct value once: ``values[i]`` is the step that computes it, or a constant's bits."""

    types: Types
    vocabularies: Mapping[str, tuple[str, ...]]
    computed: Collection[str] = ()
    values: dict[_Step, int] = field(default_factory=dict)
    columns: dict[str, int] = field(default_factory=dict)
    codes: dict[str, dict[str, int]] = field(default_factory=dict)
    lists: dict[tuple[float, ...], int] = field(default_factory=dict)
    zones: dict[str, int] = field(default_factory=dict)
    numbers: list[float] = field(default_factory=list)
    zone_words: list[int] = field(default_factory=list)

    def add(self, expr: Expr) -> int:
        """Return the number of the value of a whole tree."""
        found: dict[int, int] = {}
        for node in postorder(expr):
            if not (node.op == "const" and isinstance(node.params[0], str)):
                found[id(node)] = self._node(node, found)
        return found[id(expr)]

    def inputs(self) -> tuple[Input, ...]:
        """Return the columns that were read, in order of first use."""
        return tuple(self._input(name) for name in self.columns)

    def _input(self, name: str) -> Input:
        given = self.types[name]
        kind = column_type(given)
        if isinstance(given, Column) and given.is_fixed_point:
            return Input(name, kind, float(10 ** (given.scale or 0)), whole=True)
        if kind == "string":
            codes = self._codes(name)
            if name in self.computed:
                numbers = {float(text_code(text)): float(code) for text, code in codes.items()}
                return Input(name, kind, codes=codes, computed=numbers)
            return Input(name, kind, codes=codes)
        return Input(name, kind, whole=kind in ("int", "time") and name not in self.computed)

    def _codes(self, name: str) -> dict[str, int]:
        if name not in self.codes:
            table: dict[str, int] = {}
            for position, text in enumerate(self.vocabularies.get(name, ()), 1):
                table.setdefault(text, position)
            self.codes[name] = table
        return self.codes[name]

    def _text_code(self, column: Expr, text: object) -> float:
        name = str(column.params[0])
        table = self._codes(name)
        next_code = max(len(self.vocabularies.get(name, ())), *table.values(), 0) + 1
        return float(table.setdefault(str(text), next_code))

    def _value(self, step: _Step) -> int:
        return self.values.setdefault(step, len(self.values))

    def _constant(self, number: float) -> int:
        bits = int(np.float64(number).view(np.int64))  # 0.0 and -0.0 are two constants
        return self._value(_Step(_CONSTANT, (), (bits,)))

    def _node(self, node: Expr, found: dict[int, int]) -> int:
        if node.op == "const":
            return self._constant(_number(node.params[0]))
        if node.op == "col":
            name = str(node.params[0])
            return self._value(_Step(kernels.LOAD, (), (self.columns.setdefault(name, len(self.columns)),)))
        values = [found[id(arg)] for arg in node.args if id(arg) in found]
        words: tuple[int, ...] = ()
        if node.op in ("eq", "ne") and len(values) == 1:
            column, text = sorted(node.args, key=lambda arg: arg.op)
            values.append(self._constant(self._text_code(column, text.params[0])))
        elif node.op == "clip":
            low, high = node.params
            values.append(self._constant(-math.inf if low is None else _number(low)))
            values.append(self._constant(math.inf if high is None else _number(high)))
        elif node.op == "fill":
            values.append(self._constant(_number(node.params[0])))
        elif node.op == "isin":
            words = self._list(node)
        elif node.op in DATE_PARTS:
            words = (self._zone(str(node.params[0])),)
        elif node.op == "code":
            size = len(self.vocabularies.get(str(node.args[0].params[0]), ()))
            values.append(self._constant(float(size)))
        return self._value(_Step(_OPERATIONS[node.op], tuple(values), words))

    def _list(self, node: Expr) -> tuple[int, int]:
        given = node.params[0]
        assert isinstance(given, tuple)
        found = (self._text_code(node.args[0], v) if isinstance(v, str) else _number(v) for v in given)
        numbers = tuple(sorted(set(found)))
        start = self.lists.setdefault(numbers, len(self.numbers))
        if start == len(self.numbers):
            self.numbers.extend(numbers)
        return start, start + len(numbers)

    def _zone(self, tz: str) -> int:
        if tz == "UTC":
            return -1
        if tz not in self.zones:
            transitions, offsets = zone_table(tz)
            self.zones[tz] = len(self.zone_words)
            self.zone_words += [len(transitions), PERIOD_START, *transitions, *offsets]
        return self.zones[tz]

    def assemble(self, outputs: list[int]) -> NDArray[np.int64]:
        """Return the words of the program that computes these values."""
        constants = {value: step for step, value in self.values.items() if step.op == _CONSTANT}
        steps = {value: step for step, value in self.values.items() if step.op != _CONSTANT}
        register, n_registers = _allocate(list(constants), steps, outputs)
        numbers = [step.words[0] for step in constants.values()]
        numbers += np.array(self.numbers, np.float64).view(np.int64).tolist()
        words = [n_registers, len(constants), len(numbers), len(outputs), len(steps), *numbers]
        words += [register[value] for value in outputs]
        first_zone = len(words) + kernels.STEP * len(steps)
        for value, step in steps.items():
            operands = [register[operand] for operand in step.values]
            if step.op == kernels.ISIN:
                operands += [len(constants) + word for word in step.words]
            elif step.op in _DATE_OPERATIONS:
                operands += [first_zone + word if word >= 0 else -1 for word in step.words]
            else:
                operands += step.words
            words += [step.op, register[value], *operands, *[0] * (kernels.STEP - 2 - len(operands))]
        code = np.array(words + self.zone_words, np.int64)
        code.flags.writeable = False
        return code


def _number(value: object) -> float:
    number = math.nan if value is None else as_number(value)
    assert number is not None
    return number


def _allocate(
    constants: list[int], steps: dict[int, _Step], outputs: list[int]
) -> tuple[dict[int, int], int]:
    """Registers of values and their number: constants keep the first, others are reused after last use.

    A target is taken before the operands of its step are given back, so it is none of them.
    """
    last_use = {operand: value for value, step in steps.items() for operand in step.values}
    kept = {*constants, *outputs}
    register = {value: place for place, value in enumerate(constants)}
    free: list[int] = []
    n_registers = len(constants)
    for value, step in steps.items():
        if free:
            register[value] = heapq.heappop(free)
        else:
            register[value] = n_registers
            n_registers += 1
        for operand in {*step.values}:
            if last_use[operand] == value and operand not in kept:
                heapq.heappush(free, register[operand])
    return register, max(1, n_registers)
