"""The Fraud Detection Handbook's published data, its first days: features, test rows, card precision.

All 1.47M rows are compared by `make proof-handbook`.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks.handbook.published import compare
from benchmarks.handbook.world import FOLDER, TRANSFORMED, missing, raw, workspace

import holdfast as hf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "the data is there"),
]

BEGIN = datetime(2018, 4, 1, tzinfo=UTC)
DAYS = 24
WEEK = 7


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Every row of the first days, so that each window before them is whole."""
    return raw().filter(pl.col("at") < BEGIN + timedelta(days=DAYS))


@pytest.fixture(scope="module")
def opened(rows: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> hf.Workspace:
    return workspace(tmp_path_factory.mktemp("handbook"), rows)


@pytest.fixture(scope="module")
def ours(opened: hf.Workspace) -> pl.DataFrame:
    return opened.dataset("every_row", as_of="2018-05-02").frame


@pytest.fixture(scope="module")
def transformed(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.read_parquet(TRANSFORMED, n_rows=rows.height)


def test_every_published_window_value_is_ours_or_differs_for_a_known_reason(
    ours: pl.DataFrame, transformed: pl.DataFrame
) -> None:
    columns = compare(ours, transformed)

    assert len(columns) == 12
    assert [int(column.unexplained.sum()) for column in columns] == [0] * 12
    caused = {cause for c in columns for cause, found in c.causes.items() if found.any()}
    assert caused == {"edge", "tie", "rounding"}


def test_wrong_value_has_no_reason(ours: pl.DataFrame, transformed: pl.DataFrame) -> None:
    count, share = "customer_id_nb_tx_7day_window", "terminal_id_risk_7day_window"
    average = "customer_id_avg_amount_7day_window"
    last = pl.int_range(pl.len()) == pl.len() - 1
    wrong = transformed.with_columns(
        pl.when(last).then(pl.col(count) + 1).otherwise(pl.col(count)).alias(count),
        pl.when(last).then(pl.col(share) + 0.5).otherwise(pl.col(share)).alias(share),
        pl.when(last).then(pl.col(average) * (1 + 1e-14)).otherwise(pl.col(average)).alias(average),
    )

    found = {column.name: column.unexplained for column in compare(ours, wrong)}

    assert {name for name, rows in found.items() if rows.any()} == {count, share, average}
    assert all(rows[-1] for name, rows in found.items() if rows.any())


def test_wrong_window_of_ours_is_not_explained_away(ours: pl.DataFrame, transformed: pl.DataFrame) -> None:
    shifted = ours.with_columns(pl.col("customer_id_nb_tx_1d") + 1)

    with pytest.raises(SystemExit, match="rows of ours are not what the windows strictly before them hold"):
        compare(shifted, transformed)


def test_parts_are_the_published_weeks_without_the_cards_known_by_then(
    opened: hf.Workspace, rows: pl.DataFrame
) -> None:
    dataset = opened.dataset("published", as_of="2018-05-02")

    # Said once more, day by day, as the handbook puts it: 4 to 10 April, a week of delay, 18 to 24 April.
    day = (pl.col("at").dt.date() - BEGIN.date()).dt.total_days()
    dated = rows.with_columns(day.alias("day"))
    first = 3
    fraud = dated.filter(pl.col("fraud") == 1)
    expected = []
    for test_day in range(first + 2 * WEEK, first + 3 * WEEK):
        known = fraud.filter(pl.col("day").is_between(first, test_day - WEEK - 1))["card_id"].unique()
        expected += dated.filter((pl.col("day") == test_day) & ~pl.col("card_id").is_in(known.implode()))[
            "tx_id"
        ].to_list()
    parts = dataset.frame
    assert parts.filter(pl.col("_part") == "test")["_key"].cast(pl.Int64).sort().to_list() == sorted(expected)
    train = dated.filter(pl.col("day").is_between(first, first + WEEK - 1))
    assert parts.filter(pl.col("_part") == "train").height == train.height
    assert dataset.recipe.counts["untested"] > 0
    assert dataset.recipe.counts["validation"] == 0


def test_card_precision_is_that_of_a_loop_over_days(opened: hf.Workspace, rows: pl.DataFrame) -> None:
    run = opened.train("published", as_of="2018-05-02", params={"n_estimators": 8}, by="ana").run

    version = next(v.version for v in opened.models("published"))
    dataset = opened.wiring.snapshots.load(run.dataset)
    test = dataset.frame.filter(pl.col("_part") == "test")
    x = test.select(dataset.recipe.plan.names).to_numpy()
    score = np.asarray(opened.wiring.open_bundle(version.bundle).predictor.predict(np.ascontiguousarray(x)))
    cards = test.with_columns(pl.Series("score", score), (pl.col("_t") // 86_400_000_000).alias("day"))
    found: list[int] = []
    shares = []
    for _, of_day in sorted(cards.group_by("day"), key=lambda pair: pair[0]):
        left = of_day.filter(~pl.col("row.card_id").is_in(found))
        best = left.group_by("row.card_id").agg(pl.col("score").max(), pl.col("_label").max())
        ranked = best.sort("score", descending=True)
        cut = ranked["score"][99]
        above, tied = ranked.filter(pl.col("score") > cut), ranked.filter(pl.col("score") == cut)
        hits = above["_label"].sum() + (100 - above.height) * tied["_label"].mean()
        shares.append(hits / 100)
        caught = above if above.height + tied.height > 100 else pl.concat([above, tied])
        found += caught.filter(pl.col("_label") == 1)["row.card_id"].to_list()
    assert run.metrics["precision@100/day/card"].value == pytest.approx(np.mean(shares), abs=1e-12)


def test_fraud_scenario_cannot_be_read_of_the_payment_itself(tmp_path: Path) -> None:
    text = (FOLDER / "project.py").read_text(encoding="utf-8")
    assert "scenario" not in text
    leaking = text.replace(
        "    reported_at: datetime = hf.arrival_time()",
        "    reported_at: datetime = hf.arrival_time()\n    scenario: int = hf.field(ge=0, le=3)",
    ).replace(
        "@project.features(Transaction, card_windows,",
        'payment = hf.Entity("payment", key="tx_id")\n\n\n@project.view(reports, entity=payment)\n'
        'def leak(report):\n    return {"scenario_now": report.scenario.max(over="30d")}\n\n\n'
        "@project.features(Transaction, leak, card_windows,",
    )
    (tmp_path / "project.py").write_text(leaking, encoding="utf-8")

    problems = hf.Workspace(tmp_path).validate()

    assert {p.code for p in problems if p.severity == "error"} == {"HF108"}
