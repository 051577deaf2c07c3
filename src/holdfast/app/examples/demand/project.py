"""Demand of a small chain: how much of each item each shop will sell on each of the next 28 days."""

from datetime import datetime

import holdfast as hf


class Sale(hf.Event):  # what a shop sold of an item on a day; a day without sales has no row
    sale_id: str = hf.event_id(content=True)
    day: datetime = hf.event_time(doc="begin of the day, UTC")
    store_id: str = hf.field(max_length=16)
    item_id: str = hf.field(max_length=16)
    quantity: int = hf.field(ge=0, le=100_000)


class Promotion(hf.Event):
    store_id: str = hf.field(max_length=16)
    item_id: str = hf.field(max_length=16)
    starts: datetime
    ends: datetime
    announced_at: datetime = hf.arrival_time(doc="from when on the shop knew of it")
    discount: float = hf.field(scale=2, ge=0, le=1)


project = hf.Project("demand", owner="supply", people={"planner": ["mia", "jon"]})
# The total of a day is known when the day is over.
sales = project.source("sales", Sale, known_after="1d")
promotions = project.table(
    "promotions", Promotion, key=["store_id", "item_id"], valid=("starts", "ends"), known_ahead=True
)
series = hf.Entity("series", key=["store_id", "item_id"])
store = hf.Entity("store", key="store_id")
item = hf.Entity("item", key="item_id")

WEEKDAYS = range(7)


@project.view(sales, entity=series)
def history(s):
    return {
        **{f"sold_{k}d_ago": s.quantity.sum(over="1d", offset=f"{k - 1}d", hop="1d") for k in (1, 2, 3)},
        "sold_7d": s.quantity.sum(over="7d", hop="1d"),
        "sold_28d": s.quantity.sum(over="28d", hop="1d"),
        "sold_91d": s.quantity.sum(over="91d", hop="1d"),
        "sold_year_ago": s.quantity.sum(over="28d", offset="337d", hop="1d"),
        "days_sold_28d": s.count(over="28d", hop="1d"),
        "most_28d": s.quantity.max(over="28d", hop="1d"),
        **{
            f"on_{d}_{over}": s.quantity.sum(over=over, hop="1d", where=s.day.weekday() == d)
            for d in WEEKDAYS
            for over in ("7d", "56d")
        },
    }


@project.view(sales, entity=store)
def store_history(s):
    return {f"store_sold_{over}": s.quantity.sum(over=over, hop="1d") for over in ("7d", "28d")}


@project.view(sales, entity=item)
def item_history(s):
    return {f"item_sold_{over}": s.quantity.sum(over=over, hop="1d") for over in ("7d", "28d")}


def on_weekday(x, over):
    """Return what was sold on the weekday that the row is about."""
    found = x[f"on_6_{over}"]
    for d in reversed(WEEKDAYS[:-1]):
        found = hf.where(x.target.weekday() == d, x[f"on_{d}_{over}"], found)
    return found


grid = hf.Spine(series, every="1d", include_zero=True)


@project.features(grid, history, store_history, item_history, promotions)
def demand_features(x):
    return {
        "horizon": x.horizon,
        "weekday": x.target.weekday(),
        "month": x.target.month(),
        "store": x.store_id,
        "item": x.item_id,
        # of the day that the row is about, as announced by then
        "discount": promotions.discount.fill(0.0),
        "same_weekday": on_weekday(x, "7d"),
        "same_weekday_mean": on_weekday(x, "56d") / 8,
        "trend_7d": x.sold_7d / 7 - x.sold_28d / 28,
        "trend_28d": x.sold_28d / 28 - x.sold_91d / 91,
        "year_ago": x.sold_year_ago / 28,
        **{name: x[name] for name in ("sold_1d_ago", "sold_2d_ago", "sold_3d_ago", "days_sold_28d")},
        "mean_7d": x.sold_7d / 7,
        "mean_28d": x.sold_28d / 28,
        "mean_91d": x.sold_91d / 91,
        "most_28d": x.most_28d.fill(0),
        **store_history.all,
        **item_history.all,
    }


@project.model(
    demand_features,
    label=hf.Label(sales.quantity.sum(over="1d", after=True)),
    # 5 is prime to 7, so every horizon is met on every weekday.
    forecast=hf.Forecast(horizons=range(1, 29), origins="5d"),
    baseline=hf.SeasonalNaive("7d"),
    split=hf.TimeSplit(test="60d", validation="30d"),
    params={
        "objective": "tweedie",  # the mean; "regression_l1" forecasts the median, which WAPE favours
        "n_estimators": 200,
        "num_leaves": 31,
        "learning_rate": 0.08,
        "min_child_samples": 40,
    },
)
def demand(data, params, run):
    from lightgbm import LGBMRegressor, early_stopping, log_evaluation

    model = LGBMRegressor(
        **params, random_state=run.seed, deterministic=True, force_row_wise=True, n_jobs=2, verbose=-1
    )
    return model.fit(
        data.train.x,
        data.train.y,
        sample_weight=data.train.weight,
        eval_X=data.validation.x,
        eval_y=data.validation.y,
        feature_name=data.names,
        categorical_feature=data.categorical,
        callbacks=[early_stopping(40, verbose=False), log_evaluation(0)],
    )


project.release(
    demand,
    gates=[
        hf.metric("wape") <= 0.6,
        hf.metric("wape") <= 0.95 * hf.baseline(),
        hf.metric("rmsse") <= hf.baseline(),
        hf.metric("wape") <= hf.champion() * 1.02,
    ],
    approval=hf.Approval(role="planner", not_author=True),
)
