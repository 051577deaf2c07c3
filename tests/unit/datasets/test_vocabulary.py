"""Vocabularies: frequent first, then by text, and only what was seen more than once."""

import polars as pl

from holdfast.datasets.vocabulary import MAX_ENTRIES, coded_columns, fit_vocabularies
from holdfast.features.view import Feature, FeaturePlan, FeatureSet
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema


def plan(*features: Feature) -> FeaturePlan:
    schema = Schema("Row", (Column("country", "string", nullable=True), Column("shop", "string")))
    return FeaturePlan(FeatureSet("f", "rows", features), schema, (), {})


def code(name: str) -> Expr:
    return Expr("code", (col(name),))


COUNTRY = plan(Feature("country", code("country"), "categorical"))


def test_entries_are_most_frequent_first_then_by_text() -> None:
    train = pl.DataFrame({"country": ["PT", "ES", "PT", "FR", "ES", "PT", "FR", "é", "é", "Z", "Z"]})

    assert fit_vocabularies(COUNTRY, train) == {"country": ("PT", "ES", "FR", "Z", "é")}


def test_text_seen_once_and_missing_have_no_code() -> None:
    train = pl.DataFrame({"country": ["PT", None, None, "ES", "PT"]})

    assert fit_vocabularies(COUNTRY, train) == {"country": ("PT",)}


def test_vocabulary_is_bounded() -> None:
    train = pl.DataFrame({"country": [f"{index:03d}" for index in range(400)] * 2})

    (entries,) = fit_vocabularies(COUNTRY, train).values()

    assert entries == tuple(f"{index:03d}" for index in range(MAX_ENTRIES))


def test_column_without_texts_has_an_empty_vocabulary() -> None:
    train = pl.DataFrame({"country": [None, None]}, schema={"country": pl.String})

    assert fit_vocabularies(COUNTRY, train) == {"country": ()}


def test_columns_are_found_inside_expressions_once() -> None:
    found = coded_columns(
        plan(
            Feature("shop", code("shop"), "categorical"),
            Feature("odd", Expr("add", (code("country"), const(1.0)))),
            Feature("again", code("shop"), "categorical"),
        )
    )

    assert found == ("shop", "country")
