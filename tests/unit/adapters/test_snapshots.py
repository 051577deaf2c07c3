"""Snapshots on disk: whole or not there, and checked when they are read."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from holdfast.adapters.delta import snapshots as module
from holdfast.adapters.delta.snapshots import DeltaSnapshots
from holdfast.datasets.label import Label
from holdfast.datasets.profile import profile
from holdfast.datasets.snapshot import Recipe, Snapshot, seal
from holdfast.datasets.split import Boundaries
from holdfast.features.view import Feature, FeaturePlan, FeatureSet
from holdfast.kernel.errors import ConflictError, DeterminismError, NotFoundError, UnavailableError
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema

SCHEMA = Schema("Row", (Column("id", "string", role="event_id"), Column("amount", "float", ge=0.0)))
PLAN = FeaturePlan(
    FeatureSet("f", "rows", (Feature("x", Expr("add", (col("amount"), const(1)))),)),
    SCHEMA,
    (),
    {},
    {"country": ("PT", "ES")},
)


def snapshot(rows: int = 200) -> Snapshot:
    x = np.linspace(0.1, 9.7, rows)
    x[::7], x[1::7], x[2::7] = np.nan, -0.0, 0.0
    frame = pl.DataFrame(
        {
            "_key": [f"r{index % 97}é" for index in range(rows)],
            "_t": np.arange(rows, dtype=np.int64) // 2 * 10,
            "_known_at": np.arange(rows, dtype=np.int64),
            "row.country": [None if index % 3 else "PT" for index in range(rows)],
            "row.new": [None if index % 5 else index % 2 == 0 for index in range(rows)],
            "x": x,
            "_label": np.ones(rows),
            "_weight": np.ones(rows),
            "_part": ["train"] * rows,
        }
    ).sort("_t", "_key")
    recipe = Recipe(
        "p", "m", PLAN, Label("rows", 5, "id", absent=0.0), Boundaries(0, 1, 2, 3, 4), {"rows": 3}, 9,
        {"rows": {"column": rows}}, {"spine": rows},
    )  # fmt: skip
    return seal(recipe, profile(["x"], [], x.reshape(-1, 1), np.ones(rows)), frame)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = snapshot()
    DeltaSnapshots(tmp_path).save(saved)

    loaded = DeltaSnapshots(str(tmp_path)).load(saved.id)

    assert loaded.frame.equals(saved.frame)
    assert loaded.frame["x"].to_numpy().tobytes() == saved.frame["x"].to_numpy().tobytes()
    assert (loaded.id, loaded.content, loaded.recipe, loaded.profile) == (
        saved.id, saved.content, saved.recipe, saved.profile,
    )  # fmt: skip


def test_folder_is_named_by_the_id_and_holds_a_table_others_can_read(tmp_path: Path) -> None:
    saved = snapshot()
    DeltaSnapshots(tmp_path).save(saved)

    (folder,) = (tmp_path / "_datasets").iterdir()

    assert folder.name == saved.id
    assert pl.read_delta(str(folder / "rows")).height == saved.frame.height
    assert json.loads((folder / "recipe.json").read_text())["model"] == "m"
    assert DeltaSnapshots(tmp_path).list_ids() == [saved.id]


def test_saving_twice_changes_nothing(tmp_path: Path) -> None:
    store, saved = DeltaSnapshots(tmp_path), snapshot()
    store.save(saved)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))

    store.save(saved)

    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before


def test_one_of_two_that_save_at_once_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, write = snapshot(), module._write

    def late(one: Snapshot, folder: Path) -> None:
        monkeypatch.setattr(module, "_write", write)
        DeltaSnapshots(tmp_path).save(one)
        write(one, folder)

    monkeypatch.setattr(module, "_write", late)
    DeltaSnapshots(tmp_path).save(saved)

    assert [path.name for path in (tmp_path / "_datasets").iterdir()] == [saved.id]
    assert DeltaSnapshots(tmp_path).load(saved.id).content == saved.content


def test_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(one: Snapshot, folder: Path) -> None:
        (folder / "recipe.json").write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)

    with pytest.raises(UnavailableError, match="No space left"):
        DeltaSnapshots(tmp_path).save(snapshot())
    assert list((tmp_path / "_datasets").iterdir()) == []


def test_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "_datasets").write_text("a file")

    with pytest.raises(UnavailableError, match="cannot be written"):
        DeltaSnapshots(tmp_path).save(snapshot())


def test_snapshot_that_is_not_what_its_id_says_is_not_saved(tmp_path: Path) -> None:
    saved = snapshot()

    with pytest.raises(DeterminismError):
        DeltaSnapshots(tmp_path).save(replace(saved, frame=saved.frame.head(3)))
    assert not (tmp_path / "_datasets").exists()


@pytest.mark.parametrize("wanted", ["d-" + "0" * 40, "d-1", "../secret", ""])
def test_unknown_id_is_not_found(tmp_path: Path, wanted: str) -> None:
    (tmp_path / "secret").mkdir()

    with pytest.raises(NotFoundError, match="there is no dataset"):
        DeltaSnapshots(tmp_path).load(wanted)


def test_near_id_is_hinted(tmp_path: Path) -> None:
    saved = snapshot()
    DeltaSnapshots(tmp_path).save(saved)

    with pytest.raises(NotFoundError, match=f"did you mean `{saved.id}`"):
        DeltaSnapshots(tmp_path).load(saved.id[:-1])


def test_folder_is_readable_by_whom_its_parent_is(tmp_path: Path) -> None:
    (tmp_path / "_datasets").mkdir()
    (tmp_path / "_datasets").chmod(0o750)
    saved = snapshot()

    DeltaSnapshots(tmp_path).save(saved)

    assert (tmp_path / "_datasets" / saved.id).stat().st_mode & 0o777 == 0o750


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def damaged(folder: Path, how: str) -> None:
    if how == "other rows":
        frame = pl.read_delta(str(folder / "rows")).with_columns(pl.lit(2.0).alias("_weight"))
        frame.write_delta(str(folder / "rows"), mode="overwrite")
    elif how == "other recipe":
        rewrite(folder / "recipe.json", as_of=10)
    elif how == "torn recipe":
        (folder / "recipe.json").write_text('{"as_of":')
    elif how == "recipe of another shape":
        rewrite(folder / "recipe.json", label=3)
    elif how == "no recipe":
        (folder / "recipe.json").unlink()
    elif how == "no rows":
        for path in (folder / "rows").glob("*.parquet"):
            path.unlink()
    elif how == "torn rows":
        for path in (folder / "rows").glob("*.parquet"):
            os.truncate(path, 100)
    elif how == "head without content":
        (folder / "snapshot.json").write_text('{"format": 1}')


@pytest.mark.parametrize(
    "how",
    [
        "other rows", "other recipe", "torn recipe", "recipe of another shape", "no recipe", "no rows",
        "torn rows", "head without content",
    ],
)  # fmt: skip
def test_damage_is_noticed(tmp_path: Path, how: str) -> None:
    saved = snapshot()
    DeltaSnapshots(tmp_path).save(saved)
    damaged(tmp_path / "_datasets" / saved.id, how)

    with pytest.raises(DeterminismError) as caught:
        DeltaSnapshots(tmp_path).load(saved.id)

    assert caught.value.code == "HF500"


def test_newer_format_is_refused(tmp_path: Path) -> None:
    saved = snapshot()
    DeltaSnapshots(tmp_path).save(saved)
    rewrite(tmp_path / "_datasets" / saved.id / "snapshot.json", format=2)

    with pytest.raises(ConflictError, match="has format 2; this version reads up to 1") as caught:
        DeltaSnapshots(tmp_path).load(saved.id)

    assert caught.value.code == "HF304"
