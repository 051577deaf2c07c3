"""Proof: a year of real demand per store and category, forecast 28 days ahead, beside the seasonal naive.

Run with `python -m benchmarks.proof_demand`; `--days-sold 35` takes in every series sold once a week.

The project is that of `holdfast init demand`, with origins 10 days apart. What stands for what: a category is
an item, and the share of a category's products that a store has in its mailer or on display in a week is the
discount. The data do not say when promotions were planned; 35 days ahead is assumed. Series are chosen by
what was sold before the validation part begins; one category is left out, whose quantity counts no pieces.
"""

import argparse
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.figures import report
from benchmarks.real_data import account, need_data, take_in
from holdfast.app.examples import create
from holdfast.training.model import Scalar
from holdfast.training.run import Run

CHOSEN_BEFORE = datetime(2017, 8, 1, tzinfo=UTC)
NO_PIECES = "COUPON/MISC ITEMS"
PLANNED = timedelta(days=35)
INSTANT = pl.Datetime("us", "UTC")


def chosen_sales(demand: pl.DataFrame, days_sold: int) -> pl.DataFrame:
    """Return the sales of the series that sold on enough days before the choice."""
    sales = demand.drop_nulls("product_category").select(
        pl.col("date").cast(INSTANT).alias("day"),
        pl.col("store_id").cast(pl.String),
        pl.col("product_category").cast(pl.String).alias("item_id"),
        pl.col("quantity").cast(pl.Int64),
    )
    keys = ["store_id", "item_id"]
    before = sales.filter(pl.col("day") < CHOSEN_BEFORE, pl.col("item_id") != NO_PIECES)
    chosen = before.group_by(keys).len("days").filter(pl.col("days") >= days_sold)
    return sales.join(chosen, on=keys, how="semi").sort("day", *keys)


def promotions_of(promotions: pl.LazyFrame, products: pl.DataFrame, sales: pl.DataFrame) -> pl.DataFrame:
    """Return which share of a category's products a store promoted in a week."""
    named = products.select("product_id", pl.col("product_category").cast(pl.String).alias("item_id"))
    named = named.drop_nulls().filter(pl.col("item_id").is_in(sales["item_id"].unique().implode()))
    known = promotions.select("product_id", pl.col("store_id").cast(pl.String), "week")
    known = known.filter(pl.col("store_id").is_in(sales["store_id"].unique().implode()))
    weekly = (
        known.join(named.lazy(), on="product_id")
        .group_by("store_id", "item_id", "week")
        .agg(pl.col("product_id").n_unique().alias("promoted"))
        .collect(engine="streaming")
    )
    all_of = weekly.group_by("item_id").agg(pl.col("promoted").max().alias("most"))
    monday = datetime(2017, 1, 2, tzinfo=UTC)  # week 1 is 1 January alone, a Sunday
    starts = pl.lit(monday).cast(INSTANT) + pl.duration(days=7 * (pl.col("week").cast(pl.Int64) - 2))
    return (
        weekly.join(all_of, on="item_id")
        .join(sales.select("store_id", "item_id").unique(), on=["store_id", "item_id"], how="semi")
        .select(
            "store_id",
            "item_id",
            starts.alias("starts"),
            (starts + pl.duration(days=7)).alias("ends"),
            (starts - pl.lit(PLANNED)).alias("announced_at"),
            (pl.col("promoted") / pl.col("most")).round(2).alias("discount"),
        )
        .sort("starts", "store_id", "item_id")
    )


def show(run: Run) -> None:
    """Print the errors at each horizon."""
    table = Table(title="errors by horizon", title_justify="left", box=None, pad_edge=False)
    for head in ("day ahead", "rows", "wape", "naive", "rmsse", "naive"):
        table.add_column(head, justify="right")
    for at in run.by_horizon:
        values = (at.metrics["wape"], at.baseline["wape"], at.metrics["rmsse"], at.baseline["rmsse"])
        table.add_row(
            str(at.horizon), f"{at.rows:,}", *(f"{value:.3f}" for value in values if value is not None)
        )
    Console(width=110).print(table, "")


def prove(folder: Path, paths: list[Path], days_sold: int, trees: int) -> None:
    """Take the sales in, train, and hold the errors against the seasonal naive's."""
    home = folder / "demand"
    create("demand", home)
    definition = home / "project.py"
    text = definition.read_text()
    assert 'origins="5d"' in text
    definition.write_text(
        text.replace('origins="5d"', 'origins="10d"').replace("max_length=16", "max_length=60")
    )

    demand, products = pl.read_parquet(paths[0]), pl.read_parquet(paths[2])
    sales = chosen_sales(demand, days_sold)
    (home / "events").mkdir()
    sales.write_parquet(home / "events/sales.parquet")
    promoted = promotions_of(pl.scan_parquet(paths[1]), products, sales)
    promoted.write_parquet(home / "events/promotions.parquet")
    series = sales.select("store_id", "item_id").n_unique()
    print(
        f"{series:,} of {demand.select('store_id', 'product_category').n_unique():,} series, with "
        f"{sales['quantity'].sum() / demand['quantity'].sum():.1%} of the pieces\n"
    )

    began = time.process_time()
    workspace, reports = take_in(home, ("sales", "promotions"))
    account("complete journey, demand", reports)
    run = workspace.train("demand", seed=7, by="mia", params={"n_estimators": trees}).run
    seconds = time.process_time() - began
    show(run)
    values = {name: found.value or 0.0 for name, found in run.metrics.items()}
    for_median: dict[str, Scalar] = {"n_estimators": trees, "objective": "regression_l1"}
    median = workspace.train("demand", seed=7, by="mia", params=for_median).run.metrics
    test = workspace.wiring.snapshots.load(run.dataset).frame.filter(pl.col("_part") == "test")
    off = (test["_label"] - test["mean_28d"]).abs().sum()
    report(
        "proof",
        [
            ("demand_rows", reports["sales"].rows, "rows"),
            ("demand_series", series),
            ("demand_dataset_rows", sum(run.rows.values()), "rows"),
            ("demand_wape", values["wape"]),
            ("demand_wape_naive", run.baseline["wape"] or 0.0),
            ("demand_rmsse", values["rmsse"]),
            ("demand_rmsse_naive", run.baseline["rmsse"] or 0.0),
            # The mean of 28 days is what a person would try first; the median is what this metric favours.
            ("demand_wape_mean_28d", off / test["_label"].sum()),
            ("demand_wape_median", median["wape"].value or 0.0),
            ("demand_rmsse_median", median["rmsse"].value or 0.0),
            *(
                (f"demand_wape_at_{at.horizon}", at.metrics["wape"] or 0.0)
                for at in run.by_horizon
                if at.horizon in (1, 7, 14, 28)
            ),
            ("demand_processor_s", seconds, "s"),
            ("demand_memory_gb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "GB"),
        ],
        title="demand of stores and categories, 28 days ahead",
    )
    assert values["wape"] < (run.baseline["wape"] or 0.0)
    assert values["rmsse"] < (run.baseline["rmsse"] or 0.0)


def main() -> None:
    """Run the proof."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days-sold", type=int, default=106, help="days with sales among 212")
    parser.add_argument("--trees", type=int, default=200)
    options = parser.parse_args()
    names = ("demand_store_category_day", "promotions", "products")
    paths = need_data(*(f"completejourney_{name}" for name in names))
    with tempfile.TemporaryDirectory() as folder:
        prove(Path(folder), paths, options.days_sold, options.trees)


if __name__ == "__main__":
    main()
