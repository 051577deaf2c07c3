"""The bundle format: what is written today, byte for byte, and that format 1 stays readable.

`bundle_1` is a whole bundle. If a change of its bytes is meant, write it anew with `--update-golden` and say
so in the page of the format; a change that older versions could not read is a new format.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests import training_examples as examples

from holdfast.datasets.forecast import Forecast
from holdfast.datasets.profile import ColumnProfile, Profile
from holdfast.datasets.snapshot import Recipe, Snapshot
from holdfast.datasets.spine import Grid
from holdfast.events.entity import Entity
from holdfast.training.bundle import Runtime, assemble, check_files, open_bundle
from holdfast.training.calibration import ReliabilityBin
from holdfast.training.card import write_card
from holdfast.training.gate import Gate, GateResult
from holdfast.training.metric import Interval
from holdfast.training.policy import Bands
from holdfast.training.run import Run

GOLDEN = Path(__file__).parent / "bundle_1"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "formats" / "bundle.md"
POLICY = Bands((("block", 0.9), ("review", 0.6), ("allow", 0.0)))
AMOUNT = ColumnProfile("amount", "numeric", 90, 0, 41.5, 3.25, 1.0, 99.0, (20.0, 50.0), (30, 30, 30))
COUNTRY = ColumnProfile("country", "categorical", 90, 4, 1.5, 1.0, 0.0, 3.0, (), (1, 60, 20, 5))
SCORES = ColumnProfile("score", "numeric", 30, 0, 0.25, 0.5, 0.0, 1.0, (0.5,), (20, 10))


def bundle(**rows: Any) -> dict[str, bytes]:
    recipe = Recipe(
        project="9c0e" * 10,
        model="fraud",
        plan=examples.plan(),
        label=examples.LABEL,
        boundaries=examples.BOUNDARIES,
        tables={"transactions": 211, "chargebacks": 190},
        as_of=examples.START,
        arrival_basis={"transactions": {"assumed": 3, "measured": 1}, "chargebacks": {"column": 20}},
        counts={"spine": 150, "immature": 10, "train": 90, "validation": 10, "gap": 10, "test": 30},
    )
    snapshot = Snapshot("d-77ab", "c0", recipe, Profile(90, (AMOUNT, COUNTRY), 0.0125), pl.DataFrame())
    run = Run(
        id="r-0192",
        model="fraud",
        project=recipe.project,
        dataset=snapshot.id,
        params={"num_leaves": 31, "learning_rate": 0.05},
        seed=7,
        author="ana",
        started_us=examples.START,
        duration_us=1_500_000,
        environment="e-55",
        facts={"python": "3.11.9", "lightgbm": "4.7.0"},
        code="git:1f2e3d4c5b6a+0",
        task="binary",
        rows={"train": 90, "validation": 10, "test": 30},
        metrics={"average_precision": Interval(0.661, 0.64, 0.683), "auc": Interval(None)},
        baseline={"average_precision": 0.008, "auc": 0.5},
        champion_name="fraud@7",
        champion={"average_precision": 0.655, "auc": None},
        gates=(GateResult(Gate("average_precision", ">=", 0.55), "passed", 0.661, 0.55),),
        reliability=(ReliabilityBin(0.0, 0.5, 20.0, 0.1, 0.05), ReliabilityBin(0.5, 1.0, 10.0, 0.75, 0.7)),
        importance={"amount": 12.5, "country": 0.5},
    )
    return assemble(
        run,
        label=recipe.label,
        plan=recipe.plan,
        profile=snapshot.profile,
        scores=SCORES,
        policy=POLICY,
        content=b"0.01 -3.0 1",
        runtime=Runtime("line", "line.txt", ("line",)),
        card=write_card(run, examples.model(), snapshot, POLICY),
        **rows,
    )


def stored() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(GOLDEN.iterdir())}


def test_bundle_is_written_byte_for_byte_as_before(request: pytest.FixtureRequest) -> None:
    files = bundle()
    if request.config.getoption("--update-golden", default=False):
        GOLDEN.mkdir(exist_ok=True)
        for path in GOLDEN.iterdir():
            path.unlink()
        for name, content in files.items():
            (GOLDEN / name).write_bytes(content)

    expected = stored()

    assert files.keys() == expected.keys()
    for name in sorted(files, key=lambda name: (name == "manifest.json", name)):
        assert files[name].decode() == expected[name].decode(), name


def test_stored_bundle_of_format_1_opens() -> None:
    opened = open_bundle(stored(), [examples.LineFormat()])

    assert opened.manifest.format == 1
    assert opened.plan == examples.plan()
    assert opened.policy == POLICY
    assert opened.profile.columns == (AMOUNT, COUNTRY)
    assert opened.expected.metrics["average_precision"] == Interval(0.661, 0.64, 0.683)


def test_page_of_the_format_names_every_field() -> None:
    page = PAGE.read_text()
    manifest = json.loads(stored()["manifest.json"])
    baseline = json.loads(stored()["baseline.json"])

    assert check_files(stored()).format == 1
    for name in (*manifest, *manifest["runtime"], *baseline, *(stored().keys() - {"line.txt"})):
        assert f"`{name}`" in page, name


def test_bundle_of_a_model_over_a_grid_is_format_2_and_says_its_rows() -> None:
    grid = Grid("shop_every_1d", "sales", (Entity("shop", ("shop_id",)),), 86_400_000_000)
    forecast = Forecast((1, 2, 3), (), 3 * 86_400_000_000)

    manifest = check_files(bundle(grid=grid, forecast=forecast))

    assert (manifest.format, manifest.grid, manifest.forecast) == (2, grid, forecast)
    plain = json.loads(bundle()["manifest.json"])
    assert plain["format"] == 1
    assert not {"grid", "forecast"} & plain.keys()
