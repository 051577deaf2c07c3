"""The verb reads what it needs, and refuses what it cannot compute exactly."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from holdfast.events.entity import Entity
from holdfast.features.materialize import materialize, measures_as_known
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import ContractError, DefinitionError, NotFoundError
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema

SALE = Schema(
    "Sale",
    (
        Column("at", "time", role="event_time"),
        Column("shop", "string"),
        Column("price", "decimal", scale=2, nullable=True),
        Column("weight", "float", nullable=True),
        Column("fine", "decimal", scale=14),
        Column("note", "string", nullable=True),
    ),
)
SHOP = Entity("shop", ("shop",))
SOURCES = {"sales": SALE}
WINDOW = Window(over=60)


def sales(*rows: tuple[int, int | None]) -> pl.DataFrame:
    at, prices = [row[0] for row in rows], [row[1] for row in rows]
    return pl.DataFrame(
        {
            "at": pl.Series(at, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "shop": ["s"] * len(rows),
            "price": pl.Series(prices, dtype=pl.Int64),
            "weight": [0.5 * i for i in at],
            "fine": [1] * len(rows),
            "note": [None] * len(rows),
            "_arrived": at,
            "_batch": list(range(1, len(rows) + 1)),
        },
        schema_overrides={"note": pl.String, "shop": pl.String},
    )


def spine(*t: int, shop: str | None = "s") -> pl.DataFrame:
    return pl.DataFrame(
        {"shop": [shop] * len(t), "_t": list(t), "_known_at": list(t)}, schema_overrides={"shop": pl.String}
    )


def view(*measures: Measure) -> View:
    return View("v", "sales", SHOP, measures)


def one(aggregate: str, column: str | None, window: Window = WINDOW) -> View:
    return view(Measure("m", aggregate, window, column))  # type: ignore[arg-type]


class Lake:
    """Tables by name; remembers what was asked for."""

    def __init__(self, **tables: pl.DataFrame) -> None:
        self.tables = tables
        self.asked: list[tuple[str, list[str], int | None, int]] = []

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: Any = None,
        version: int | None = None,
    ) -> pl.DataFrame:
        if table not in self.tables:
            raise NotFoundError(f"no table `{table}`.")
        found = self.tables[table].filter(where).select(columns)
        self.asked.append((table, list(columns or ()), version, found.height))
        return found


def plan(*views: View) -> FeaturePlan:
    names = [measure.name for found in views for measure in found.measures]
    features = FeatureSet("f", "asked", tuple(Feature(name, col(name)) for name in names), ("v",))
    return FeaturePlan(features, Schema("Asked", (Column("shop", "string"),)), views, SOURCES)


def test_values_come_in_the_order_of_the_spine() -> None:
    events = sales((10, 100), (20, 300), (30, None))

    found = measures_as_known((one("sum", "price"),), SOURCES, spine(25, 15, 5), {"sales": events})

    assert found["m"].tolist() == [4.0, 1.0, 0.0]


def test_measures_of_all_views_are_computed_and_equal_ones_once() -> None:
    first = view(Measure("a", "count", WINDOW), Measure("b", "mean", WINDOW, "price"))
    second = View("w", "sales", SHOP, (Measure("c", "mean", WINDOW, "price"),))

    found = measures_as_known((first, second), SOURCES, spine(25), {"sales": sales((10, 100), (20, 200))})

    assert {name: column.tolist() for name, column in found.items()} == {"a": [2.0], "b": [1.5], "c": [1.5]}


def test_plain_floats_have_a_minimum_and_a_maximum() -> None:
    events = sales((-4, 1), (2, 1), (6, 1)).with_columns(
        pl.Series("weight", [-2.0, math.inf, -0.0], dtype=pl.Float64)
    )
    both = view(
        Measure("low", "min", WINDOW, "weight"),
        Measure("high", "max", WINDOW, "weight"),
        Measure("n", "count", WINDOW, "weight"),
    )

    found = measures_as_known((both,), SOURCES, spine(10), {"sales": events})

    assert [found[name].tolist() for name in ("low", "high", "n")] == [[-2.0], [0.0], [2.0]]
    assert not np.signbit(found["high"][0])


def test_count_of_a_text_column_counts_what_is_there() -> None:
    events = sales((1, 1), (2, 1)).with_columns(note=pl.Series(["x", None]))

    assert measures_as_known((one("count", "note"),), SOURCES, spine(9), {"sales": events})["m"].tolist() == [
        1.0
    ]


def test_a_source_without_events_is_an_empty_window() -> None:
    both = view(Measure("n", "count", WINDOW), Measure("mean", "mean", WINDOW, "price"))

    for events in ({}, {"sales": sales()}):
        found = measures_as_known((both,), SOURCES, spine(5, 6), events)
        assert found["n"].tolist() == [0.0, 0.0]
        assert np.isnan(found["mean"]).all()


def test_empty_spine_has_no_values() -> None:
    found = measures_as_known((one("count", None),), SOURCES, spine(), {"sales": sales((1, 1))})

    assert found["m"].shape == (0,)
    assert materialize(plan(one("count", None)), spine(), Lake(sales=sales((1, 1)))).shape == (0, 1)


def test_window_that_is_too_full_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.features.materialize.MAX_EVENTS", 2)

    with pytest.raises(ContractError, match="fewer than 2 events") as caught:
        measures_as_known((one("count", None),), SOURCES, spine(9), {"sales": sales((1, 1), (2, 1))})

    assert (caught.value.code, caught.value.problem.at) == ("HF213", "m")


def test_summed_value_beyond_the_limit_is_refused_and_other_aggregates_take_it() -> None:
    events = {"sales": sales((1, 2**32 + 1))}

    with pytest.raises(ContractError, match="`price` exceeds it") as caught:
        measures_as_known((one("sum", "price"),), SOURCES, spine(9), events)

    assert (caught.value.code, caught.value.problem.at) == ("HF213", "sales.price")
    assert measures_as_known((one("max", "price"),), SOURCES, spine(9), events)["m"].tolist() == [
        (2**32 + 1) / 100
    ]


@pytest.mark.parametrize(
    ("aggregate", "column", "code"),
    [("sum", "weight", "HF104"), ("max", "note", "HF104"), ("std", "fine", "HF106")],
)
def test_column_that_cannot_be_aggregated_so_is_refused(aggregate: str, column: str, code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        measures_as_known((one(aggregate, column),), SOURCES, spine(9), {"sales": sales((1, 1))})

    assert caught.value.code == code


def test_materialize_reads_only_the_columns_and_the_span_it_needs() -> None:
    lake = Lake(sales=sales((39, 1), (40, 2), (99, 4), (150, 8), (199, 16), (200, 32)))
    unweighed = Measure("m", "sum", WINDOW, "price", Expr("is_missing", (col("weight"),)))

    values = materialize(plan(view(unweighed)), spine(100, 200), lake, versions={"sales": 3})

    assert values.tolist() == [[0.0], [0.0]]
    assert lake.asked == [("sales", ["at", "_arrived", "shop", "price", "weight"], 3, 4)]


def test_materialize_sees_only_batches_up_to_the_one_named() -> None:
    lake = Lake(sales=sales((1, 100), (2, 200), (3, 400)))

    found = [materialize(plan(one("sum", "price")), spine(9), lake, max_batch=b).item() for b in (0, 2, 3)]

    assert found == [0.0, 3.0, 7.0]


def test_materialize_takes_a_missing_table_for_no_events_unless_a_version_is_named() -> None:
    assert materialize(plan(one("count", None)), spine(9), Lake()).tolist() == [[0.0]]

    with pytest.raises(NotFoundError):
        materialize(plan(one("count", None)), spine(9), Lake(), versions={"sales": 3})


def test_filter_with_constants_selects_events() -> None:
    measure = Measure("m", "count", WINDOW, None, Expr("ge", (col("price"), const(2))))
    events = {"sales": sales((1, 100), (2, 200), (3, None), (4, 300))}

    assert measures_as_known((view(measure),), SOURCES, spine(9), events)["m"].tolist() == [2.0]
