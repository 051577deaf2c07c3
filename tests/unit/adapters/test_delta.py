"""The lake on Delta Lake fulfils the port's contract, and its own promises."""

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.delta.data_file import statistics
from holdfast.kernel.errors import ConflictError, ContractError, NotFoundError, UnavailableError
from holdfast.testing.lake_contract import START, LakeContract, rows


class TestDeltaLake(LakeContract):
    @pytest.fixture
    def lake(self, tmp_path: Path) -> DeltaLake:
        return DeltaLake(tmp_path / "lake")

    def reopen(self, lake: DeltaLake) -> DeltaLake:
        return DeltaLake(lake.root)


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    return DeltaLake(tmp_path / "lake")


def data_files(lake: DeltaLake, table: str = "t") -> list[Path]:
    return sorted(Path(lake.root, table).glob("*.parquet"))


def test_filter_on_time_opens_only_files_that_may_hold_the_rows(lake: DeltaLake) -> None:
    for n in range(5):
        lake.append("t", rows(n), app="a", batch=n + 1)
    wanted = lake.read("t", where=pl.col("n") == 3)
    for path in data_files(lake):
        if pl.read_parquet(path, columns=["n"])["n"][0] != 3:
            path.unlink()

    found = lake.read(
        "t", ["id"], where=pl.col("at").is_between(START + timedelta(3), START + timedelta(4), closed="left")
    )

    assert found["id"].to_list() == wanted["id"].to_list() == ["e-3"]
    with pytest.raises(UnavailableError):
        lake.read("t")


def test_absent_table_names_the_nearest(lake: DeltaLake) -> None:
    lake.append("transactions", rows(1), app="a", batch=1)

    with pytest.raises(NotFoundError) as caught:
        lake.read("transaction")

    assert caught.value.problem.message == "the lake has no table `transaction`."
    assert caught.value.hint == "did you mean `transactions`?"


def test_absent_column_is_not_found(lake: DeltaLake) -> None:
    lake.append("t", rows(1), app="a", batch=1)

    with pytest.raises(NotFoundError, match="table `t` has no column"):
        lake.read("t", ["nothing"])


@pytest.mark.parametrize("name", ["", "../up", "a/b", "1st", "a b"])
def test_table_name_is_a_plain_name(lake: DeltaLake, name: str) -> None:
    with pytest.raises(ContractError):
        lake.append(name, rows(1), app="a", batch=1)


def test_ensure_creates_a_table_and_adds_columns_once(lake: DeltaLake) -> None:
    created = lake.ensure("t", rows())
    same = lake.ensure("t", rows().select("n", "id", "at"))
    wider = lake.ensure("t", rows(1).with_columns(pl.lit(1.5).alias("extra")))

    assert (created, same, wider) == (0, 0, 1)
    assert lake.read("t").schema == {**rows().schema, "extra": pl.Float64}
    assert lake.read("t").is_empty()
    with pytest.raises(ContractError, match="column `n` of table `t` is Int64, found String"):
        lake.ensure("t", rows().cast({"n": pl.String}))


def test_reset_changes_the_columns_of_a_table_without_rows(lake: DeltaLake) -> None:
    lake.append("t", rows(1).clear(), app="a", batch=7)
    other = pl.DataFrame(schema={"n": pl.String, "new": pl.Int64})

    version = lake.reset("t", other)

    assert (version, lake.version("t")) == (1, 1)
    assert lake.read("t").schema == other.schema
    assert lake.applied("t", app="a") == 7


def test_reset_refuses_a_table_with_rows(lake: DeltaLake) -> None:
    lake.append("t", rows(1), app="a", batch=1)

    with pytest.raises(ConflictError, match="table `t` holds rows"):
        lake.reset("t", rows().select("n"))

    assert lake.read("t").height == 1


def test_compaction_keeps_rows_versions_and_batches(lake: DeltaLake) -> None:
    for n in range(5):
        lake.append("t", rows(n), app="a", batch=n + 1)

    replaced = lake.compact("t")
    lake.append("t", rows(9), app="a", batch=5)

    assert replaced == 5
    assert lake.read("t")["n"].sort().to_list() == [0, 1, 2, 3, 4]
    assert lake.read("t", version=1)["n"].sort().to_list() == [0, 1]
    assert lake.applied("t", app="a") == 5


def test_batches_survive_a_checkpoint(lake: DeltaLake) -> None:
    for n in range(1, 25):
        lake.append("t", rows(n), app="a" if n % 2 else "b", batch=n)

    other = DeltaLake(lake.root)

    assert (other.applied("t", app="a"), other.applied("t", app="b")) == (23, 24)


def test_tables_lists_names(lake: DeltaLake) -> None:
    assert lake.tables() == []
    lake.append("b", rows(1), app="a", batch=1)
    lake.append("a", rows(1), app="a", batch=1)

    assert lake.tables() == ["a", "b"]


def test_damaged_table_is_unavailable(lake: DeltaLake) -> None:
    lake.append("t", rows(1), app="a", batch=1)
    for path in data_files(lake):
        path.write_bytes(b"nothing")

    with pytest.raises(UnavailableError, match="table `t` cannot be used"):
        lake.read("t")


