"""The contract of the `Lake` port: an adapter is done when its subclass of this kit is green.

Usage::

    class TestMyLake(LakeContract):
        @pytest.fixture
        def lake(self) -> MyLake: ...

        def reopen(self, lake: MyLake) -> MyLake: ...

Names of tests are the sentences of the contract.
"""
# ruff: noqa: D102

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from holdfast.events.ports import Lake
from holdfast.kernel.errors import ContractError, NotFoundError

START = datetime(2026, 1, 1, tzinfo=UTC)


def rows(*numbers: int) -> pl.DataFrame:
    """Return one row for each number: an id, a time on that day, and the number."""
    return pl.DataFrame(
        {
            "id": [f"e-{n}" for n in numbers],
            "at": [START + timedelta(days=n, microseconds=n) for n in numbers],
            "n": list(numbers),
        },
        schema={"id": pl.String, "at": pl.Datetime("us", "UTC"), "n": pl.Int64},
    )


class LakeContract:
    """Every sentence of the port, as a test."""

    @pytest.fixture
    def lake(self) -> Any:
        """Return an empty lake; to be overridden."""
        raise NotImplementedError

    def reopen(self, lake: Any) -> Lake:
        """Return another lake on the same tables, as another process would open it; to be overridden."""
        raise NotImplementedError

    def numbers(self, lake: Lake, table: str = "t", **kwargs: Any) -> list[int]:
        """Return the sorted numbers of a table."""
        return sorted(lake.read(table, ["n"], **kwargs)["n"].to_list())

    def test_absent_table_has_no_version_and_no_rows(self, lake: Lake) -> None:
        assert lake.version("t") is None
        assert lake.applied("t", app="a") is None
        with pytest.raises(NotFoundError):
            lake.read("t")

    def test_appended_rows_are_read_with_their_types(self, lake: Lake) -> None:
        lake.append("t", rows(1, 2), app="a", batch=1)

        assert lake.read("t").sort("n").equals(rows(1, 2))
        assert lake.read("t").schema == rows(1).schema

    def test_versions_grow_and_stay_readable(self, lake: Lake) -> None:
        first = lake.append("t", rows(1), app="a", batch=1)
        second = lake.append("t", rows(2), app="a", batch=2)

        assert first < second == lake.version("t")
        assert self.numbers(lake, version=first) == [1]
        assert self.numbers(lake, version=second) == [1, 2]
        with pytest.raises(NotFoundError):
            lake.read("t", version=second + 1)

    def test_batch_of_an_app_is_appended_once(self, lake: Lake) -> None:
        lake.append("t", rows(1), app="a", batch=1)
        lake.append("t", rows(2), app="a", batch=5)
        lake.append("t", rows(2), app="a", batch=5)
        lake.append("t", rows(3), app="a", batch=4)

        assert self.numbers(lake) == [1, 2]
        assert lake.applied("t", app="a") == 5

    def test_repeated_batch_returns_a_version_that_holds_its_rows(self, lake: Lake) -> None:
        lake.append("t", rows(1), app="a", batch=1)
        again = lake.append("t", rows(1), app="a", batch=1)

        assert self.numbers(lake, version=again) == [1]

    def test_apps_and_tables_count_their_batches_apart(self, lake: Lake) -> None:
        lake.append("t", rows(1), app="a", batch=7)
        lake.append("t", rows(2), app="b", batch=1)
        lake.append("u", rows(3), app="a", batch=2)

        assert self.numbers(lake) == [1, 2]
        assert self.numbers(lake, "u") == [3]
        assert (lake.applied("t", app="a"), lake.applied("t", app="b")) == (7, 1)
        assert lake.applied("u", app="a") == 2

    def test_batches_are_remembered_by_the_tables(self, lake: Lake) -> None:
        lake.append("t", rows(1), app="a", batch=3)
        other = self.reopen(lake)
        other.append("t", rows(1), app="a", batch=3)

        assert self.numbers(other) == [1]
        assert other.applied("t", app="a") == 3

    def test_other_holder_sees_appends(self, lake: Lake) -> None:
        other = self.reopen(lake)
        lake.append("t", rows(1), app="a", batch=1)
        assert self.numbers(other) == [1]

        lake.append("t", rows(2), app="a", batch=2)
        assert self.numbers(other) == [1, 2]

        other.append("t", rows(3), app="b", batch=1)
        lake.append("t", rows(4), app="a", batch=3)
        assert self.numbers(lake) == [1, 2, 3, 4]

    def test_concurrent_appends_of_one_batch_add_it_once(self, lake: Lake) -> None:
        lake.append("t", rows(0), app="a", batch=1)
        holders = [self.reopen(lake) for _ in range(4)]
        for holder in holders:
            holder.version("t")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda holder: holder.append("t", rows(1), app="a", batch=2), holders))

        assert self.numbers(lake) == [0, 1]

    def test_concurrent_appends_of_several_apps_lose_nothing(self, lake: Lake) -> None:
        holders = [self.reopen(lake) for _ in range(3)]

        def work(app: int) -> None:
            for batch in range(1, 5):
                holders[app].append("t", rows(app * 10 + batch), app=f"app-{app}", batch=batch)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, range(3)))

        assert self.numbers(lake) == sorted(app * 10 + batch for app in range(3) for batch in range(1, 5))

    def test_staged_file_may_stand_for_the_rows(self, lake: Lake, tmp_path: Path) -> None:
        staged = tmp_path / ("0" * 40 + ".parquet")
        rows(2, 3).select("n", "at", "id").write_parquet(staged)
        content = staged.read_bytes()
        for batch, numbers in ((1, (1,)), (2, (2, 3)), (2, (2, 3))):
            lake.append("t", rows(*numbers), app="a", batch=batch, staged=str(staged) if batch == 2 else None)

        assert staged.read_bytes() == content
        staged.unlink()
        assert lake.read("t").sort("n").equals(rows(1, 2, 3))

    def test_filter_and_projection_are_independent(self, lake: Lake) -> None:
        for n in range(4):
            lake.append("t", rows(n), app="a", batch=n + 1)

        late = lake.read("t", ["id"], where=pl.col("at") >= START + timedelta(days=2))
        assert late.columns == ["id"]
        assert sorted(late["id"].to_list()) == ["e-2", "e-3"]

    def test_new_column_is_null_in_older_rows(self, lake: Lake) -> None:
        lake.append("t", rows(1), app="a", batch=1)
        lake.append("t", rows(2).with_columns(pl.lit("x").alias("extra")), app="a", batch=2)

        assert lake.read("t").sort("n")["extra"].to_list() == [None, "x"]
        assert "extra" not in lake.read("t", version=0).columns

    def test_absent_column_is_null(self, lake: Lake) -> None:
        lake.append("t", rows(1), app="a", batch=1)
        lake.append("t", rows(2).select("n", "id"), app="a", batch=2)

        assert lake.read("t").sort("n")["at"].is_null().to_list() == [False, True]

    @pytest.mark.parametrize("changed", [pl.Int32(), pl.Float64(), pl.String()])
    def test_changed_type_is_refused_and_changes_nothing(self, lake: Lake, changed: pl.DataType) -> None:
        version = lake.append("t", rows(1), app="a", batch=1)

        with pytest.raises(ContractError, match="column `n` of table `t` is Int64"):
            lake.append("t", rows(2).with_columns(pl.col("n").cast(changed)), app="a", batch=2)

        assert lake.version("t") == version
        assert lake.applied("t", app="a") == 1

    def test_append_of_no_rows_keeps_the_columns(self, lake: Lake) -> None:
        lake.append("t", rows(), app="a", batch=1)

        assert lake.read("t").schema == rows(1).schema
        assert lake.read("t").is_empty()
