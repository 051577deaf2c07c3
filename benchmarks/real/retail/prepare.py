"""Cuts the lines of Online Retail into sales and cancellations, and looks for the sale that each one cancels.

Invoices that begin with C cancel. Times are London's, written without a zone; a row has no id of its own.
"""

from collections import Counter, defaultdict
from pathlib import Path

import polars as pl

NAMES = {
    "InvoiceNo": "invoice",
    "StockCode": "stock_code",
    "Description": "description",
    "Quantity": "quantity",
    "InvoiceDate": "at",
    "UnitPrice": "price",
    "CustomerID": "customer_id",
    "Country": "country",
}


def prepare(lines: pl.DataFrame, out: Path) -> None:
    """Write ``sales.parquet`` and ``cancellations.parquet``; every line goes into one of them, as it is."""
    table = lines.rename(NAMES).with_columns(
        pl.col("at").dt.replace_time_zone("Europe/London").dt.convert_time_zone("UTC"),
        pl.col("stock_code", "description", "country").cast(pl.String),
    )
    out.mkdir(parents=True, exist_ok=True)
    cancels = pl.col("invoice").str.starts_with("C")
    table.filter(~cancels).write_parquet(out / "sales.parquet")
    table.filter(cancels).write_parquet(out / "cancellations.parquet")


def tie(sales: pl.DataFrame, cancellations: pl.DataFrame) -> Counter[str]:
    """Count cancellations by whether the sale they cancel can be told.

    A sale fits if customer, article and price are the same, it is not later, and what is left of it suffices;
    of several the latest is taken, and what was cancelled is taken off it.
    """
    key = ["customer_id", "stock_code", "price"]
    open_sales: dict[tuple[object, ...], list[list[int]]] = defaultdict(list)
    at = pl.col("at").to_physical()
    for *who, when, quantity in sales.sort("at").select(*key, at, "quantity").iter_rows():
        if who[0] is not None and quantity > 0:
            open_sales[tuple(who)].append([when, quantity, quantity])
    found: Counter[str] = Counter()
    for *who, when, quantity in cancellations.sort("at").select(*key, at, "quantity").iter_rows():
        if who[0] is None:
            found["no customer"] += 1
            continue
        before = [sale for sale in open_sales[tuple(who)] if sale[0] <= when]
        fitting = [sale for sale in before if sale[2] >= -quantity]
        if not fitting:
            found["more than any one sale" if before else "no sale before"] += 1
            continue
        whole = [sale for sale in fitting if sale[1] == sale[2] == -quantity]
        sale = (whole or fitting)[-1]
        kind = "part of a sale" if not whole else "a whole sale"
        found[kind if len(whole or fitting) == 1 else f"{kind}, one of several"] += 1
        sale[2] += quantity
    return found
