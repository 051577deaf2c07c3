"""A small model that answers live, for the tests of serving: a plane over memory, or a folder to serve."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from holdfast.app.wire import Wiring
from holdfast.datasets.profile import profile
from holdfast.decisions.release import Fallback as DeclaredFallback
from holdfast.decisions.release import Release
from holdfast.events.entity import Entity
from holdfast.events.row import RowJudge
from holdfast.events.rule import compile_rules
from holdfast.events.source import Source
from holdfast.features.online import compile_state, dump_plan, fold
from holdfast.features.ports import OnlineStore
from holdfast.features.tile import StatePlan
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.ids import to_data
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR, MINUTE, parse_instant
from holdfast.project.compiled import CompiledProject
from holdfast.registry.ports import Definition
from holdfast.serving.intake import Recent
from holdfast.serving.live import LiveModel, RowFeatures, Rules
from holdfast.serving.route import Fallback, Gate, Route
from holdfast.serving.serve import DataPlane
from holdfast.testing.journal import MemoryJournal
from holdfast.testing.online import MemoryOnline
from holdfast.training.policy import Bands

NOW = parse_instant("2026-11-02T10:15:00Z")
PAYMENT = Schema(
    "Payment",
    (
        Column("id", "string", role="event_id", max_length=20),
        Column("at", "time", role="event_time"),
        Column("card", "string", max_length=20),
        Column("amount", "decimal", scale=2, ge=0, le=100_000),
        Column("country", "string", nullable=True, max_length=2),
    ),
)
DISPUTE = Schema(
    "Dispute", (Column("id", "string", role="event_id"), Column("at", "time", role="event_time"))
)
SPENDING = View(
    "spending",
    "payments",
    Entity("card", ("card",)),
    (
        Measure("count_1h", "count", Window(HOUR, 0, 5 * MINUTE)),
        Measure("mean_30d", "mean", Window(30 * DAY, 0, DAY), "amount"),
    ),
)
PLAN = FeaturePlan(
    FeatureSet(
        "features",
        "payments",
        (
            Feature("amount", col("amount")),
            Feature("ratio", Expr("div", (col("amount"), col("mean_30d")))),
            Feature("count_1h", col("count_1h")),
            Feature("country", Expr("code", (col("country"),)), "categorical"),
        ),
        ("spending",),
    ),
    PAYMENT,
    (SPENDING,),
    {"payments": PAYMENT},
    {"country": ("PT", "DE")},
)
STATE: StatePlan = compile_state([SPENDING], {"payments": PAYMENT})
BANDS = Bands((("block", 0.9), ("review", 0.5), ("allow", 0.0)))
RULES = Expr("where", (Expr("gt", (col("amount"), const(500))), const(0.95), const(0.05)))
PAST = pl.DataFrame(
    {
        "id": ["p-1", "p-2"],
        "at": [NOW - 10 * MINUTE, NOW - 2 * MINUTE],
        "card": ["c-1", "c-1"],
        "amount": [1000, 3000],
        "country": ["PT", None],
    }
).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
ROW: dict[str, Any] = {
    "id": "p-9", "at": "2026-11-02T10:15:00Z", "card": "c-1", "amount": 40.0, "country": "PT"
}  # fmt: skip


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def now_us(self) -> int:
        return self.now


def body(**changes: Any) -> bytes:
    """Return a request, with some fields changed; None leaves a field out."""
    row = {name: value for name, value in (ROW | changes).items() if value is not None}
    return json.dumps(row).encode()


def filled(store: OnlineStore, batch: int = 7, past: pl.DataFrame = PAST) -> OnlineStore:
    """Give a store one live generation that holds the past."""
    generation = store.create(STATE.fingerprint, dump_plan(STATE))
    writer = store.writer(generation)
    writer.fill(fold(STATE, "payments", past))
    writer.commit(batch, {})
    writer.close()
    store.make_current(generation)
    return store


class World:
    """A data plane over memory whose model scores amount / 100."""

    def __init__(
        self,
        score: Callable[[np.ndarray], float] = lambda x: float(x[0]) / 100,
        *,
        ladder: tuple[str, ...] = (),
        holdout: float = 0.0,
        online: bool = True,
        champion: bool = True,
        recent: Recent | None = None,
        past: pl.DataFrame = PAST,
    ) -> None:
        self.journal = MemoryJournal()
        self.clock = Clock()
        self.now_ns = 0
        store = filled(MemoryOnline(), past=past)
        generation = store.current()
        assert generation is not None
        self.reader = store.reader(generation) if online else None
        gate = Gate("payments", RowJudge(compile_rules(PAYMENT)), "id", "at")
        disputes = Gate("disputes", RowJudge(compile_rules(DISPUTE)), "id", "at")
        features = RowFeatures(PLAN, STATE if online else None)
        live = LiveModel("fraud", 3, "b" * 40, "exact", features, BANDS, score)
        steps = {
            "previous": Fallback(
                "previous", live=LiveModel("fraud", 2, "a" * 40, "exact", features, BANDS, lambda x: 0.6)
            ),
            "rules": Fallback("rules", rules=Rules(RULES, features.names), features=features),
            "constant": Fallback("constant", constant=0.5),
        }
        self.route = Route(
            "fraud", gate, live if champion else None, tuple(steps[name] for name in ladder), holdout, BANDS
        )
        self.plane = DataPlane(self.journal.writer("serve"), self.clock, lambda: self.now_ns, recent)
        self.plane.swap(
            {"fraud": self.route},
            {"payments": gate, "disputes": disputes},
            self.reader,
            feedback=frozenset({"disputes"}),
        )

    def frames(self) -> list[Any]:
        """Return everything journalled, in order."""
        return [frame for name in self.journal.journals() for frame in self.journal.read(name, 0, 2**20)]


def make_project(folder: Path) -> Path:
    """Make a folder that can be served: a definition, a deployed LightGBM model, and its online state."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "project.py").write_text("# nothing here is run by a process that serves\n")
    wiring = Wiring(folder)
    project = CompiledProject(
        "shop",
        sources={"payments": Source("payments", PAYMENT), "disputes": Source("disputes", DISPUTE)},
        views={"spending": SPENDING},
        feature_sets={"features": PLAN.features},
        models={"fraud": _model()},
        releases={
            "fraud": Release(
                "fraud",
                decision=BANDS,
                fallback=(DeclaredFallback("previous"), DeclaredFallback("constant", value=0.5)),
            )
        },
    )
    registry = wiring.registry
    registry.upgrade()
    with registry.transaction() as work:
        work.record_definition(Definition(project.name, project.fingerprint, to_data(project)))
        work.append(
            at_us=NOW, actor="ana", action="apply", subject="shop", reason="definition applied", evidence={}
        )
    deploy(folder, seed=1)
    filled(wiring.online)
    registry.close()
    return folder


