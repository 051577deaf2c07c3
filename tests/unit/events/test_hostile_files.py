"""Files that break rules, one rule each: what every one of them gets, and that none stores half of itself."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.unit.events.test_ingest import PAYMENTS, State

from holdfast.app.workspace import Workspace
from holdfast.events.ports import QUARANTINE
from holdfast.kernel.errors import HoldfastError, UsageError

FOLDER = Path(__file__).parents[2] / "resources" / "hostile"

EXPECTED: dict[str, Any] = {
    "amount-not-finite.parquet": (0, 0, {"HF206": 2}),
    "array.jsonl": "HF200",
    "blank-lines.csv": "HF200",
    "bom.csv": (1, 0, {}),
    "column-missing.csv": "HF209",
    "column-missing.parquet": "HF209",
    "column-twice.csv": "HF200",
    "column-unknown.csv": "HF209",
    "csv-inside.jsonl": "HF200",
    "cut-short.parquet": "HF200",
    "deep.jsonl": "HF200",
    "empty.csv": "HF200",
    "empty.jsonl": "HF200",
    "empty.parquet": "HF200",
    "footer-damaged.parquet": "HF200",
    "gzip.csv": "HF200",
    "gzip.jsonl": "HF200",
    "half-surrogate.jsonl": (0, 0, {"HF214": 1}),
    "header-only.csv": (0, 0, {}),
    "id-is-bytes.parquet": (0, 0, {"HF202": 2}),
    "json-inside.csv": "HF200",
    "key-missing.jsonl": (0, 0, {"HF201": 1}),
    "key-twice.jsonl": (0, 0, {"HF214": 1}),
    "key-unknown.jsonl": "HF209",
    "latin-1.csv": "HF200",
    "missing-values.csv": (0, 0, {"HF201": 2}),
    "nan.jsonl": (0, 0, {"HF206": 1}),
    "no-header.csv": "HF209",
    "no-rows.parquet": (0, 0, {}),
    "not-objects.jsonl": "HF200",
    "not-utf-8.jsonl": "HF200",
    "nul.csv": "HF200",
    "numbers-in-words.csv": (0, 0, {"HF202": 1, "HF203": 2, "HF204": 1, "HF206": 1}),
    "old-mac-line-ends.csv": "HF200",
    "page-damaged.parquet": "HF200",
    "quote-never-closed.csv": "HF200",
    "ragged.csv": (1, 0, {"HF214": 2}),
    "same-id-other-content.csv": (1, 0, {"HF210": 1}),
    "same-row-twice.csv": (1, 1, {}),
    "semicolons.csv": "HF200",
    "tabs.csv": "HF200",
    "text-inside.parquet": "HF200",
    "time-out-of-range.parquet": (1, 0, {"HF203": 1}),
    "time-without-zone.parquet": (0, 0, {"HF205": 2}),
    "times.csv": (0, 0, {"HF201": 1, "HF202": 2, "HF205": 1}),
    "truncated-line.jsonl": (1, 0, {"HF214": 1}),
    "two-on-a-line.jsonl": "HF200",
    "unknown-format.xlsx": "HF200",
    "utf-16.csv": "HF200",
    "wrong-types.jsonl": (0, 0, {"HF202": 2}),
}
"""Code of a file that is refused as a whole, else (stored, duplicates, quarantined by code)."""


def test_the_corpus_is_what_is_walked() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_hostile_file_gets_what_is_said_of_it(tmp_path: Path, name: str) -> None:
    state, expected = State(tmp_path / "state"), EXPECTED[name]

    if isinstance(expected, str):
        with pytest.raises(HoldfastError) as refused:
            state.ingest(FOLDER / name)
        assert refused.value.code == expected
        assert name in refused.value.problem.at
        assert (state.rows(), state.rows(QUARANTINE)) == ([], [])
        return
    stored, duplicates, quarantined = expected
    report = state.ingest(FOLDER / name)
    assert (report.now.stored, report.now.duplicates, dict(report.now.quarantined)) == expected
    assert report.rows == stored + duplicates + sum(quarantined.values())
    assert (len(state.rows()), len(state.rows(QUARANTINE))) == (stored, sum(quarantined.values()))


def test_a_refused_file_keeps_its_good_neighbours_out_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("bom.csv", "column-missing.csv"):
        shutil.copy(FOLDER / name, folder)
    state = State(tmp_path / "state")

    with pytest.raises(HoldfastError, match="lacks the required `amount`"):
        state.ingest(folder)

    assert state.rows() == []


def test_links_that_lead_in_a_circle_and_pipes_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(FOLDER / "bom.csv", folder)
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    (folder / "up").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.csv")
    state = State(tmp_path / "state")

    assert state.ingest(folder).now.stored == 1
    for place in ("loop.csv", "pipe.csv"):
        with pytest.raises(HoldfastError) as refused:
            state.ingest(folder / place)
        assert place in refused.value.problem.at


def test_dry_run_says_that_rows_would_be_stored(tmp_path: Path) -> None:
    state = State(tmp_path / "state")

    lines = list(state.ingest(FOLDER / "ragged.csv", PAYMENTS, dry_run=True).lines())

    assert lines == [
        "ragged.csv  3 rows: 1 would be stored, 0 duplicates, 2 would be quarantined (HF214 2)",
        "  HF214  2 rows, first: line 3 has 2 fields, expected 4. (ragged.csv:2)",
    ]
    assert state.rows() == []


@pytest.mark.parametrize("paths", [(5,), (None,), (), ([],), (b"bytes.csv",), (["a.csv", 7],)])
def test_what_is_no_path_is_refused_before_anything_is_read(project: Any, paths: tuple[Any, ...]) -> None:
    workspace = Workspace(project("import holdfast as hf\nproject = hf.Project('shop')\n"))

    with pytest.raises(UsageError) as refused:
        workspace.ingest("payments", *paths)

    assert refused.value.problem.at == "paths"
