"""Programs: lowering, registers, inputs, and the interpreter's own promises."""

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kernel import kernels
from holdfast.kernel.errors import ContractError, DefinitionError
from holdfast.kernel.expr import OPS, Expr, col, const
from holdfast.kernel.program import Input, lower
from holdfast.kernel.schema import Column

X, Y = col("x"), col("y")
FLOATS = {"x": "float", "y": "float"}
NAN = math.nan


def value(expr: Expr, types: dict, row: dict, vocabularies: dict | None = None) -> float:
    return float(lower([("e", expr)], types, vocabularies or {}).run_row(row)[0])


def same(found: float, expected: float | None) -> bool:
    return math.isnan(found) if expected is None else found == expected


@pytest.mark.parametrize(
    ("op", "x", "y", "expected"),
    [
        ("add", 1, None, None), ("add", 1.7e308, 1.7e308, None), ("div", 1, 0, None), ("div", 0, 0, None),
        ("mul", 1e200, 1e200, None), ("sub", 3, 1, 2), ("div", 1, 4, 0.25),
        ("lt", 1, None, None), ("lt", 1, 2, 1), ("ge", 1, 2, 0), ("eq", 0.0, -0.0, 1), ("ne", 1, 1, 0),
        ("and", 0, None, 0), ("and", None, 0, 0), ("and", 2, None, None), ("and", 2, -1, 1), ("and", 0, 1, 0),
        ("or", 2, None, 1), ("or", None, -2, 1), ("or", 0, None, None), ("or", 0, 0, 0),
        ("or", None, None, None),
    ],
)  # fmt: skip
def test_null_rules_of_two_operands(
    op: str, x: float | None, y: float | None, expected: float | None
) -> None:
    assert same(value(Expr(op, (X, Y)), FLOATS, {"x": x, "y": y}), expected)


@pytest.mark.parametrize(
    ("expr", "x", "expected"),
    [
        (Expr("log", (X,)), 0, None), (Expr("log", (X,)), -1, None), (Expr("log", (X,)), 1, 0),
        (Expr("exp", (X,)), 710, None), (Expr("exp", (X,)), -1e6, 0), (Expr("exp", (X,)), None, None),
        (Expr("sqrt", (X,)), -1, None), (Expr("sqrt", (X,)), 4, 2), (Expr("not", (X,)), None, None),
        (Expr("not", (X,)), 0, 1), (Expr("not", (X,)), 7, 0), (Expr("neg", (X,)), 2, -2),
        (Expr("abs", (X,)), -2, 2), (Expr("is_missing", (X,)), None, 1), (Expr("is_missing", (X,)), 0, 0),
        (Expr("fill", (X,), (3,)), None, 3), (Expr("fill", (X,), (3,)), 1, 1),
        (Expr("clip", (X,), (0, 1)), 2, 1), (Expr("clip", (X,), (0, 1)), -2, 0),
        (Expr("clip", (X,), (None, 1)), -2, -2), (Expr("clip", (X,), (0, 1)), None, None),
        (Expr("isin", (X,), ((1, 2),)), 2, 1), (Expr("isin", (X,), ((1, 2),)), 3, 0),
        (Expr("isin", (X,), ((1, 2),)), None, None), (Expr("isin", (X,), ((),)), 1, 0),
        (Expr("where", (X, const(1), const(2))), 5, 1), (Expr("where", (X, const(1), const(2))), 0, 2),
        (Expr("where", (X, const(1), const(2))), None, None),
        (Expr("where", (X, const(None), const(2))), 1, None),
    ],
)  # fmt: skip
def test_rules_of_one_operand(expr: Expr, x: float | None, expected: float | None) -> None:
    assert same(value(expr, FLOATS, {"x": x}), expected)


@pytest.mark.parametrize(
    ("op", "tz", "moment", "expected"),
    [
        ("hour", "UTC", datetime(2026, 7, 1, 23, 59, 59, 999_999, UTC), 23),
        ("hour", "Europe/Lisbon", datetime(2026, 7, 1, 23, 59, tzinfo=UTC), 0),
        ("day", "Europe/Lisbon", datetime(2026, 7, 1, 23, 59, tzinfo=UTC), 2),
        ("weekday", "UTC", datetime(1970, 1, 1, tzinfo=UTC), 3),
        ("weekday", "UTC", datetime(1969, 12, 29, tzinfo=UTC), 0),
        ("month", "America/New_York", datetime(2026, 1, 1, 4, 59, tzinfo=UTC), 12),
        ("day", "UTC", datetime(2024, 2, 29, tzinfo=UTC), 29),
        ("month", "UTC", datetime(1, 1, 1, tzinfo=UTC), 1),
        ("month", "America/New_York", datetime(1, 1, 1, tzinfo=UTC), None),
        ("day", "Asia/Tokyo", datetime(9999, 12, 31, 23, tzinfo=UTC), None),
    ],
)
def test_date_parts_are_those_of_the_zone(op: str, tz: str, moment: datetime, expected: float | None) -> None:
    us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)

    assert same(value(Expr(op, (col("at"),), (tz,)), {"at": "time"}, {"at": us}), expected)


