"""The lake on Delta Lake fulfils the port's contract, and its own promises."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from holdfast.adapters.delta import DeltaLake
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
