"""Snapshots: names that follow from content, and what training may rely on."""

import numpy as np
import polars as pl
import pytest

from holdfast.datasets.snapshot import check_trainable, content_of
from holdfast.kernel.errors import ContractError

FRAME = pl.DataFrame(
    {
        "_key": ["a", "bé", None],
        "n": [1, None, 3],
        "x": [0.5, float("nan"), None],
        "yes": [True, None, False],
    }
)


def test_content_depends_on_no_layout_in_memory() -> None:
    pieces = pl.concat([FRAME.head(1), FRAME.tail(2)], rechunk=False).select("yes", "x", "n", "_key")

    assert content_of(pieces) == content_of(FRAME)


@pytest.mark.parametrize(
    "other",
    [
        FRAME.with_columns(n=pl.Series([1, 0, 3])),
        FRAME.with_columns(x=pl.Series([0.5, float("nan"), float("nan")])),
        FRAME.with_columns(x=pl.Series([0.5, 0.0, None])),
        FRAME.with_columns(yes=pl.Series([True, False, False])),
        FRAME.with_columns(_key=pl.Series(["a", "bé", ""])),
        FRAME.with_columns(_key=pl.Series(["ab", "é", None])),
        FRAME.rename({"n": "m"}),
        FRAME.with_columns(pl.col("n").cast(pl.Float64)),
        FRAME.reverse(),
        FRAME.head(2),
    ],
)
def test_content_tells_apart_what_differs(other: pl.DataFrame) -> None:
    assert content_of(other) != content_of(FRAME)


def test_content_knows_one_nan_and_two_zeros() -> None:
    odd = np.array([0x7FF8_0000_0000_0001, 0xFFF8_0000_0000_0000], dtype=np.uint64).view(np.float64)

    assert content_of(pl.DataFrame({"x": odd})) == content_of(pl.DataFrame({"x": [np.nan, np.nan]}))
    assert content_of(pl.DataFrame({"x": [0.0]})) != content_of(pl.DataFrame({"x": [-0.0]}))


def test_content_of_no_rows_is_defined() -> None:
    assert len(content_of(FRAME.head(0))) == 40


def test_column_of_another_type_has_no_content() -> None:
    with pytest.raises(ContractError, match="column `x` of a dataset is Float32"):
        content_of(pl.DataFrame({"x": pl.Series([1.0], dtype=pl.Float32)}))


def trainable(**columns: object) -> pl.DataFrame:
    rows = {"_key": ["r0", "r1"], "x": [1.0, float("nan")], "_label": [0.0, 1.0], "_weight": [1.0, 1.0]}
    return pl.DataFrame(rows | columns)


def test_missing_features_are_trainable() -> None:
    check_trainable(trainable(), ["x"])


@pytest.mark.parametrize(
    ("columns", "code", "fact"),
    [
        ({"x": [1.0, float("inf")]}, "HF206", "found inf in 1 rows"),
        ({"x": [1, 2]}, "HF202", "must be float64 without nulls; found Int64 with 0 nulls"),
        ({"x": [1.0, None]}, "HF202", "found Float64 with 1 nulls"),
        ({"_label": [0.0, float("nan")]}, "HF206", "column `_label` must hold finite values; found nan"),
        ({"_weight": [float("-inf"), 1.0]}, "HF206", "column `_weight` must hold finite values; found -inf"),
    ],
)
def test_untrainable_column_is_refused_with_its_value(
    columns: dict[str, list[object]], code: str, fact: str
) -> None:
    with pytest.raises(ContractError, match=fact) as caught:
        check_trainable(trainable(**columns), ["x"])

    assert caught.value.code == code


def test_first_bad_row_is_named() -> None:
    with pytest.raises(ContractError) as caught:
        check_trainable(trainable(x=[1.0, float("inf")]), ["x"])

    assert caught.value.problem.at == "x[1]"
    assert caught.value.hint == "the first is row 'r1'"