def test_note_is_kept_with_the_commit(lake: DeltaLake) -> None:
    lake.append("t", rows(1), app="a", batch=1, note={"input": "x.csv"})

    assert lake._open("t").history(1)[0]["input"] == "x.csv"


@pytest.mark.parametrize(
    ("description", "said"),
    [("holdfast lake row, version 2", "reads up to 1"), ("somebody's table", "is not of holdfast")],
)
def test_table_of_a_newer_version_or_another_maker_is_refused(
    tmp_path: Path, description: str, said: str
) -> None:
    write_deltalake(tmp_path / "visits", pl.DataFrame({"a": [1]}), description=description)

    with pytest.raises(ConflictError, match=said) as refused:
        DeltaLake(tmp_path).read("visits")

    assert refused.value.code == "HF304"


# --------------------------------------------------------------------------------------------- data files

KINDS: dict[str, tuple[pl.DataType, st.SearchStrategy[Any]]] = {
    "text": (pl.String(), st.text(st.characters(exclude_categories=["Cs"]), max_size=80)),
    "int": (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    "real": (pl.Float64(), st.floats(allow_nan=False)),
    "flag": (pl.Boolean(), st.booleans()),
    "time": (
        pl.Datetime("us", "UTC"),
        st.datetimes(timezones=st.just(UTC), min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)),
    ),
}


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_filters_through_statistics_find_what_they_find_in_the_rows(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake = DeltaLake(tmp_path_factory.mktemp("lake"))
    schema = {name: kind for name, (kind, _) in KINDS.items()}
    row = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in KINDS.items()})
    parts = data.draw(st.lists(st.lists(row, min_size=1, max_size=4), min_size=2, max_size=4))
    for batch, part in enumerate(parts, start=1):
        lake.append("t", pl.DataFrame(part, schema=schema), app="a", batch=batch)
    every = pl.DataFrame([row for part in parts for row in part], schema=schema)
    name = data.draw(st.sampled_from(list(KINDS)))
    values = [value for value in every[name].to_list() if value is not None] or [data.draw(KINDS[name][1])]
    bound = pl.lit(data.draw(st.sampled_from(values)), KINDS[name][0])
    compare = data.draw(st.sampled_from([pl.Expr.eq, pl.Expr.ge, pl.Expr.gt, pl.Expr.le, pl.Expr.lt]))

    found = lake.read("t", where=compare(pl.col(name), bound))

    assert_frame_equal(found, every.filter(compare(pl.col(name), bound)), check_row_order=False)


def test_statistics_say_what_the_file_holds() -> None:
    times = [datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC), None, datetime(1969, 12, 31, tzinfo=UTC)]
    frame = pl.DataFrame(
        {
            "s": ["b", None, "a" * 70],
            "long": ["b" * 70, "a", None],
            "i": [2**60, None, -1],
            "f": [0.0, -1.5, 0.0],
            "nan": [1.0, float("nan"), None],
            "b": [True, None, False],
            "t": times,
            "none": pl.Series([None] * 3, dtype=pl.String),
        },
        schema_overrides={"t": pl.Datetime("us", "UTC")},
    )

    assert statistics(frame) == {
        "numRecords": 3,
        "minValues": {
            "s": "a" * 64,
            "long": "a",
            "i": -1,
            "f": -1.5,
            "b": False,
            "t": "1969-12-31T00:00:00Z",
        },
        "maxValues": {"s": "b", "i": 2**60, "f": 0.0, "b": True, "t": "2026-01-01T00:00:00.123456Z"},
        "nullCount": {"s": 1, "long": 1, "i": 1, "f": 0, "nan": 1, "b": 1, "t": 1, "none": 3},
    }


def test_staged_file_gets_one_more_name_whatever_the_attempts(lake: DeltaLake, tmp_path: Path) -> None:
    lake.append("t", rows(1), app="a", batch=1)
    staged = tmp_path / ("a" * 40 + ".parquet")
    rows(2).write_parquet(staged)
    os.link(staged, Path(lake.root, "t", f"part-{staged.name}"))  # by a process that died before its commit

    lake.append("t", rows(2), app="a", batch=2, staged=str(staged))

    assert staged.stat().st_nlink == 2
    assert lake.read("t")["n"].sort().to_list() == [1, 2]


def test_staged_file_is_written_again_where_it_cannot_be_linked(
    lake: DeltaLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.append("t", rows(1), app="a", batch=1)
    staged = tmp_path / ("a" * 40 + ".parquet")
    rows(2).write_parquet(staged)

    def refuse(*args: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    lake.append("t", rows(2), app="a", batch=2, staged=str(staged))

    assert staged.stat().st_nlink == 1
    assert lake.read("t")["n"].sort().to_list() == [1, 2]


def test_compaction_joins_files_of_both_writers(lake: DeltaLake) -> None:
    lake.append("t", rows(1), app="a", batch=1)
    lake.append("t", rows(2), app="a", batch=2)
    lake.append("t", rows(3).with_columns(pl.lit("x").alias("extra")), app="a", batch=3)
    lake.append("t", rows(4), app="a", batch=4)

    replaced = lake.compact("t")

    assert replaced == 4
    assert lake.read("t").sort("n")["extra"].to_list() == [None, None, "x", None]
    assert lake.read("t", where=pl.col("n") == 4)["id"].to_list() == ["e-4"]
