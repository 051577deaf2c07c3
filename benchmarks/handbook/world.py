"""The published data as files that a project ingests, and a workspace in a folder of its own."""

import os
import shutil
from pathlib import Path

import polars as pl

import holdfast as hf

FOLDER = Path(__file__).resolve().parent
DATA = Path(os.environ.get("HOLDFAST_TEST_DATA", FOLDER.parents[2] / "shared" / "data"))
RAW = DATA / "fraud_handbook_raw.parquet"
TRANSFORMED = DATA / "fraud_handbook_transformed.parquet"
KEYS = ["tx_id", "at", "card_id", "terminal_id"]


def missing() -> str:
    """Return why there is nothing to compare with, or nothing."""
    absent = [path.name for path in (RAW, TRANSFORMED) if not path.is_file()]
    return f"{' and '.join(absent)} not in {DATA}" if absent else ""


def raw() -> pl.DataFrame:
    """Return the published rows under the project's names; their times carry no zone and count as UTC."""
    return pl.read_parquet(RAW).select(
        pl.col("transaction_id").cast(pl.Int64).alias("tx_id"),
        pl.col("tx_datetime").dt.replace_time_zone("UTC").alias("at"),
        pl.col("customer_id").cast(pl.Int64).alias("card_id"),
        pl.col("terminal_id").cast(pl.Int64),
        pl.col("tx_amount").round(2).alias("amount"),  # 1,021 hold binary noise, 210.39999999999998
        pl.col("tx_fraud").cast(pl.Int64).alias("fraud"),
    )


def workspace(folder: Path, rows: pl.DataFrame, *, delay_days: int = 7) -> hf.Workspace:
    """Return a workspace that has ingested these rows; a fraud is reported `delay_days` after it happened."""
    shutil.copy(FOLDER / "project.py", folder / "project.py")
    reported = (pl.col("at") + pl.duration(days=delay_days)).alias("reported_at")
    rows.select(*KEYS, "amount").write_parquet(folder / "transactions.parquet")
    rows.filter(pl.col("fraud") == 1).select(*KEYS, reported).write_parquet(folder / "reports.parquet")
    opened = hf.Workspace(folder)
    opened.apply(by="benchmarks")
    for source in ("transactions", "reports"):
        done = opened.ingest(source, folder / f"{source}.parquet")
        if not done.adds_up or done.now.stored != done.rows:
            raise SystemExit(f"{source}: {done.now.stored} of {done.rows} rows were stored")
    return opened
