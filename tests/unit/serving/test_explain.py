"""Evidence: one feature as used and as recomputed, and what it means."""

import math

import pytest

from holdfast.events.entity import Entity
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR
from holdfast.serving.explain import FeatureEvidence, definitions


@pytest.mark.parametrize(
    ("stored", "recomputed", "equal"),
    [
        (1.0, 1.0, True),
        (1.0, math.nextafter(1.0, 2.0), False),
        (math.nan, math.nan, True),
        (math.nan, 0.0, False),
        (0.0, -0.0, False),
    ],
)
def test_values_are_equal_bit_for_bit_and_every_missing_is_one(
    stored: float, recomputed: float, equal: bool
) -> None:
    assert FeatureEvidence("f", stored, recomputed, None, "").is_equal is equal


def test_definitions_say_expressions_and_their_windows_in_words() -> None:
    over = Measure("spent", "sum", Window(DAY, HOUR), "amount", Expr("lt", (col("amount"), const(5))))
    view = View("v", "payments", Entity("card", ("card_id",)), (over,))
    schema = Schema("P", (Column("amount", "int"),))
    features = (Feature("spent", col("spent")), Feature("ratio", Expr("div", (col("amount"), col("spent")))))
    plan = FeaturePlan(FeatureSet("s", "payments", features, ("v",)), schema, (view,), {"payments": schema})

    found = definitions(plan)

    window = "sum of `amount` over 1d, ending 1h before, where amount < 5, per card of payments"
    assert found == {"spent": window, "ratio": f"amount / spent; spent = {window}"}
