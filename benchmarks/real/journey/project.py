"""Complete Journey (84.51): what 2,469 households bought in a year, and what was promoted meanwhile."""

from datetime import datetime
from decimal import Decimal

import holdfast as hf


class Line(hf.Event):
    line_id: str = hf.event_id(content=True)
    at: datetime = hf.event_time()
    household_id: int = hf.field(ge=1, le=2_500)
    store_id: int = hf.field(ge=1, le=99_999)
    basket_id: int = hf.field(ge=1)
    product_id: int = hf.field(ge=1)
    quantity: int = hf.field(ge=1, le=100_000, doc="pieces; of fuel a finer unit, up to 89,638")
    sales_value: Decimal = hf.field(scale=2, ge=0, le=10_000)
    retail_disc: Decimal = hf.field(scale=2, ge=0, le=10_000)
    coupon_disc: Decimal = hf.field(scale=2, ge=0, le=10_000)
    coupon_match_disc: Decimal = hf.field(scale=2, ge=0, le=10_000)
    week: int = hf.field(ge=1, le=53)


class Product(hf.Event):
    entry_id: str = hf.event_id(content=True)
    listed_at: datetime = hf.event_time()
    product_id: int = hf.field(ge=1)
    manufacturer_id: int = hf.field(ge=1)
    department: str = hf.field(max_length=40)
    brand: str = hf.field(one_of=["National", "Private"])
    product_category: str | None = hf.field(max_length=60)
    product_type: str | None = hf.field(max_length=60)
    package_size: str | None = hf.field(max_length=30)


class Promotion(hf.Event):
    promotion_id: str = hf.event_id(content=True)
    starts_at: datetime = hf.event_time()
    product_id: int = hf.field(ge=1)
    store_id: int = hf.field(ge=1, le=99_999)
    display_location: str = hf.field(max_length=1)
    mailer_location: str = hf.field(max_length=1)
    week: int = hf.field(ge=1, le=53)


class Redemption(hf.Event):
    redemption_id: str = hf.event_id(content=True)
    at: datetime = hf.event_time()
    household_id: int = hf.field(ge=1, le=2_500)
    coupon_upc: int = hf.field(ge=1)
    campaign_id: int = hf.field(ge=1, le=99)


project = hf.Project("journey", owner="grocer")
lines = project.source("lines", Line, known_after="0s")
products = project.source("products", Product, known_after="0s")
promotions = project.source("promotions", Promotion, known_after="0s")
redemptions = project.source("redemptions", Redemption, known_after="0s")
household = hf.Entity("household", key="household_id")


@project.view(lines, entity=household)
def household_baskets(b):
    return {"lines_28d": b.count(over="28d"), "spend_28d": b.sales_value.sum(over="28d")}


@project.view(redemptions, entity=household)
def household_coupons(c):
    return {"coupons_90d": c.count(over="90d")}
