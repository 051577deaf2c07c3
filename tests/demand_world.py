"""The demand example, small: what it compiles to, and a lake of simulated sales and promotions."""

from functools import cache
from pathlib import Path
from types import ModuleType

import polars as pl
from benchmarks.real_data import load

import holdfast.app.examples
from holdfast.app.workspace import Workspace
from holdfast.kernel.time import DAY
from holdfast.project.compiled import CompiledProject
from holdfast.testing.lake import MemoryLake

EXAMPLE = Path(holdfast.app.examples.__file__).parent / "demand"
KEYS = ("store_id", "item_id")


@cache
def compiled() -> CompiledProject:
    return Workspace(EXAMPLE).project


@cache
def simulator() -> ModuleType:
    return load(EXAMPLE / "simulator.py")


def instant(day: int) -> int:
    """Return the begin of a day of the simulation, microseconds."""
    return int(simulator().EPOCH_DAY + day) * DAY


def events(days: int, *, stores: int = 2, items: int = 6, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return sales and promotions as the lake stores them."""
    made = simulator()
    sales, promotions = made.simulate(made.World(stores, items, seed), 0, days)
    stored = [
        sales.with_columns(
            pl.int_range(pl.len()).cast(pl.String).alias("sale_id"),
            (pl.col("day").to_physical() + DAY).alias("_arrived"),
            pl.lit("assumed").alias("_basis"),
        ),
        promotions.with_columns(
            (pl.col("discount") * 100).round().cast(pl.Int64),
            pl.col("announced_at").to_physical().alias("_arrived"),
            pl.lit("column").alias("_basis"),
        ),
    ]
    return stored[0].with_columns(pl.lit(1).alias("_batch")), stored[1].with_columns(
        pl.lit(2).alias("_batch")
    )


def lake_of(sales: pl.DataFrame, promotions: pl.DataFrame) -> MemoryLake:
    lake = MemoryLake()
    lake.append("sales", sales, app="load", batch=1)
    lake.append("promotions", promotions, app="load", batch=1)
    return lake
