"""Types of expressions, and what is said where they do not fit."""

import pytest

from holdfast.kernel.errors import DefinitionError
from holdfast.kernel.expr import OPS, Expr, col, const
from holdfast.kernel.schema import Column
from holdfast.kernel.typecheck import check, result_type

TYPES = {
    "n": "int", "f": "float", "price": Column("price", "decimal", scale=2), "b": "bool", "at": "time",
    "due": "time", "country": "string", "word": "string",
    "wide": Column("wide", "int", ge=0, le=2**53 + 1), "edge": Column("edge", "int", ge=-(2**53), le=2**53),
    "free": Column("free", "int"),
}  # fmt: skip
N, F, AT, DUE, COUNTRY = col("n"), col("f"), col("at"), col("due"), col("country")


def codes(expr: Expr) -> list[str]:
    return [problem.code for problem in check(expr, TYPES)]


def test_unknown_column_names_the_nearest_and_lists_all() -> None:
    (problem,) = check(Expr("add", (col("contry"), const(1))), TYPES, at="features.x")

    assert problem.code == "HF102"
    assert problem.at == "features.x"
    assert problem.hint == "did you mean `country`?"
    assert problem.has == tuple(TYPES)


@pytest.mark.parametrize(
    "expr",
    [
        Expr("sub", (AT, DUE)),
        Expr("lt", (AT, DUE)),
        Expr("ge", (AT, const(0))),
        Expr("eq", (COUNTRY, const("PT"))),
        Expr("ne", (const("PT"), COUNTRY)),
        Expr("isin", (COUNTRY,), (("PT", "DE"),)),
        Expr("isin", (COUNTRY,), ((),)),
        Expr("isin", (N,), ((1, 2.5, True),)),
        Expr("is_missing", (COUNTRY,)),
        Expr("code", (COUNTRY,)),
        Expr("hour", (AT,), ("UTC",)),
        Expr("day", (Expr("where", (N, AT, DUE)),), ("Asia/Tokyo",)),
        Expr("fill", (F,), (0,)),
        Expr("clip", (F,), (None, None)),
        Expr("add", (col("edge"), col("free"))),
        const(None),
    ],
)
def test_what_has_a_meaning_has_no_problem(expr: Expr) -> None:
    assert check(expr, TYPES) == []


@pytest.mark.parametrize(
    "op",
    ["add", "sub", "mul", "div", "neg", "abs", "log", "exp", "sqrt", "clip", "lt", "le", "gt", "ge", "and",
     "or", "not", "where", "fill"],
)  # fmt: skip
def test_texts_are_refused_by_operations_on_numbers(op: str) -> None:
    rule = OPS[op]
    params = {"fill": (0,), "clip": (0, 1)}.get(op, ())
    for place in range(rule.operands):
        for text in (COUNTRY, const("PT")):
            args = tuple(text if i == place else N for i in range(rule.operands))
            assert codes(Expr(op, args, params)) == ["HF104"]


