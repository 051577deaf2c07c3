"""Vocabularies: the texts of each categorical column that a model knows, fitted on the training part only."""

from __future__ import annotations

import polars as pl

from holdfast.features.view import FeaturePlan

MAX_ENTRIES = 254
"""Greatest number of texts a vocabulary holds; with 0 for any other text the codes fit in a byte."""
MIN_COUNT = 2
"""Rows of the training part that must hold a text before it gets a code of its own."""


def coded_columns(plan: FeaturePlan) -> tuple[str, ...]:
    """Return the columns that some feature reads as vocabulary codes, in order of first use."""
    found = dict.fromkeys(
        str(node.args[0].params[0])
        for feature in plan.features.features
        for node in feature.expr.walk()
        if node.op == "code" and node.args[0].op == "col"
    )
    return tuple(found)


def fit_vocabularies(plan: FeaturePlan, train: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return the vocabulary of each coded column.

    Parameters
    ----------
    train : rows of the training part, with the columns of the spine

    Returns
    -------
    Texts by column, most frequent first, equally frequent ones in text order; at most `MAX_ENTRIES`, each
    seen at least `MIN_COUNT` times. Missing values have no code.
    """
    return {name: _frequent(train[name]) for name in coded_columns(plan)}


def _frequent(texts: pl.Series) -> tuple[str, ...]:
    counted = pl.DataFrame({"text": texts}).drop_nulls().group_by("text").len("n")
    kept = counted.filter(pl.col("n") >= MIN_COUNT).sort("n", "text", descending=[True, False])
    return tuple(kept["text"].head(MAX_ENTRIES).to_list())