def test_times_are_exact_until_the_year_2255_and_for_whole_seconds_to_9999() -> None:
    exact_end = datetime(2255, 6, 5, 23, 47, 34, 740_992, UTC)
    last_second = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    last = (last_second - epoch) // datetime.resolution

    assert (exact_end - epoch) // datetime.resolution == 2**53
    assert int(float(last)) == last
    assert last % 64 == 0


@pytest.mark.parametrize(
    ("text", "code", "equal", "among"),
    [("PT", 1, 0, 1), ("DE", 2, 1, 0), ("ES", 0, 0, 1), ("XX", 0, 0, 0), (None, None, None, None)],
)
def test_texts_enter_by_code_constant_and_list(
    text: str | None, code: float | None, equal: float | None, among: float | None
) -> None:
    country = col("country")
    program = lower(
        [
            ("code", Expr("code", (country,))),
            ("equal", Expr("eq", (const("DE"), country))),
            ("among", Expr("isin", (country,), (("ES", "PT"),))),
        ],
        {"country": "string"},
        {"country": ("PT", "DE", "PT")},
    )

    found = program.run_row({"country": text})
    batch = program.run(program.encode(pl.DataFrame({"country": [text, "DE"]}), 2))

    assert all(same(float(v), e) for v, e in zip(found, (code, equal, among), strict=True))
    assert batch[0].tobytes() == found.tobytes()


def test_column_without_vocabulary_has_code_zero() -> None:
    expr = Expr("where", (Expr("eq", (col("c"), const("a"))), Expr("code", (col("c"),)), const(9)))

    assert value(expr, {"c": "string"}, {"c": "a"}) == 0


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["a", "b", "c"])])
def test_texts_are_read_from_any_text_type(dtype: pl.DataType) -> None:
    column = Input("c", "string", codes={"b": 1, "x": 5})

    assert np.array_equal(
        column.encode(pl.Series(["a", "b", None], dtype=dtype)), [0, 1, NAN], equal_nan=True
    )


def test_fixed_point_enters_by_one_division() -> None:
    types = {"d": Column("d", "decimal", scale=2), "r": Column("r", "float", scale=3)}
    program = lower([("d", col("d")), ("r", col("r"))], types)

    found = program.run(program.encode({"d": pl.Series([1_05, None]), "r": pl.Series([7, 2**62])}, 2))

    assert np.array_equal(found, [[105 / 100, 7 / 1000], [NAN, float(2**62) / 1000]], equal_nan=True)
    assert program.run_row({"d": 105, "r": 7}).tobytes() == found[0].tobytes()


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_one_value_has_the_bits_of_its_column(stored: list[int | None]) -> None:
    for column in (Input("i", "int", whole=True), Input("d", "decimal", 1000.0, whole=True)):
        one_by_one = np.array([column.encode_value(v) for v in stored])
        assert np.array_equal(column.encode(pl.Series(stored, dtype=pl.Int64)), one_by_one, equal_nan=True)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_instants_are_read_as_microseconds(unit: str) -> None:
    moments = pl.Series([datetime(1970, 1, 1, 0, 0, 1), None]).cast(pl.Datetime(unit, "UTC"))  # type: ignore[arg-type]

    assert np.array_equal(Input("at", "time", whole=True).encode(moments), [1e6, NAN], equal_nan=True)


@pytest.mark.parametrize(
    ("column", "stored"),
    [
        (Input("d", "decimal", 100.0, whole=True), pl.Series([1.5])),
        (Input("d", "decimal", 100.0, whole=True), np.array([1.5])),
        (Input("n", "int", whole=True), pl.Series(["1"])),
        (Input("f", "float"), pl.Series(["1"])),
        (Input("f", "float"), np.array([1])),
        (Input("c", "string", codes={}), pl.Series([1])),
    ],
)
def test_column_of_another_type_is_refused(column: Input, stored: pl.Series | np.ndarray) -> None:
    with pytest.raises(ContractError) as caught:
        column.encode(stored)

    assert caught.value.code == "HF202"


