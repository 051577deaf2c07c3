"""The demand example: from simulated sales to forecasts of 28 days and their measured errors, in batch."""

import sys
from pathlib import Path

import polars as pl
import pytest
from benchmarks.real_data import load
from tests.commands import Ran, holdfast

SMALLER = {
    '"n_estimators": 200': '"n_estimators": 30',
    '"learning_rate": 0.08': '"learning_rate": 0.2',
    "n_jobs=2": "n_jobs=1",
    'hf.TimeSplit(test="60d", validation="30d")': 'hf.TimeSplit(test="30d", validation="15d")',
}
DAYS = 200


def simulate(folder: Path, out: str, since: int, days: int) -> None:
    words = [
        "simulator.py",
        "--from",
        since,
        "--days",
        days,
        "--stores",
        2,
        "--items",
        6,
        "--out",
        folder / out,
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(word) for word in words])
        load(folder / "simulator.py").main()


def edit(folder: Path, changes: dict[str, str]) -> None:
    path = folder / "project.py"
    text = path.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """Make the project, take in 200 days, and train."""
    folder = tmp_path_factory.mktemp("demand") / "demand"
    assert holdfast("init", "demand", folder).status == 0
    edit(folder, SMALLER)
    simulate(folder, "events", 0, DAYS)
    assert holdfast("validate", cwd=folder).status == 0
    assert "11 to add" in holdfast("plan", cwd=folder).out
    assert holdfast("apply", "--by", "mia", cwd=folder).status == 0
    for source in ("sales", "promotions"):
        assert holdfast("ingest", source, f"events/{source}.parquet", cwd=folder).status == 0
    return folder, holdfast("train", "demand", "--by", "mia", "--seed", "7", cwd=folder)


def test_loop_from_sales_to_measured_forecasts(trained: tuple[Path, Ran]) -> None:
    folder, train = trained
    run = lambda *words: holdfast(*words, cwd=folder)  # noqa: E731

    assert train.status == 0, train.out + train.err
    assert "wape <= baseline * 0.95: passed" in train.out
    assert "demand@1" in run("models", "demand").out
    assert run("approve", "demand", "1", "--by", "jon", "--reason", "better than naive").status == 0
    assert run("deploy", "demand", "1", "--by", "jon").status == 0
    predicted = run("predict", "demand", "--out", "forecasts.csv", "--json").json
    rows = pl.read_csv(folder / "forecasts.csv", try_parse_dates=True)
    # Ten series: two shops, and of six items the last is not sold before day 200.
    assert predicted["predicted"] == rows.height == 10 * 28
    assert rows.columns == ["store_id", "item_id", "at", "horizon", "target", "forecast", "prediction_id"]
    assert rows["at"].n_unique() == 1
    assert ((rows["target"] - rows["at"]).dt.total_days() == rows["horizon"] - 1).all()
    assert rows["horizon"].n_unique() == 28
    assert (rows["forecast"] > 0).all()
    again = run("predict", "demand", "--json").json
    assert (again["predicted"], again["repeated"]) == (0, 280)

    why = run("why", rows.filter(pl.col("horizon") == 9)["prediction_id"][0])
    assert why.status == 0
    assert "23 of 23 equal the oracle's" in why.out
    assert "0 differ" in run("parity").out

    assert "no label has matured yet" in run("performance", "demand").out
    simulate(folder, "later", DAYS, 14)
    for source in ("sales", "promotions"):
        assert run("ingest", source, f"later/{source}.parquet").status == 0
    measured = run("performance", "demand", "--json").json
    # The day of the last sale is over, but nobody can know that before the next one.
    assert measured["mature"] in (13 * 10, 14 * 10)
    assert measured["metrics"]["wape"]["value"] < 0.6
    assert not (folder / ".holdfast/online").exists()


def test_errors_are_told_at_each_horizon_beside_the_naive_ones(trained: tuple[Path, Ran]) -> None:
    folder, train = trained
    (stored,) = (folder / ".holdfast/bundles").glob("*/card.md")

    assert "by horizon" in train.out
    card = stored.read_text()
    assert "| 28 |" in card
    assert "Intervals resample series" in card


def test_a_quantile_that_is_asked_for_is_refused(trained: tuple[Path, Ran], tmp_path: Path) -> None:
    folder = tmp_path / "quantiles"
    holdfast("init", "demand", folder)
    edit(folder, {'origins="5d")': 'origins="5d", quantiles=[0.1, 0.9])'})
    warned = holdfast("validate", cwd=folder)
    holdfast("apply", "--by", "mia", cwd=folder)

    refused = holdfast("train", "demand", cwd=folder)

    assert (warned.status, refused.status) == (0, 1)
    assert "asks for quantiles" in warned.out
    assert "asks for the quantiles 0.1, 0.9, which cannot be trained yet" in refused.err
