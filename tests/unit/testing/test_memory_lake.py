"""The lake in memory keeps the promises of the port."""

import polars as pl
import pytest

from holdfast.kernel.errors import ContractError, NotFoundError
from holdfast.testing.lake import MemoryLake


def rows(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"a": list(values)}, schema={"a": pl.Int64})


def test_versions_grow_and_old_ones_stay() -> None:
    lake = MemoryLake()

    assert lake.version("t") is None
    assert lake.append("t", rows(1), app="x", batch=1) == 0
    assert lake.append("t", rows(2, 3), app="x", batch=2) == 1

    assert lake.version("t") == 1
    assert lake.read("t", version=0)["a"].to_list() == [1]
    assert sorted(lake.read("t")["a"].to_list()) == [1, 2, 3]


def test_append_of_a_batch_that_was_committed_changes_nothing() -> None:
    lake = MemoryLake()
    lake.append("t", rows(1), app="x", batch=2)
    lake.append("t", rows(2), app="x", batch=5)

    assert lake.append("t", rows(9), app="x", batch=1) == 0
    assert lake.append("t", rows(9), app="x", batch=2) == 0
    assert lake.append("t", rows(9), app="x", batch=4) == 1
    assert lake.append("t", rows(7), app="y", batch=1) == 2

    assert sorted(lake.read("t")["a"].to_list()) == [1, 2, 7]


def test_read_filters_by_columns_it_does_not_return() -> None:
    lake = MemoryLake()
    lake.append("t", pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}), app="x", batch=1)

    assert lake.read("t", ["b"], where=pl.col("a") > 1).rows() == [("y",)]


def test_new_columns_are_added_and_changed_types_refused() -> None:
    lake = MemoryLake()
    lake.append("t", rows(1), app="x", batch=1)
    lake.append("t", pl.DataFrame({"a": [2], "b": ["y"]}), app="x", batch=2)

    with pytest.raises(ContractError, match="column `a` of table `t` is Int64"):
        lake.append("t", pl.DataFrame({"a": ["z"]}), app="x", batch=3)

    assert sorted(lake.read("t").rows()) == [(1, None), (2, "y")]
    assert lake.version("t") == 1


def test_unknown_table_or_version_is_not_found() -> None:
    lake = MemoryLake()
    lake.append("sales", rows(1), app="x", batch=1)

    with pytest.raises(NotFoundError, match="did you mean `sales`"):
        lake.read("sale")
    with pytest.raises(NotFoundError, match="has no version 1"):
        lake.read("sales", version=1)


def test_refused_first_append_makes_no_table() -> None:
    lake = MemoryLake()
    frame = rows(1)
    lake.append("t", frame, app="x", batch=1)
    frame.insert_column(0, pl.Series("late", [0]))

    assert lake.read("t").columns == ["a"]
