"""A small chain of shops: what each of them sells of each item, day by day, and what it plans to promote.

It stands where tills and a promotion calendar would, so the example can be run, judged and repeated.

    python simulator.py --days 730 --out events              two years
    python simulator.py --from 730 --days 28 --out later     the four weeks after them

**The world.** Every item has a level in every shop, a shape of the week and of the year, and a slow trend.
Every fourth item sells on few days only, and on those in small numbers. Two items are new: they come into the
shops in the course of the time. Promotions last a week from a Thursday on; most are planned six weeks ahead,
some are decided a week before. A day without sales has no row.

**Determinism.** All randomness is keyed by (seed, purpose, day or week) and drawn as plain uniforms: days
0-60 followed by days 60-67 are days 0-67 cut in two.
"""

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)  # day 0, a Monday
EPOCH_DAY = (FIRST_DAY - datetime(1970, 1, 1, tzinfo=UTC)).days
DAY_US = 86_400_000_000
PLANNED_DAYS, HURRIED_DAYS = 42, 7
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Sizes and seed of a world; shops and items are numbered from 1."""

    stores: int = 5
    items: int = 12
    seed: int = 0

    def uniforms(self, purpose: int, number: int, shape: tuple[int, ...]) -> Floats:
        """Return uniforms that depend on nothing but the seed, the purpose and a number."""
        return np.random.Generator(np.random.Philox(key=[self.seed, purpose * 1_000_003 + number])).random(
            shape
        )

    def levels(self) -> Floats:
        """Return (stores, items) mean sales of an ordinary day."""
        shop = 0.6 + 1.2 * self.uniforms(1, 0, (self.stores, 1))
        item = 2.0 + 28.0 * self.uniforms(1, 1, (1, self.items)) ** 2
        own = 0.7 + 0.6 * self.uniforms(1, 2, (self.stores, self.items))
        return shop * item * own

    def sold(self, day: int, discount: Floats) -> NDArray[np.int64]:
        """Return (stores, items) quantities of a day, given the discounts of that day."""
        number = np.arange(self.items)
        week = 1.0 + 0.5 * np.sin(2 * np.pi * (day % 7 + self.uniforms(2, 0, (self.items,)) * 2.0) / 7)
        year = 1.0 + 0.25 * np.sin(2 * np.pi * (day / 365.25 + self.uniforms(2, 1, (self.items,))))
        trend = np.exp((self.uniforms(2, 2, (self.items,)) - 0.4) * 0.5 * day / 365)
        promoted = np.exp(2.5 * discount)
        mean = self.levels() * week * year * trend * promoted
        draws = self.uniforms(3, day, (14, self.stores, self.items))
        noise = np.exp(0.25 * (draws[:12].sum(axis=0) - 6.0) - 0.03)
        few = number % 4 == 3
        mean = np.where(few, 2.0 * promoted, mean) * noise
        there = ~few | (draws[12] < 0.25)
        there &= day >= self.first_days()
        return np.where(there, np.floor(mean + draws[13]), 0).astype(np.int64)

    def first_days(self) -> NDArray[np.int64]:
        """Return (items,) days from which on an item is sold."""
        first = np.zeros(self.items, np.int64)
        first[-2:] = (90, 200)[-min(2, self.items) :]
        return first

    def promotions(self, week: int) -> list[tuple[int, int, int, float, int]]:
        """Return promotions that begin in a week: store, item, first day, discount, day of announcement."""
        draws = self.uniforms(4, week, (4, self.stores, self.items))
        begins = 7 * week + 3  # Thursday
        found = []
        for item in range(self.items):
            if draws[0, 0, item] >= 0.12:
                continue  # the chain promotes an item, and most shops take part
            discount = round(0.1 + 0.3 * float(draws[1, 0, item]), 2)
            ahead = PLANNED_DAYS if draws[2, 0, item] < 0.8 else HURRIED_DAYS
            for store in range(self.stores):
                if draws[3, store, item] < 0.8:
                    found.append((store, item, begins, discount, begins - ahead))
        return found


def simulate(world: World, since: int, until: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what was sold in days ``[since, until)``, and the promotions announced in them."""
    first, last = since // 7 - 2, (until + PLANNED_DAYS) // 7 + 1
    planned = [each for week in range(max(0, first), last) for each in world.promotions(week)]
    discounts = np.zeros((until - since, world.stores, world.items))
    for store, item, begins, discount, _ in planned:
        low, high = max(begins - since, 0), min(begins + 7 - since, until - since)
        if low < high:
            discounts[low:high, store, item] = discount
    quantity = np.stack([world.sold(day, discounts[day - since]) for day in range(since, until)])
    days, stores, items = np.nonzero(quantity)
    sales = pl.DataFrame(
        {
            "day": _instants(days + since),
            "store_id": _names("s", stores),
            "item_id": _names("i", items),
            "quantity": quantity[days, stores, items],
        }
    )
    # What was announced before the first day is told on it.
    told = [each for each in planned if (each[4] >= since or since == 0) and each[4] < until]
    columns = np.array(told, dtype=np.float64).reshape(-1, 5).T
    begins, announced = columns[2].astype(np.int64), columns[4].astype(np.int64)
    promotions = pl.DataFrame(
        {
            "store_id": _names("s", columns[0].astype(np.int64)),
            "item_id": _names("i", columns[1].astype(np.int64)),
            "starts": _instants(begins),
            "ends": _instants(begins + 7),
            "announced_at": _instants(announced),
            "discount": columns[3],
        }
    )
    return sales, promotions


def _names(letter: str, numbers: NDArray[np.int64]) -> pl.Series:
    return pl.Series([f"{letter}{number + 1:02d}" for number in numbers.tolist()], dtype=pl.String)


def _instants(days: NDArray[np.int64]) -> pl.Series:
    return pl.Series((days + EPOCH_DAY) * DAY_US, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))


def main() -> None:
    """Write the events of a stretch of days."""
    parser = argparse.ArgumentParser(description="Simulate the sales and promotions of a small chain.")
    parser.add_argument("--from", dest="since", type=int, default=0, help="first day, counted from 0")
    parser.add_argument("--days", type=int, default=730, help="how many days")
    parser.add_argument("--stores", type=int, default=5)
    parser.add_argument("--items", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("events"))
    options = parser.parse_args()
    world = World(options.stores, options.items, options.seed)
    sales, promotions = simulate(world, options.since, options.since + options.days)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, frame in (("sales", sales), ("promotions", promotions)):
        frame.write_parquet(options.out / f"{name}.parquet")
        print(f"{options.out / name}.parquet: {frame.height:,} rows")


if __name__ == "__main__":
    main()
