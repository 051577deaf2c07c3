"""The demand example: from simulated sales to forecasts of 28 days and their measured errors, in batch."""

import math
import shutil
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from benchmarks.real_data import load
from tests.commands import Ran, holdfast

import holdfast as hf
from holdfast.kernel.time import DAY
from holdfast.registry.lookup import get_run

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
    at_horizons = {at["horizon"]: at for at in measured["horizons"]}
    assert sorted(at_horizons) == list(range(1, measured["mature"] // 10 + 1))
    sold = sold_by_day(folder, "events", "later")
    expected = errors_by_horizon(rows, sold, series_scales(folder, sold), set(at_horizons))
    for horizon, at in at_horizons.items():
        assert at["mature"] == 10
        for name in ("wape", "rmsse"):
            found = (at["metrics"][name], at["baseline"][name])
            assert found == pytest.approx(expected[horizon, name], rel=1e-9), (horizon, name)
    assert "horizon  mature  baseline" in run("performance", "demand", "--by", "horizon").out
    assert not (folder / ".holdfast/online").exists()


Series = tuple[str, str]


def sold_by_day(folder: Path, *parts: str) -> dict[Series, dict[int, int]]:
    """What was sold of each series, by number of the day."""
    sold: dict[Series, dict[int, int]] = {}
    for part in parts:
        frame = pl.read_parquet(folder / part / "sales.parquet")
        for store, item, at, n in frame.select("store_id", "item_id", "day", "quantity").rows():
            sold.setdefault((store, item), {})[at.toordinal()] = n
    return sold


def series_scales(folder: Path, sold: dict[Series, dict[int, int]]) -> dict[Series, float]:
    """Mean squared step of each series from one day to the next over the training part, by plain loops."""
    (run,) = hf.Workspace(folder).models("demand")
    recipe = hf.Workspace(folder).wiring.snapshots.load(run.version.dataset).recipe
    # The first midnight at or after each edge.
    first, last = (
        datetime.fromtimestamp(-(-at // DAY) * 86_400, UTC).toordinal()
        for at in (recipe.boundaries.start, recipe.boundaries.train_end)
    )
    scales = {}
    for series, days in sold.items():
        values = [days.get(day, 0) for day in range(max(min(days) + 1, first), last)]
        moves = [(b - a) ** 2 for a, b in pairwise(values)]
        if any(moves):
            scales[series] = sum(moves) / len(moves)
    return scales


def errors_by_horizon(
    rows: pl.DataFrame, sold: dict[Series, dict[int, int]], scales: dict[Series, float], horizons: set[int]
) -> dict[tuple[int, str], tuple[float, float]]:
    """WAPE and RMSSE of one origin's forecasts and of the last week known at it, by plain loops."""
    found = {}
    wanted = rows.select("store_id", "item_id", "at", "target", "horizon", "forecast").rows()
    for horizon in horizons:
        size, off, scaled = 0.0, [0.0, 0.0], ([], [])
        for store, item, at, target, h, forecast in wanted:
            if h != horizon:
                continue
            days = sold[store, item]
            week_before = target.toordinal()
            while week_before >= at.toordinal():
                week_before -= 7
            y, answers = days.get(target.toordinal(), 0), (forecast, days.get(week_before, 0))
            size += y
            for place, answer in enumerate(answers):
                off[place] += abs(y - answer)
                if (store, item) in scales:
                    scaled[place].append(abs(y - answer) / math.sqrt(scales[store, item]))
        found[horizon, "wape"] = (off[0] / size, off[1] / size)
        found[horizon, "rmsse"] = tuple(sum(each) / len(each) for each in scaled)
    return found


def test_what_is_measured_later_is_what_training_measured_on_the_same_rows(
    trained: tuple[Path, Ran], tmp_path: Path
) -> None:
    shutil.copytree(trained[0], tmp_path / "demand")
    workspace = hf.Workspace(tmp_path / "demand")
    (listed,) = workspace.models("demand")
    snapshot = workspace.wiring.snapshots.load(listed.version.dataset)
    origins = snapshot.frame.filter(pl.col("_part") == "test")["_t"].unique().sort().to_list()
    for origin in origins:
        workspace.predict("demand", since=origin, until=origin + 1, version=1)

    found = workspace.performance("demand", since=origins[0], until=origins[-1] + 1, version=1)

    run = get_run(workspace.wiring.registry, listed.version.run).payload
    assert found.mature == sum(at["rows"] for at in run["by_horizon"]) > 1_000
    assert {name: value.value for name, value in found.metrics.items()} == pytest.approx(
        {name: value["value"] for name, value in run["metrics"].items()}
    )
    assert found.baseline == pytest.approx(run["baseline"])
    assert len(found.horizons) == 28
    for at, trained_at in zip(found.horizons, run["by_horizon"], strict=True):
        assert (at.horizon, at.mature) == (trained_at["horizon"], trained_at["rows"])
        assert at.metrics == pytest.approx(trained_at["metrics"])
        assert at.baseline == pytest.approx(trained_at["baseline"])
        assert at.expected == trained_at["metrics"]

    # Without a declared season the baseline is the mean label of the training part, as in training.
    edit(tmp_path / "demand", {'baseline=hf.SeasonalNaive("7d"),': ""})
    without = hf.Workspace(tmp_path / "demand")
    without.apply(by="mia")
    prior = without.performance("demand", since=origins[0], until=origins[-1] + 1, version=1)
    y, mean = (
        snapshot.frame.filter(pl.col("_part") == part)["_label"].to_numpy() for part in ("test", "train")
    )
    assert prior.baseline["wape"] == pytest.approx(abs(y - mean.mean()).sum() / y.sum())
    assert prior.metrics == found.metrics


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