def deploy(folder: Path, *, seed: int) -> int:
    """Train and deploy another version; return its number."""
    from holdfast.registry.register import deploy, register

    wiring = Wiring(folder)
    name = wiring.bundles.save(_bundle_files(seed))
    with wiring.registry.transaction() as work:
        work.save_run(f"r-{seed}", "fraud", {})
    made = register(
        wiring.registry,
        model="fraud",
        bundle=name,
        run=f"r-{seed}",
        dataset="d-1",
        author="eva",
        clock=Clock(),
    )
    number = made.version.number
    deploy(wiring.registry, "fraud", number, by="ana", reason="test", policy=None, clock=Clock())
    wiring.registry.close()
    return number


def _model() -> Any:
    from tests import training_examples as examples

    from holdfast.datasets.label import Label

    label = Label("disputes", horizon=7 * DAY, key="id", absent=0.0)
    return examples.model(name="fraud", features="features", label=label, cost=None)


def _bundle_files(seed: int) -> dict[str, bytes]:
    import lightgbm

    from holdfast.training import bundle as bundles
    from holdfast.training.metric import Interval

    random = np.random.default_rng(seed)
    x = np.column_stack([random.gamma(2, 50, 400), random.lognormal(0, 1, 400), random.integers(0, 9, 400)])
    x = np.column_stack([x, random.integers(0, 3, 400)]).astype(float)
    y = (x[:, 0] + random.normal(0, 20, 400) > 100).astype(float)
    params = {"objective": "binary", "verbose": -1, "num_leaves": 7, "seed": seed, "num_threads": 1}
    booster = lightgbm.train(params, lightgbm.Dataset(x, y, feature_name=list(PLAN.names)), 5)
    content = booster.model_to_string(importance_type="gain").encode()
    summary = profile(PLAN.names, ("country",), x, y)
    expectation = bundles.Expectation(summary, summary.columns[0], {"auc": Interval(0.9, 0.8, 0.95)})
    files = {
        "model.txt": content,
        "features.json": bundles.canonical_json(bundles.from_data(FeaturePlan, to_data(PLAN))),
        "baseline.json": bundles.canonical_json(bundles.from_data(bundles.Expectation, to_data(expectation))),
    }
    manifest = bundles.Manifest(
        format=bundles.FORMAT,
        model="fraud",
        project="0" * 40,
        run=f"r-{seed}",
        dataset="d-1",
        environment="e-1",
        code="none",
        task="binary",
        label=_model().label,
        files={name: bundles.hash_of(found) for name, found in sorted(files.items())},
        runtime=bundles.Runtime("lightgbm", "model.txt", ("lightgbm",)),
        features="features.json",
        baseline="baseline.json",
        decision=BANDS,
        needs_code=False,
    )
    text = bundles.canonical_json(bundles.from_data(bundles.Manifest, to_data(manifest)))
    return {bundles.MANIFEST: text, **files}
