"""Feature plans bound to programs, and filters."""

import numpy as np
import polars as pl
import pytest

from holdfast.events.entity import Entity
from holdfast.features.expression import compile_plan, filter_mask
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import ContractError, DefinitionError
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR

SCHEMA = Schema(
    "transactions",
    (
        Column("tx_id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("card_id", "string"),
        Column("amount", "decimal", scale=2),
        Column("country", "string", nullable=True),
    ),
)
CARD = Entity("card", ("card_id",))
MEAN = Measure("card_mean", "mean", Window(30 * DAY), "amount")
COUNT = Measure("card_count", "count", Window(DAY))
FEATURES = (
    Feature("vs_mean", Expr("div", (col("amount"), col("card_mean")))),
    Feature("night", Expr("lt", (Expr("hour", (col("at"),), ("UTC",)), const(6)))),
    Feature("country", Expr("code", (col("country"),)), "categorical"),
)
SPINE = pl.DataFrame(
    {
        "tx_id": ["a", "b", "c"],
        "at": [0, 7 * HOUR, 5 * HOUR],
        "card_id": ["1", "2", "1"],
        "amount": [1_00, 2_50, 3_00],
        "country": ["PT", None, "XX"],
    }
)
MEASURES = {"card_mean": np.array([2.0, np.nan, 0.5]), "card_count": np.zeros(3)}


def plan_of(
    features: tuple[Feature, ...] = FEATURES, measures: tuple[Measure, ...] = (MEAN, COUNT)
) -> FeaturePlan:
    return FeaturePlan(
        FeatureSet("create", "transactions", features, ("cards",)),
        SCHEMA,
        (View("cards", "transactions", CARD, measures),),
        {"transactions": SCHEMA},
        {"country": ("DE", "PT")},
    )


def test_plan_names_the_inputs_it_reads() -> None:
    compiled = compile_plan(plan_of())

    assert compiled.columns == ("amount", "at", "country")
    assert compiled.measures == ("card_mean",)


def test_features_come_in_the_order_of_the_plan() -> None:
    compiled = compile_plan(plan_of())

    found = compiled.evaluate(SPINE, MEASURES)

    assert found.flags.c_contiguous
    assert np.array_equal(found, [[0.5, 1, 2], [np.nan, 0, np.nan], [6, 1, 0]], equal_nan=True)


def test_one_row_has_the_bits_of_the_batch() -> None:
    compiled = compile_plan(plan_of())
    batch = compiled.evaluate(SPINE, MEASURES)

    for i, row in enumerate(SPINE.iter_rows(named=True)):
        one = compiled.evaluate_row(row, {name: float(values[i]) for name, values in MEASURES.items()})
        assert one.tobytes() == batch[i].tobytes()


def test_plan_without_measures_needs_none() -> None:
    compiled = compile_plan(plan_of(FEATURES[1:], ()))

    assert compiled.evaluate(SPINE, {}).tolist()[0] == [1, 2]
    assert compiled.evaluate_row({"at": 0, "country": "PT"}, {}).tolist() == [1, 2]


def test_problem_stands_at_its_feature() -> None:
    with pytest.raises(DefinitionError) as caught:
        compile_plan(plan_of((Feature("ratio", Expr("div", (col("amount"), col("card_mea")))),)))

    (problem,) = caught.value.problems
    assert (problem.code, problem.at, problem.hint) == (
        "HF102", "features.create.ratio", "did you mean `card_mean`?"
    )  # fmt: skip


def test_measure_with_the_name_of_a_column_is_refused_where_it_is_read() -> None:
    clash = Measure("amount", "count", Window(DAY))

    with pytest.raises(DefinitionError) as caught:
        compile_plan(plan_of((Feature("amount", col("amount")),), (clash,)))
    compile_plan(plan_of(FEATURES[1:], (clash,)))

    assert caught.value.code == "HF101"


@pytest.mark.parametrize(
    ("spine", "measures", "missing"),
    [(SPINE.drop("amount"), MEASURES, "column `amount`"), (SPINE, {}, "measure `card_mean`")],
)
def test_absent_input_is_named(spine: pl.DataFrame, measures: dict, missing: str) -> None:
    with pytest.raises(ContractError, match=missing) as caught:
        compile_plan(plan_of()).evaluate(spine, measures)

    assert caught.value.code == "HF209"


def test_measure_of_another_length_is_refused() -> None:
    with pytest.raises(ContractError, match="has 1 rows, expected 3"):
        compile_plan(plan_of()).evaluate(SPINE, {"card_mean": np.zeros(1)})


def test_filter_keeps_rows_where_it_is_true() -> None:
    expr = Expr("eq", (col("country"), const("PT")))

    assert filter_mask(expr, SCHEMA, SPINE).tolist() == [True, False, False]
    assert filter_mask(Expr("not", (expr,)), SCHEMA, SPINE).tolist() == [False, False, True]


def test_filter_is_true_for_any_number_but_zero() -> None:
    expr = Expr("sub", (col("amount"), const(1)))

    assert filter_mask(expr, SCHEMA, SPINE).tolist() == [False, True, True]
    assert filter_mask(const(1), SCHEMA, SPINE.clear()).tolist() == []


def test_filter_refuses_what_its_schema_does_not_have() -> None:
    with pytest.raises(DefinitionError):
        filter_mask(col("card_mean"), SCHEMA, SPINE)
    with pytest.raises(ContractError):
        filter_mask(col("amount"), SCHEMA, SPINE.drop("amount"))
