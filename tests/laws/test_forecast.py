"""Laws of forecasts: nothing after the origin is seen but what was announced by then; errors are as said."""

import math
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests import demand_world as world

from holdfast.datasets.build import build
from holdfast.datasets.forecast import at_horizons
from holdfast.datasets.snapshot import Snapshot
from holdfast.datasets.spine import grid_spine
from holdfast.datasets.split import TimeSplit
from holdfast.features.materialize import materialize
from holdfast.kernel.time import DAY
from holdfast.testing.oracle import features_of
from holdfast.training.metric import Scored, evaluate, evaluate_with_intervals

DAYS = 100
SEEDS = st.integers(0, 3)


def asked(sales: pl.DataFrame, days: list[int], horizons: list[int]) -> pl.DataFrame:
    """Rows of the grid on some days, at some horizons."""
    project = world.compiled()
    (grid,) = project.grids.values()
    first, last = world.instant(min(days)), world.instant(max(days))
    rows = grid_spine(grid, project.sources["sales"], sales, first, last + 1)
    wanted = [world.instant(day) for day in days]
    return at_horizons(rows.filter(pl.col("_t").is_in(wanted)), grid.every, horizons)


@given(seed=SEEDS, day=st.integers(30, DAYS - 1), noise=st.integers(1, 500))
@settings(max_examples=20)
def test_what_happens_or_is_announced_after_the_origin_changes_no_feature(
    seed: int, day: int, noise: int
) -> None:
    plan = world.compiled().feature_plan("demand")
    sales, promotions = world.events(DAYS, seed=seed)
    origin = world.instant(day)
    rows = asked(sales, [day], [1, 7, 8, 28])
    other_sales = sales.with_columns(
        pl.when(pl.col("day").to_physical() >= origin).then(noise).otherwise("quantity").alias("quantity")
    ).filter((pl.col("day").to_physical() < origin) | (pl.int_range(pl.len()) % 3 > 0))
    later = pl.col("_arrived") > origin
    other_promotions = promotions.with_columns(
        pl.when(later).then(100 - pl.col("discount")).otherwise("discount").alias("discount")
    )

    known = materialize(plan, rows, world.lake_of(sales, promotions))
    again = materialize(plan, rows, world.lake_of(other_sales, other_promotions))

    np.testing.assert_array_equal(known, again)


def test_a_promotion_announced_by_the_origin_is_seen_on_its_days_and_one_announced_later_is_not() -> None:
    plan = world.compiled().feature_plan("demand")
    sales, promotions = world.events(DAYS)
    day = 60
    told, late = (
        promotions.head(1).with_columns(
            pl.lit("s01").alias("store_id"),
            pl.lit(item).alias("item_id"),
            pl.lit(world.instant(day + 9)).cast(pl.Datetime("us", "UTC")).alias("starts"),
            pl.lit(world.instant(day + 11)).cast(pl.Datetime("us", "UTC")).alias("ends"),
            pl.lit(25, pl.Int64).alias("discount"),
            pl.lit(arrived, pl.Int64).alias("_arrived"),
        )
        for item, arrived in (("i01", world.instant(day)), ("i02", world.instant(day) + 1))
    )
    rows = asked(sales, [day], list(range(1, 15))).filter(pl.col("store_id") == "s01")

    x = materialize(plan, rows, world.lake_of(sales, pl.concat([told, late])))

    discount = dict(
        zip(rows.select("item_id", "horizon").rows(), x[:, plan.names.index("discount")], strict=True)
    )
    # The 10th and 11th day after the origin: the promotion holds from the 9th midnight until before the 11th.
    assert [h for h in range(1, 15) if discount["i01", h] == 0.25] == [10, 11]
    assert all(discount["i02", h] == 0 for h in range(1, 15))


