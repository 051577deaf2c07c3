"""Expression trees as data."""

import pytest

from holdfast.kernel.expr import OPS, Expr, col, const, to_text
from holdfast.kernel.ids import fingerprint

X, Y = col("x"), col("y")


def test_unknown_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown operation 'pow'"):
        Expr("pow", (X, Y))


@pytest.mark.parametrize(
    ("op", "args", "params"),
    [("add", (X,), ()), ("neg", (X, Y), ()), ("clip", (X,), (1,)), ("col", (), ()), ("const", (X,), (1,))],
)
def test_wrong_number_of_operands_or_parameters_is_refused(op: str, args: tuple, params: tuple) -> None:
    with pytest.raises(ValueError, match=f"`{op}` takes"):
        Expr(op, args, params)


def test_equal_trees_are_equal_data() -> None:
    one, other = Expr("add", (X, const(1))), Expr("add", (col("x"), const(1)))

    assert one == other
    assert hash(one) == hash(other)
    assert fingerprint(one) == fingerprint(other)


def test_walk_yields_operands_first() -> None:
    tree = Expr("div", (Expr("add", (X, Y)), X))

    assert [node.op for node in tree.walk()] == ["col", "col", "add", "col", "div"]


def test_columns_are_in_order_of_first_use() -> None:
    tree = Expr("where", (Expr("is_missing", (col("b"),)), col("a"), Expr("neg", (col("b"),))))

    assert tree.columns() == ("b", "a")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (Expr("div", (Expr("add", (X, const(1))), Y)), "(x + 1) / y"),
        (Expr("and", (Expr("not", (X,)), Expr("eq", (Y, const("a"))))), "~x & (y == 'a')"),
        (Expr("neg", (Expr("sub", (X, Y)),)), "-(x - y)"),
        (Expr("where", (X, const(None), const(0.5))), "where(x, missing, 0.5)"),
        (Expr("isin", (X,), (("a", "b"),)), "x.isin(['a', 'b'])"),
        (Expr("hour", (X,), ("UTC",)), "x.hour()"),
        (Expr("hour", (X,), ("Asia/Tokyo",)), "x.hour('Asia/Tokyo')"),
        (Expr("clip", (X,), (None, 3)), "x.clip(None, 3)"),
        (Expr("code", (X,)), "x.code()"),
    ],
)
def test_text_is_what_a_person_would_write(expr: Expr, text: str) -> None:
    assert to_text(expr) == text


@pytest.mark.parametrize("op", sorted(set(OPS) - {"col", "const"}))
def test_every_operation_has_a_text(op: str) -> None:
    rule = OPS[op]
    params = tuple(("a",) if name == "values" else 1 for name in rule.parameters)

    assert to_text(Expr(op, (X, Y, X)[: rule.operands], params))
