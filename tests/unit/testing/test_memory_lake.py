"""The lake in memory keeps the promises of the port."""

import polars as pl
import pytest

from holdfast.kernel.errors import NotFoundError
from holdfast.testing.lake import MemoryLake
from holdfast.testing.lake_contract import LakeContract


class TestMemoryLake(LakeContract):
    @pytest.fixture
    def lake(self) -> MemoryLake:
        return MemoryLake()

    def reopen(self, lake: MemoryLake) -> MemoryLake:
        return lake


def rows(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"a": list(values)}, schema={"a": pl.Int64})


def test_repeated_append_returns_the_first_version_that_holds_its_batch() -> None:
    lake = MemoryLake()
    lake.append("t", rows(1), app="x", batch=2)
    lake.append("t", rows(2), app="x", batch=5)

    assert lake.append("t", rows(9), app="x", batch=1) == 0
    assert lake.append("t", rows(9), app="x", batch=2) == 0
    assert lake.append("t", rows(9), app="x", batch=4) == 1
    assert lake.append("t", rows(7), app="y", batch=1) == 2

    assert sorted(lake.read("t")["a"].to_list()) == [1, 2, 7]


def test_unknown_table_or_version_is_not_found() -> None:
    lake = MemoryLake()
    lake.append("sales", rows(1), app="x", batch=1)

    with pytest.raises(NotFoundError, match="did you mean `sales`"):
        lake.read("sale")
    with pytest.raises(NotFoundError, match="has no version 1"):
        lake.read("sales", version=1)


def test_frame_that_is_changed_after_it_was_appended_changes_nothing() -> None:
    lake = MemoryLake()
    frame = rows(1)
    lake.append("t", frame, app="x", batch=1)
    frame.insert_column(0, pl.Series("late", [0]))

    assert lake.read("t").columns == ["a"]
