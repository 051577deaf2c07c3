"""Proof: a year of baskets, every line accounted for, with the list of products and what was promoted.

Run with `python -m benchmarks.proof_journey`; `--weeks 4` takes in 1.5 of the 20.9 million promotions.
"""

import argparse
import tempfile
import time
from pathlib import Path

import polars as pl

from benchmarks.figures import report
from benchmarks.real_data import account, copy_project, counted, load, need_data, take_in

FILES = ("transactions", "products", "promotions", "coupon_redemptions")
SOURCES = ("lines", "products", "promotions", "redemptions")


def prove(folder: Path, paths: list[Path], weeks: int) -> None:
    """Take everything in and count it again in the lake."""
    home = copy_project("journey", folder)
    tables = dict(zip(SOURCES, map(pl.scan_parquet, paths), strict=True))
    tables["promotions"] = tables["promotions"].filter(pl.col("week") <= weeks)
    load(home / "prepare.py").prepare(tables, home / "events")
    began = time.process_time()
    workspace, reports = take_in(home, SOURCES)
    seconds = time.process_time() - began
    account(f"complete journey, promotions of {weeks} weeks", reports)

    lake = workspace.wiring.lake
    stored = {name: lake.read(name) for name in SOURCES}
    assert {name: each.height for name, each in stored.items()} == {
        name: each.now.stored for name, each in reports.items()
    }
    rows = sum(each.rows for each in reports.values())
    unknown = stored["lines"].join(stored["products"], on="product_id", how="anti").height
    report(
        "proof",
        [
            *counted("journey", reports),
            ("journey_lines_of_unknown_product", unknown, "rows"),
            ("journey_greatest_quantity", stored["lines"].get_column("quantity").max()),
            ("journey_rows_per_processor_second", rows / seconds, "rows/s"),
        ],
        title="complete journey",
    )


def main() -> None:
    """Run the proof."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=53)
    options = parser.parse_args()
    paths = need_data(*(f"completejourney_{name}" for name in FILES))
    with tempfile.TemporaryDirectory() as folder:
        prove(Path(folder), paths, options.weeks)


if __name__ == "__main__":
    main()