@pytest.mark.parametrize(
    ("expr", "code"),
    [
        (COUNTRY, "HF104"),
        (const("PT"), "HF104"),
        (Expr("eq", (COUNTRY, col("word"))), "HF104"),
        (Expr("eq", (COUNTRY, const(1))), "HF104"),
        (Expr("eq", (N, const("1"))), "HF104"),
        (Expr("eq", (const("a"), const("a"))), "HF104"),
        (Expr("eq", (COUNTRY, const(None))), "HF104"),
        (Expr("eq", (N, const(None))), "HF103"),
        (Expr("lt", (const(None), N)), "HF103"),
        (Expr("isin", (COUNTRY,), (("PT", 1),)), "HF103"),
        (Expr("isin", (const("PT"),), (("PT",),)), "HF104"),
        (Expr("isin", (N,), (("PT",),)), "HF103"),
        (Expr("isin", (N,), ((None,),)), "HF103"),
        (Expr("isin", (N,), (1,)), "HF103"),
        (Expr("is_missing", (const("PT"),)), "HF104"),
        (Expr("code", (N,)), "HF104"),
        (Expr("code", (const("PT"),)), "HF104"),
        (Expr("hour", (N,), ("UTC",)), "HF104"),
        (Expr("hour", (COUNTRY,), ("UTC",)), "HF104"),
        (Expr("hour", (Expr("add", (AT, const(1))),), ("UTC",)), "HF104"),
        (Expr("hour", (Expr("where", (N, AT, const(0))),), ("UTC",)), "HF104"),
        (Expr("hour", (AT,), ("Mars/Olympus",)), "HF103"),
        (Expr("hour", (AT,), ("../etc/passwd",)), "HF103"),
        (Expr("hour", (AT,), ("America",)), "HF103"),
        (Expr("hour", (AT,), (None,)), "HF103"),
        (Expr("fill", (N,), (None,)), "HF103"),
        (Expr("fill", (N,), ("0",)), "HF103"),
        (Expr("fill", (N,), ((1,),)), "HF103"),
        (Expr("clip", (N,), (2, 1)), "HF103"),
        (Expr("clip", (N,), ("a", None)), "HF103"),
        (Expr("clip", (N,), (None, float("inf"))), "HF103"),
        (const(float("nan")), "HF103"),
        (const(10**400), "HF103"),
        (Expr("const", (), ((1,),)), "HF103"),
        (col("wide"), "HF104"),
    ],
)
def test_what_has_no_meaning_is_a_problem(expr: Expr, code: str) -> None:
    assert codes(expr) == [code]


def test_zone_that_is_nearly_right_is_named() -> None:
    (problem,) = check(Expr("hour", (AT,), ("Europe/Lisbo",)), TYPES)

    assert problem.hint == "did you mean `Europe/Lisbon`?"


def test_all_problems_are_reported_once() -> None:
    tree = Expr("add", (Expr("mul", (col("a"), col("a"))), Expr("log", (COUNTRY,))))

    assert codes(tree) == ["HF102", "HF104"]


def test_problem_of_a_column_is_not_repeated_above_it() -> None:
    assert codes(Expr("hour", (Expr("where", (N, col("nope"), AT)),), ("UTC",))) == ["HF102"]


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (N, "int"), (col("price"), "decimal"), (COUNTRY, "string"), (AT, "time"),
        (const(1), "int"), (const(True), "bool"), (const(None), "float"), (const(0.5), "float"),
        (Expr("add", (N, N)), "float"), (Expr("sub", (AT, DUE)), "float"), (Expr("lt", (N, F)), "bool"),
        (Expr("not", (N,)), "bool"), (Expr("is_missing", (COUNTRY,)), "bool"),
        (Expr("code", (COUNTRY,)), "int"),
        (Expr("hour", (AT,), ("UTC",)), "int"), (Expr("where", (N, AT, DUE)), "time"),
        (Expr("where", (N, AT, N)), "float"), (Expr("fill", (col("b"),), (False,)), "bool"),
        (Expr("fill", (N,), (0,)), "int"), (Expr("fill", (N,), (0.5,)), "float"),
    ],
)  # fmt: skip
def test_result_type_follows_the_tree(expr: Expr, expected: str) -> None:
    assert result_type(expr, TYPES) == expected


def test_result_type_of_a_problem_is_an_error() -> None:
    with pytest.raises(DefinitionError) as caught:
        result_type(Expr("add", (COUNTRY, col("nope"))), TYPES)

    assert [problem.code for problem in caught.value.problems] == ["HF102", "HF104"]


def test_tree_that_shares_its_nodes_is_checked_in_linear_time() -> None:
    tree = COUNTRY
    for _ in range(200):
        tree = Expr("add", (tree, tree))

    assert codes(tree) == ["HF104"]


def test_deep_tree_is_checked_without_recursion() -> None:
    tree = N
    for _ in range(5_000):
        tree = Expr("add", (tree, F))

    assert codes(tree) == []
