"""Laws of expressions: compiled equals naive, a batch is its rows, bytes bring the same tree back."""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kernel import kernels
from holdfast.kernel.expr import Expr, const, to_text
from holdfast.kernel.expr import col as column
from holdfast.kernel.expr_oracle import evaluate_expression
from holdfast.kernel.ids import canonical_json, from_data, to_data
from holdfast.kernel.program import Program, check, lower
from holdfast.kernel.schema import Column

COLUMNS = {
    "n": Column("n", "int", nullable=True, ge=-(2**53), le=2**53),
    "k": Column("k", "int", nullable=True),
    "price": Column("price", "decimal", nullable=True, scale=2),
    "rate": Column("rate", "float", nullable=True, scale=3),
    "f": Column("f", "float", nullable=True),
    "b": Column("b", "bool", nullable=True),
    "at": Column("at", "time", nullable=True),
    "due": Column("due", "time", nullable=True),
    "country": Column("country", "string", nullable=True),
    "word": Column("word", "string", nullable=True),
}
SCALES = {"price": 2, "rate": 3}
VOCABULARIES = {"country": ("PT", "DE", "FR")}
ZONES = ("UTC", "Europe/Lisbon", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
STORED = {
    "int": pl.Int64, "decimal": pl.Int64, "float": pl.Float64, "bool": pl.Boolean,
    "time": pl.Int64, "string": pl.String,
}  # fmt: skip

int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [0.0, -0.0, 1.0, -1.0, 5e-324, 1.7976931348623157e308, 709.782712893384, -745.2, 2.0**53]
    ),
    st.floats(-100, 100),
)
times = st.one_of(
    int64s,
    st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999),  # the years 1 to 9999
    st.integers(-4_000_000_000_000_000, 4_200_000_000_000_000),  # around the changes of zones
    st.sampled_from([-1, 0, 253_402_300_799_999_999, 253_402_300_799_999_000, -62_135_596_800_000_000]),
)
texts = st.sampled_from(["PT", "DE", "FR", "ES", "", "pt", "ß"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(-(2**53), 2**53) | st.integers(-3, 3),
    "k": int64s | st.integers(-3, 3),
    "price": int64s | st.integers(-1000, 1000),
    "rate": int64s | st.integers(-1000, 1000),
    "f": floats,
    "b": st.booleans(),
    "at": times,
    "due": times,
    "country": texts,
    "word": texts,
}
rows = st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()})

constants = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.integers(-(10**300), 10**300), floats)
numbers = st.one_of(st.booleans(), st.integers(-3, 3), floats)


def node(op: str, *args: st.SearchStrategy[Expr], params: Any = ()) -> st.SearchStrategy[Expr]:
    parameters = st.tuples(*params) if isinstance(params, tuple) else params
    return st.builds(Expr, st.just(op), st.tuples(*args), parameters)


time_columns = st.sampled_from([column("at"), column("due")])
text_columns = st.sampled_from([column("country"), column("word")])
text_constants = texts.map(const)
limits = st.tuples(st.none() | numbers, st.none() | numbers).map(
    lambda pair: tuple(sorted(pair)) if None not in pair else pair  # type: ignore[type-var]
)
leaves = st.one_of(
    st.sampled_from([column(name) for name, c in COLUMNS.items() if c.type != "string"]),
    constants.map(const),
    *(node(part, time_columns, params=(st.sampled_from(ZONES),)) for part in ("hour", "weekday")),
    *(node(part, time_columns, params=(st.sampled_from(ZONES),)) for part in ("day", "month")),
    node("code", text_columns),
    node("is_missing", text_columns),
    node("eq", text_columns, text_constants),
    node("ne", text_constants, text_columns),
    node("isin", text_columns, params=(st.lists(texts, max_size=4).map(tuple),)),
)


