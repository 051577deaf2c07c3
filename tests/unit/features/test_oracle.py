"""The oracle, on windows small enough to check by eye."""

import math

import pytest

from holdfast.events.entity import Entity
from holdfast.features.oracle import features_of, lowered, measures_of, window_value
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema

SALE = Schema(
    "Sale",
    (
        Column("at", "time", role="event_time"),
        Column("shop", "string", nullable=True),
        Column("price", "decimal", nullable=True, scale=2),
        Column("weight", "float", nullable=True),
    ),
)
SHOP = Entity("shop", ("shop",))
HOUR = Window(over=60)


def sale(
    at: int, price: int | None = 100, *, shop: str | None = "s", arrived: int | None = None, batch: int = 1
):  # type: ignore[no-untyped-def]
    return {
        "at": at,
        "shop": shop,
        "price": price,
        "weight": None,
        "_arrived": at if arrived is None else arrived,
        "_batch": batch,
    }


def count(rows: list[dict[str, object]], t: int, known_at: int, window: Window = HOUR) -> float | None:
    return window_value(Measure("n", "count", window), SALE, rows, t, known_at)


def test_window_is_half_open_and_strictly_before_t() -> None:
    rows = [sale(39), sale(40), sale(99), sale(100)]

    assert count(rows, 100, 100) == 2.0


def test_event_is_seen_once_it_has_arrived() -> None:
    rows = [sale(90, arrived=150)]

    assert [count(rows, 100, known) for known in (149, 150)] == [0.0, 1.0]


def test_retry_older_than_the_newest_event_does_not_see_it() -> None:
    rows = [sale(90), sale(120)]

    assert count(rows, 100, 130) == 1.0


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [("count", 2.0), ("sum", 4.0), ("mean", 2.0), ("std", math.sqrt(2.0)), ("min", 1.0), ("max", 3.0)],
)
def test_nulls_are_left_out_of_every_aggregate(aggregate: str, value: float) -> None:
    rows = [sale(90, 100), sale(91, None), sale(92, 300)]
    measure = Measure("m", aggregate, HOUR, "price")  # type: ignore[arg-type]

    assert window_value(measure, SALE, rows, 100, 100) == value


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [("count", 0.0), ("sum", 0.0), ("mean", None), ("std", None), ("min", None), ("max", None)],
)
def test_empty_window_is_zero_or_missing(aggregate: str, value: float | None) -> None:
    assert lowered(aggregate, [], 2) == value


def test_mean_is_one_division_of_two_exact_numbers() -> None:
    assert lowered("mean", [1, 1, 1], 1) == 3 / 30


def test_filter_lets_an_event_in_only_where_it_is_true() -> None:
    rows = [sale(90, 100), sale(91, None), sale(92, 300)]
    dear = Measure("m", "count", HOUR, where=Expr("gt", (col("price"), const(2))))

    assert window_value(dear, SALE, rows, 100, 100) == 1.0


def test_measures_belong_to_the_key_and_a_missing_key_matches_nothing() -> None:
    rows = [sale(90), sale(91, shop="other"), sale(92, shop=None)]
    view = View("v", "sales", SHOP, (Measure("n", "count", HOUR),))

    found = [measures_of(view, SALE, rows, (key,), 100, 100)["n"] for key in ("s", "other", "never", None)]

    assert found == [1.0, 1.0, 0.0, 0.0]


def test_features_of_a_plan_see_only_batches_up_to_the_one_named() -> None:
    view = View("v", "sales", SHOP, (Measure("n", "count", HOUR),))
    doubled = Feature("doubled", Expr("mul", (col("n"), const(2))))
    plan = FeaturePlan(
        FeatureSet("f", "asked", (doubled,), ("v",)),
        Schema("Asked", (Column("shop", "string"),)),
        (view,),
        {"sales": SALE},
    )
    rows = {"sales": [sale(90, batch=1), sale(91, batch=2)]}

    assert features_of(plan, {"shop": "s"}, rows, 100, 100) == {"doubled": 4.0}
    assert features_of(plan, {"shop": "s"}, rows, 100, 100, max_batch=1) == {"doubled": 2.0}
    assert features_of(plan, {"shop": "s"}, {}, 100, 100) == {"doubled": 0.0}
