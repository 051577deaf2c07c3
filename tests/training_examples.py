"""Small datasets, models and runs for the tests of training: nouns built by hand, no store and no clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from holdfast.datasets.label import Label
from holdfast.datasets.profile import profile
from holdfast.datasets.snapshot import Recipe, Snapshot, seal
from holdfast.datasets.split import Boundaries
from holdfast.events.entity import Entity
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR
from holdfast.training.model import Cost, Model
from holdfast.training.ports import FitReport

NAMES = ("amount", "ratio", "count_1h", "country")
START = 20_000 * DAY
BOUNDARIES = Boundaries(START, START + 14 * DAY, START + 17 * DAY, START + 24 * DAY, START + 30 * DAY)
LABEL = Label("chargebacks", horizon=7 * DAY, key="tx_id", absent=0.0, censored_by="block")


def plan() -> FeaturePlan:
    """Four features over one view; `country` is categorical."""
    spine = Schema(
        "Transaction",
        (
            Column("tx_id", "string", role="event_id"),
            Column("at", "time", role="event_time"),
            Column("card_id", "string"),
            Column("amount", "decimal", scale=2, ge=0.0, le=100_000.0),
            Column("country", "string", nullable=True),
        ),
    )
    view = View(
        "card_activity",
        "transactions",
        Entity("card", ("card_id",)),
        (
            Measure("count_1h", "count", Window(HOUR, 0, 300_000_000)),
            Measure(
                "mean_30d", "mean", Window(30 * DAY, 0, DAY), "amount", Expr("gt", (col("amount"), const(1)))
            ),
        ),
    )
    features = (
        Feature("amount", col("amount")),
        Feature("ratio", Expr("div", (col("amount"), col("mean_30d")))),
        Feature("count_1h", col("count_1h")),
        Feature("country", Expr("code", (col("country"),)), "categorical"),
    )
    return FeaturePlan(
        FeatureSet("create_features", "transactions", features, ("card_activity",)),
        spine,
        (view,),
        {"transactions": spine},
        {"country": ("PT", "DE", "FR")},
    )


def snapshot(n: int = 1_500, seed: int = 1, *, binary: bool = True) -> Snapshot:
    """Rows of thirty days in order; the label depends on amount and ratio, with noise."""
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(START, START + 30 * DAY, n))
    amount, ratio = random.gamma(2, 50, n).round(2), random.lognormal(0, 1, n)
    ratio[random.random(n) < 0.1] = np.nan
    margin = -3 + amount / 100 + np.nan_to_num(ratio) / 2
    label = (random.random(n) < 1 / (1 + np.exp(-margin))).astype(float) if binary else amount / 10 + margin
    frame = pl.DataFrame(
        {
            "_key": [f"t-{i}" for i in range(n)],
            "_t": t,
            "_known_at": t,
            "row.card_id": [f"c-{i % 7}" for i in range(n)],
            "row.amount": amount,
            "amount": amount,
            "ratio": ratio,
            "count_1h": random.integers(0, 9, n).astype(float),
            "country": random.integers(0, 4, n).astype(float),
            "_label": label,
            "_weight": np.ones(n),
            "_part": [BOUNDARIES.part_of(int(at)) for at in t],
        }
    )
    counts = {part: int((frame["_part"] == part).sum()) for part in ("train", "validation", "gap", "test")}
    recipe = Recipe(
        project="9c0e" * 10,
        model="fraud",
        plan=plan(),
        label=LABEL,
        boundaries=BOUNDARIES,
        tables={"transactions": 3, "chargebacks": 2},
        as_of=START + 40 * DAY,
        arrival_basis={"transactions": {"assumed": n}, "chargebacks": {"column": 20}},
        counts={"spine": n, "immature": 0, **counts},
    )
    train = frame.filter(frame["_part"] == "train")
    summary = profile(NAMES, ("country",), train.select(NAMES).to_numpy(), train["_label"].to_numpy())
    return seal(recipe, summary, frame)


def model(**changes: Any) -> Model:
    """The model `fraud`, with costs by amount."""
    given: dict[str, Any] = {
        "name": "fraud",
        "features": "create_features",
        "label": LABEL,
        "function": "project:fraud",
        "source": "5e" * 20,
        "params": {"scale": 0.01},
        "cost": Cost(5.0, "amount"),
        "precision_at": 20,
    }
    return Model(**(given | changes))


class Line:
    """A fitted stand-in: a logistic curve over the first column, or a line."""

    def __init__(self, scale: float, base: float, *, curve: bool = True) -> None:
        self.scale, self.base, self.curve = scale, base, curve


class LineFormat:
    """Carries `Line` as three words of text."""

    name = "line"
    filename = "line.txt"

    def export(self, fitted: Any) -> bytes | None:
        if not isinstance(fitted, Line):
            return None
        return f"{fitted.scale!r} {fitted.base!r} {int(fitted.curve)}".encode()

    def report(self, fitted: Any) -> FitReport:
        return FitReport((2.0, 1.0, 0.0, 0.5), {"validation loss": (0.5, 0.4)})

    def load(self, content: bytes) -> Any:
        scale, base, curve = content.decode().split()
        return LinePredictor(float(scale), float(base), curve == "1")


class LinePredictor:
    def __init__(self, scale: float, base: float, curve: bool) -> None:
        self.scale, self.base, self.curve = scale, base, curve

    def predict(self, x: np.ndarray) -> np.ndarray:
        margin = self.base + self.scale * x[:, 0]
        return 1 / (1 + np.exp(-margin)) if self.curve else margin

    def contributions(self, x: np.ndarray) -> np.ndarray:
        found = np.zeros((len(x), x.shape[1] + 1))
        found[:, 0], found[:, -1] = self.scale * x[:, 0], self.base
        return found


class Shelf:
    """Bundles in memory."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, bytes]] = {}

    def save(self, files: Any) -> str:
        from holdfast.training.bundle import bundle_name, check_files

        check_files(files)
        self.stored[bundle_name(files)] = dict(files)
        return bundle_name(files)

    def load(self, name: str) -> dict[str, bytes]:
        return self.stored[name]