def branches(below: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    compared = below.filter(lambda expr: expr.op != "const" or expr.params[0] is not None)
    return st.one_of(
        *(node(op, below, below) for op in ("add", "sub", "mul", "div", "and", "or")),
        *(node(op, below) for op in ("neg", "abs", "log", "exp", "sqrt", "not")),
        *(node(op, compared, compared) for op in ("lt", "le", "gt", "ge", "eq", "ne")),
        node("where", below, below, below),
        node("clip", below, params=limits),
        node("fill", below, params=(numbers,)),
        node("isin", below, params=(st.lists(numbers, max_size=6).map(tuple),)),
        node("is_missing", st.one_of(st.sampled_from([column(name) for name in COLUMNS]))),
        node("hour", node("where", below, time_columns, time_columns), params=(st.sampled_from(ZONES),)),
    )


trees = st.recursive(leaves, branches, max_leaves=12)


def bits(value: float | None) -> bytes:
    return struct.pack("<d", math.nan if value is None else value)


def frame_of(table: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        table, schema={name: pl.Int64 if c.is_fixed_point else STORED[c.type] for name, c in COLUMNS.items()}
    )


def compile_trees(exprs: list[Expr]) -> Program:
    return lower([(f"e{i}", expr) for i, expr in enumerate(exprs)], COLUMNS, VOCABULARIES)


@contextmanager
def plain_python() -> Iterator[None]:
    """The kernels as Python executes them."""
    compiled = {name: value for name, value in vars(kernels).items() if hasattr(value, "py_func")}
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        for name, value in compiled.items():
            patch.setattr(kernels, name, value.py_func)
        yield


@given(trees)
def test_generated_trees_have_no_problems(expr: Expr) -> None:
    assert check(expr, COLUMNS) == []


@given(st.lists(trees, min_size=1, max_size=6), st.lists(rows, min_size=1, max_size=8))
def test_compiled_equals_naive_bit_for_bit(exprs: list[Expr], table: list[dict[str, Any]]) -> None:
    program = compile_trees(exprs)

    found = program.run(program.encode(frame_of(table), len(table)))

    for i, row in enumerate(table):
        for j, expr in enumerate(exprs):
            expected = evaluate_expression(expr, row, VOCABULARIES, SCALES)
            assert bits(float(found[i, j])) == bits(expected), (to_text(expr), row)


@given(st.lists(trees, min_size=1, max_size=6), st.lists(rows, min_size=1, max_size=8), st.integers(1, 700))
def test_batch_is_its_rows_one_by_one(exprs: list[Expr], table: list[dict[str, Any]], n: int) -> None:
    program = compile_trees(exprs)
    one_by_one = np.array([program.run_row(row) for row in table])
    repeated = [table[i % len(table)] for i in range(n)]

    batch = program.run(program.encode(frame_of(repeated), n))

    expected = one_by_one[np.arange(n) % len(table)]
    assert batch.tobytes() == expected.tobytes()


@given(st.lists(trees, min_size=1, max_size=3), st.lists(rows, min_size=0, max_size=4))
def test_kernels_as_plain_python_give_the_same_bits(exprs: list[Expr], table: list[dict[str, Any]]) -> None:
    program = compile_trees(exprs)
    inputs = program.encode(frame_of(table), len(table))
    compiled = program.run(inputs)

    with plain_python():
        plain = program.run(inputs)

    assert plain.tobytes() == compiled.tobytes()


@given(trees)
def test_json_brings_the_same_tree_back(expr: Expr) -> None:
    restored = from_data(Expr, to_data(expr))

    assert restored == expr
    assert canonical_json(restored) == canonical_json(expr)


@given(st.lists(trees, min_size=1, max_size=6), st.lists(rows, min_size=1, max_size=4))
def test_sharing_subexpressions_changes_no_bit(exprs: list[Expr], table: list[dict[str, Any]]) -> None:
    frame = frame_of(table)
    together = compile_trees(exprs)

    shared = together.run(together.encode(frame, len(table)))

    for j, expr in enumerate(exprs):
        alone = compile_trees([expr])
        assert alone.run(alone.encode(frame, len(table))).tobytes() == shared[:, j].tobytes()
