"""Retail demand: sales history, promotions and a calendar in, forecasts per store and item out, in batch."""

from datetime import datetime
from decimal import Decimal

import holdfast as hf


class Sale(hf.Event):
    sale_id: str = hf.event_id()
    at: datetime = hf.event_time()
    store_id: str
    item_id: str
    quantity: int = hf.field(ge=0, le=100_000)
    price: Decimal = hf.field(scale=2, ge=0, le=10_000)


class Promotion(hf.Event):
    store_id: str
    item_id: str
    starts: datetime
    ends: datetime
    announced_at: datetime = hf.arrival_time()
    discount: float = hf.field(scale=3, ge=0, le=1)


class Holiday(hf.Event):
    begins: datetime
    ends: datetime
    published_at: datetime = hf.arrival_time()
    name: str


project = hf.Project("demand", owner="supply", people={"planner": ["mia"]})
sales = project.source("sales", Sale, lateness="1d", known_after="6h")
promotions = project.table(
    "promotions",
    Promotion,
    key=["store_id", "item_id"],
    valid=("starts", "ends"),
    known_ahead=True,
)
calendar = project.table("calendar", Holiday, valid=("begins", "ends"), known_ahead=True)
store = hf.Entity("store", key="store_id")
item = hf.Entity("item", key="item_id")
store_item = hf.Entity("store_item", key=["store_id", "item_id"])


@project.view(sales, entity=store_item)
def sales_history(s):
    return {
        "sold_7d": s.quantity.sum(over="7d", hop="1d"),
        "sold_7d_before": s.quantity.sum(over="7d", offset="7d", hop="1d"),
        "sold_28d": s.quantity.sum(over="28d"),
        "price_28d": s.price.mean(over="28d"),
    }


grid = hf.Spine(store, item, every="1d", include_zero=True)


@project.features(grid, sales_history, promotions, calendar)
def demand_features(x):
    return {
        "weekday": x.at.weekday(tz="Europe/Lisbon"),
        "month": x.at.month(),
        "discount": promotions.discount.fill(0.0),
        "holiday": ~calendar.name.is_missing(),
        "trend": x.sold_7d / x.sold_7d_before,
        **sales_history.all,
    }


@project.model(
    demand_features,
    label=hf.Label(sales.quantity.sum(over="7d", after=True)),
    params={"num_leaves": 63},
    search={"num_leaves": hf.Choice([31, 63, 127])},
    forecast=hf.Forecast(horizons=range(1, 29), quantiles=[0.1, 0.5, 0.9]),
    baseline=hf.SeasonalNaive("7d"),
)
def demand(data, params, run):
    from lightgbm import LGBMRegressor

    return LGBMRegressor(**params, random_state=run.seed).fit(data.train.x, data.train.y)


project.release(
    demand,
    gates=[hf.metric("wape") <= 0.6, hf.metric("wape") <= hf.champion() * 1.02],
    approval=hf.Approval(role="planner"),
)
