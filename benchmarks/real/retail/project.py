"""Online Retail (Chen, Sain and Guo 2012, UCI): sales and cancellations of a shop, a year of lines."""

from datetime import datetime
from decimal import Decimal

import holdfast as hf


class Sale(hf.Event):
    line_id: str = hf.event_id(content=True)
    at: datetime = hf.event_time()
    invoice: str = hf.field(max_length=7)
    stock_code: str = hf.field(max_length=12)
    description: str | None = hf.field(max_length=40)
    quantity: int = hf.field(ge=1, le=100_000)
    price: Decimal = hf.field(scale=3, ge=0, le=40_000, doc="pounds for one")
    customer_id: int | None = hf.field(ge=1, le=99_999, doc="missing for guests")
    country: str = hf.field(max_length=20)


class Cancellation(hf.Event):
    line_id: str = hf.event_id(content=True)
    at: datetime = hf.event_time()
    invoice: str = hf.field(max_length=7)
    stock_code: str = hf.field(max_length=12)
    description: str | None = hf.field(max_length=40)
    quantity: int = hf.field(ge=-100_000, le=-1)
    price: Decimal = hf.field(scale=3, ge=0, le=40_000)
    customer_id: int | None = hf.field(ge=1, le=99_999)
    country: str = hf.field(max_length=20)


project = hf.Project("retail", owner="shop")
sales = project.source("sales", Sale, known_after="0s")
cancellations = project.source("cancellations", Cancellation, known_after="0s")
customer = hf.Entity("customer", key="customer_id")


@project.view(sales, entity=customer)
def customer_sales(s):
    return {"lines_90d": s.count(over="90d"), "pieces_90d": s.quantity.sum(over="90d")}


@project.view(cancellations, entity=customer)
def customer_cancellations(c):
    return {"cancelled_lines_90d": c.count(over="90d"), "cancelled_pieces_90d": c.quantity.sum(over="90d")}