@pytest.mark.parametrize(
    ("column", "stored"),
    [
        (Input("d", "decimal", 100.0, whole=True), 1.5),
        (Input("n", "int", whole=True), "1"),
        (Input("f", "float"), "1"),
        (Input("c", "string", codes={}), 1),
        (Input("at", "time", whole=True), datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_value_of_another_type_is_refused(column: Input, stored: object) -> None:
    with pytest.raises(ContractError) as caught:
        column.encode_value(stored)

    assert caught.value.code == "HF202"


def test_column_of_another_length_is_refused() -> None:
    program = lower([("x", X)], FLOATS)

    with pytest.raises(ContractError, match="has 1 rows, expected 2"):
        program.encode({"x": pl.Series([1.0])}, 2)


def test_column_of_nulls_only_is_missing() -> None:
    types = {"n": "int", "c": "string", "f": "float"}
    program = lower([(name, Expr("is_missing", (col(name),))) for name in types], types)

    assert program.run(program.encode(pl.DataFrame({name: [None] for name in types}), 1)).tolist() == [
        [1, 1, 1]
    ]


def test_infinite_input_is_missing() -> None:
    assert math.isnan(value(X, FLOATS, {"x": math.inf}))


def test_missing_has_one_bit_pattern() -> None:
    program = lower(
        [("x", X), ("neg", Expr("neg", (X,))), ("sqrt", Expr("sqrt", (Y,))), ("div", Expr("div", (Y, X)))],
        FLOATS,
    )
    inputs = np.full((2, 1000), -np.nan)
    inputs[1] = -1.0

    assert set(program.run(inputs).view(np.uint64).ravel()) == {np.uint64(0x7FF8000000000000)}


def test_common_subexpressions_are_computed_once() -> None:
    ratio = Expr("div", (X, Y))
    program = lower([("a", ratio), ("b", Expr("log", (Expr("div", (X, Y)),))), ("c", ratio)], FLOATS)

    assert [column.name for column in program.inputs] == ["x", "y"]
    assert program.code[4] == 4  # two loads, one division, one logarithm


def test_zero_and_minus_zero_are_two_constants() -> None:
    found = lower([("a", const(0.0)), ("b", const(-0.0)), ("c", const(False))], {}).run(np.empty((0, 1)))

    assert [math.copysign(1, v) for v in found[0]] == [1, -1, 1]


def test_registers_are_reused_after_last_use() -> None:
    tree = X
    for _ in range(1_000):
        tree = Expr("add", (tree, Y))

    program = lower([("sum", tree)], FLOATS)

    assert program.code[0] == 3
    assert program.run_row({"x": 0.5, "y": 1})[0] == 1000.5


def test_tree_that_shares_its_nodes_is_lowered_in_linear_time() -> None:
    tree = X
    for _ in range(100):
        tree = Expr("add", (tree, tree))

    assert value(tree, FLOATS, {"x": 1}) == 2.0**100


def test_all_problems_of_all_expressions_are_reported() -> None:
    with pytest.raises(DefinitionError) as caught:
        lower([("a", col("nope")), ("b", Expr("log", (col("c"),))), ("a", X)], {**FLOATS, "c": "string"})

    assert [(p.code, p.at) for p in caught.value.problems] == [("HF102", "a"), ("HF104", "b"), ("HF101", "a")]


def test_no_rows_and_no_inputs_are_fine() -> None:
    program = lower([("one", const(1)), ("two", Expr("add", (const(1), const(1))))], {})

    assert program.run(np.empty((0, 0))).shape == (0, 2)
    assert program.run(np.empty((0, 3))).tolist() == [[1, 2]] * 3
    assert program.run_row({}).tolist() == [1, 2]
    assert lower([], {}).run(np.empty((0, 3))).shape == (3, 0)


def test_wrong_number_of_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="has 1 inputs, found 2"):
        lower([("x", X)], FLOATS).run(np.zeros((2, 1)))


def test_outputs_are_ordered_by_row_and_inputs_may_be_read_only() -> None:
    program = lower([("x", X), ("y", Y)], FLOATS)
    inputs = np.arange(6.0).reshape(2, 3)
    inputs.flags.writeable = False

    found = program.run(inputs)

    assert found.flags.c_contiguous
    assert found.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_program_cannot_be_changed() -> None:
    assert not lower([("x", X)], FLOATS).code.flags.writeable


def test_one_variant_is_compiled_and_stays_the_only_one() -> None:
    program = lower([("x", X)], FLOATS)
    for inputs in (np.zeros((1, 1)), np.zeros((1, 500)), np.broadcast_to(np.zeros(()), (1, 1)).copy()):
        program.run(inputs)

    assert len(kernels.interpret.signatures) == 1


def test_every_operation_has_a_number() -> None:
    numbers = {op: getattr(kernels, op.upper()) for op in OPS if op not in ("col", "const")}

    assert len({*numbers.values(), kernels.LOAD}) == len(OPS) - 1


@pytest.mark.parametrize(("op", "function"), [("log", math.log), ("exp", math.exp), ("sqrt", math.sqrt)])
@given(st.lists(st.floats(5e-324, 700.0) | st.floats(5e-324, 1e308), min_size=1, max_size=700))
def test_functions_have_the_bits_of_the_math_module(op: str, function, xs: list[float]) -> None:
    usable = [x for x in xs if op != "exp" or x < 700] or [1.0]
    program = lower([("e", Expr(op, (X,)))], FLOATS)

    batch = program.run(np.array([usable]))[:, 0]

    assert batch.tolist() == [function(x) for x in usable]
    assert batch.tolist() == [program.run_row({"x": x})[0] for x in usable]


def test_greatest_exponential_is_finite_and_the_next_overflows() -> None:
    assert math.isfinite(math.exp(kernels.EXP_LIMIT))
    with pytest.raises(OverflowError):
        math.exp(math.nextafter(kernels.EXP_LIMIT, math.inf))