@given(seed=SEEDS, day=st.integers(20, DAYS - 1), horizon=st.integers(1, 28))
@settings(max_examples=10)
def test_features_of_a_forecast_equal_the_oracle_s(seed: int, day: int, horizon: int) -> None:
    plan = world.compiled().feature_plan("demand")
    sales, promotions = world.events(DAYS, seed=seed)
    rows = asked(sales, [day], [horizon]).head(3)
    vocabularies = {"store_id": ("s01",), "item_id": ("i02", "i01")}
    plan = replace(plan, vocabularies=vocabularies)
    stored = {
        name: [
            {k: v if not hasattr(v, "timestamp") else round(v.timestamp() * 1e6) for k, v in row.items()}
            for row in frame.iter_rows(named=True)
        ]
        for name, frame in (("sales", sales), ("promotions", promotions))
    }

    x = materialize(plan, rows, world.lake_of(sales, promotions))

    for place, row in enumerate(rows.iter_rows(named=True)):
        expected = features_of(plan, row, stored, row["_t"], row["_known_at"])
        values = [math.nan if value is None else value for value in expected.values()]
        np.testing.assert_array_equal(x[place], np.array(values))


@pytest.fixture(scope="module")
def sold() -> dict[tuple[str, str, int], int]:
    """What was sold by store, item and instant."""
    sales, _ = world.events(DAYS)
    rows = sales.with_columns(pl.col("day").to_physical()).select(*world.KEYS, "day", "quantity").rows()
    return {(store, item, day): quantity for store, item, day, quantity in rows}


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    project = world.compiled()
    model = project.model("demand")
    assert model.forecast is not None
    (grid,) = project.grids.values()
    return build(
        "demand",
        project.feature_plan("demand"),
        model.label,
        grid,
        project.sources,
        TimeSplit(test=15 * DAY, validation=10 * DAY),
        world.lake_of(*world.events(DAYS)),
        project="p",
        forecast=replace(model.forecast, origins=3 * DAY),
        season=7 * DAY,
    )


def test_label_is_what_was_sold_in_the_step_and_zero_where_nothing_was(
    snapshot: Snapshot, sold: dict[tuple[str, str, int], int]
) -> None:
    rows = snapshot.frame.select("row.store_id", "row.item_id", "_t", "row.horizon", "row.target", "_label")

    zeros = 0
    for store, item, t, horizon, target, label in rows.rows():
        assert target == t + (horizon - 1) * DAY
        assert label == sold.get((store, item, target), 0)
        zeros += label == 0
    assert zeros > 100


def test_seasonal_naive_repeats_the_last_week_that_was_over_at_the_origin(
    snapshot: Snapshot, sold: dict[tuple[str, str, int], int]
) -> None:
    rows = snapshot.frame.select("row.store_id", "row.item_id", "_t", "row.target", "_baseline").rows()

    for store, item, t, target, naive in rows:
        before = target
        while before + DAY > t:
            before -= 7 * DAY
        assert naive == sold.get((store, item, before), 0)


def test_scale_is_the_mean_squared_step_over_the_training_part(
    snapshot: Snapshot, sold: dict[tuple[str, str, int], int]
) -> None:
    edges = snapshot.recipe.boundaries
    kept = snapshot.frame.select("row.store_id", "row.item_id", "_scale").unique()
    scales = {(store, item): scale for store, item, scale in kept.rows()}

    assert len(scales) >= 6
    for (store, item), scale in scales.items():
        first = min(day for s, i, day in sold if (s, i) == (store, item)) + DAY
        steps = range(max(first, edges.start), edges.train_end, DAY)
        values = [sold.get((store, item, day), 0) for day in steps]
        moves = [(b - a) ** 2 for a, b in pairwise(values)]
        expected = sum(moves) / len(moves) if moves else 0
        assert scale == (pytest.approx(expected) if expected else None)


def test_no_label_of_training_is_fixed_after_the_test_begins(snapshot: Snapshot) -> None:
    learnt = snapshot.frame.filter(pl.col("_part").is_in(["train", "validation"]))

    assert learnt["row.target"].max() + snapshot.recipe.label.horizon <= snapshot.recipe.boundaries.test_start
    assert learnt["row.target"].max() < snapshot.recipe.learnt_until
    assert set(snapshot.frame["_part"]) == {"train", "validation", "gap", "test"}


def test_every_origin_has_all_horizons_once(snapshot: Snapshot) -> None:
    counted = snapshot.frame.group_by("row.store_id", "row.item_id", "_t").agg(pl.col("row.horizon").sort())

    assert set(map(tuple, counted["row.horizon"].to_list())) == {tuple(range(1, 29))}
    counts = snapshot.recipe.counts
    fates = (
        "immature",
        "unlabelled",
        "censored",
        "earlier",
        "untested",
        "train",
        "validation",
        "gap",
        "test",
    )
    assert counts["spine"] == sum(counts[name] for name in fates)


def test_the_same_recipe_builds_the_same_dataset(snapshot: Snapshot) -> None:
    project = world.compiled()
    recipe = snapshot.recipe
    assert recipe.grid is not None

    again = build(
        "demand", project.feature_plan("demand"), recipe.label, recipe.grid, project.sources,
        TimeSplit(test=15 * DAY, validation=10 * DAY), world.lake_of(*world.events(DAYS)),
        project="p", as_of=recipe.as_of, forecast=recipe.forecast, season=7 * DAY,
    )  # fmt: skip

    assert again.id == snapshot.id


# --- metrics ------------------------------------------------------------------------------------------


@st.composite
def forecasts(draw: st.DrawFn) -> Scored:
    n = draw(st.integers(1, 30))
    column = lambda values: np.array(draw(st.lists(values, min_size=n, max_size=n)), np.float64)  # noqa: E731
    series = column(st.integers(0, 4)).astype(np.int64)
    scales = [draw(st.sampled_from((0.25, 1.0, 9.0, math.nan))) for _ in range(5)]
    rows = Scored(
        y=column(st.integers(0, 20)),
        score=column(st.floats(0, 20)),
        weight=column(st.sampled_from((1.0, 1.0, 2.0))),
        day=np.zeros(n, np.int64),
        series=np.unique(series, return_inverse=True)[1].astype(np.int64),
        scale=np.array([scales[number] for number in series]),
    )
    assume(rows.y.sum() > 0)
    return rows


@given(forecasts())
def test_rmsse_and_wape_equal_their_definitions(rows: Scored) -> None:
    assert rows.series is not None
    assert rows.scale is not None
    by_series: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for y, score, weight, number, scale in zip(
        rows.y, rows.score, rows.weight, rows.series, rows.scale, strict=True
    ):
        if not math.isnan(scale):
            by_series[int(number)].append((weight, (y - score) ** 2 / scale))
    errors, shares = [], []
    for found in by_series.values():
        total = sum(weight for weight, _ in found)
        errors.append(math.sqrt(sum(weight * error for weight, error in found) / total))
        shares.append(total / len(found))
    off = sum(w * abs(y - s) for y, s, w in zip(rows.y, rows.score, rows.weight, strict=True))
    size = sum(w * y for y, w in zip(rows.y, rows.weight, strict=True))

    values = evaluate(rows, "regression")

    assert values["wape"] == pytest.approx(off / size)
    if not errors:
        assert math.isnan(values["rmsse"])
    else:
        mean = sum(e * s for e, s in zip(errors, shares, strict=True)) / sum(shares)
        assert values["rmsse"] == pytest.approx(mean)


def test_a_forecast_as_far_off_as_the_series_moves_has_an_rmsse_of_one() -> None:
    rows = Scored(
        y=np.array([3.0, 5.0, 10.0]),
        score=np.array([1.0, 7.0, 7.0]),
        weight=np.ones(3),
        day=np.zeros(3, np.int64),
        series=np.array([0, 0, 1]),
        scale=np.array([4.0, 4.0, 9.0]),
    )

    assert evaluate(rows, "regression")["rmsse"] == 1.0


def test_intervals_of_forecasts_resample_series_with_all_their_rows() -> None:
    one = Scored(
        y=np.array([1.0, 9.0, 4.0]),
        score=np.zeros(3),
        weight=np.ones(3),
        day=np.zeros(3, np.int64),
        series=np.zeros(3, np.int64),
        scale=np.ones(3),
    )

    found = evaluate_with_intervals(one, "regression", seed=1)["mae"]

    assert found.low == found.high == found.value  # one series is always drawn whole
