"""The training flow: dataset, run, gates, and a registered version, over the project's stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from holdfast.adapters.environment import code_fingerprint, describe_environment
from holdfast.app.outcomes import Trained
from holdfast.app.wire import Wiring
from holdfast.datasets.build import build
from holdfast.datasets.snapshot import PART, Snapshot
from holdfast.datasets.spine import KNOWN_AT, ROW_KEY, T
from holdfast.features.materialize import materialize
from holdfast.kernel.errors import RefusedError
from holdfast.kernel.ids import to_data
from holdfast.kernel.ports import Progress
from holdfast.project.compiled import CompiledProject
from holdfast.registry.register import register
from holdfast.serving.ports import PREDICTIONS
from holdfast.training.train import ChampionOnTest, train


def train_model(
    wiring: Wiring,
    project: CompiledProject,
    name: str,
    function: Callable[..., Any],
    *,
    seed: int,
    author: str,
    as_of: int | None,
    params: Mapping[str, Any],
    progress: Progress,
) -> Trained:
    """Build, train, judge and register; a failed gate leaves the run on record and no version."""
    model, release = project.model(name), project.release(name)
    _refuse_unbuilt(project, name)
    started = wiring.clock.now_us()
    features = project.feature_sets[model.features]
    spine = project.grids[features.spine] if features.spine in project.grids else project.sources[features.spine]
    keep = [model.cost.missed] if model.cost is not None and isinstance(model.cost.missed, str) else []
    snapshot = build(
        name, project.feature_plan(name), model.label, spine, project.sources, model.split, wiring.lake,
        project=project.fingerprint, as_of=as_of, decisions=_decisions(wiring, name), keep=keep, progress=progress,
    )  # fmt: skip
    wiring.snapshots.save(snapshot)
    registry = wiring.registry
    champion = registry.find_alias(name, "champion")
    on_test = None
    if champion is not None and champion.version is not None:
        on_test = _champion_on_test(wiring, name, champion.version, snapshot)
    result = train(
        model, function, snapshot,
        policy=release.decision, gates=release.gates, formats=wiring.formats, bundles=wiring.bundles,
        seed=seed, author=author, started_us=started, elapsed=lambda: wiring.clock.now_us() - started,
        environment=describe_environment(), code=code_fingerprint(wiring.settings.folder),
        project=project.fingerprint, params=params, champion=on_test, progress=progress,
    )  # fmt: skip
    run = result.run
    failed = [g.gate.describe() for g in run.gates if g.outcome == "failed"]
    with registry.transaction() as work:
        work.save_run(run.id, name, to_data(run))
        work.append(
            at_us=wiring.clock.now_us(), actor=author, action="train", subject=run.id,
            reason=f"gates failed: {'; '.join(failed)}" if failed else "gates passed",
            evidence={"model": name, "dataset": run.dataset, "bundle": run.bundle, "seed": seed},
        )  # fmt: skip
    if result.bundle is None:
        message = f"not registered: {len(failed)} of {len(run.gates)} gates failed ({'; '.join(failed)})"
        return Trained(run, snapshot.describe(), None, message, ())
    gates = {g.gate.describe(): {"outcome": g.outcome, "found": g.found, "limit": g.limit} for g in run.gates}
    outcome = register(
        registry, model=name, bundle=result.bundle, run=run.id, dataset=run.dataset, author=author,
        clock=wiring.clock, evidence={"gates": gates},
    )  # fmt: skip
    approvers: tuple[str, ...] = ()
    if release.approval is not None:
        people = project.people.get(release.approval.role, ())
        approvers = tuple(p for p in people if not (release.approval.not_author and p == author))
    return Trained(run, snapshot.describe(), outcome.version, outcome.message, approvers)


def _refuse_unbuilt(project: CompiledProject, name: str) -> None:
    model = project.model(name)
    reads = {c for f in project.feature_sets[model.features].features for c in f.expr.columns()}
    tables = sorted(t for t in project.tables if any(c.startswith(f"{t}.") for c in reads))
    if model.forecast is not None or tables:
        what = "a forecast" if model.forecast is not None else f"features of table `{tables[0]}`"
        raise RefusedError(
            f"model `{name}` needs {what}, which compiles but cannot be trained yet.",
            code="HF113",
            at=f"models.{name}",
        )


def _decisions(wiring: Wiring, model: str) -> pl.DataFrame | None:
    """Return recommendations that somebody acted upon: only those can prevent an outcome."""
    if wiring.lake.version(PREDICTIONS) is None:
        return None
    served = (pl.col("model") == model) & (pl.col("exposure") == "served")
    rows = wiring.lake.read(PREDICTIONS, ["key", "decision", "answered_us"], where=served)
    return rows.sort("answered_us").select(pl.col("key").alias(ROW_KEY), "decision")


def _champion_on_test(wiring: Wiring, model: str, number: int, snapshot: Snapshot) -> ChampionOnTest:
    """Score the candidate's test rows with the champion, by the champion's own features."""
    version = wiring.registry.find_version(model, number)
    assert version is not None
    bundle = wiring.open_bundle(version.bundle)
    test = snapshot.frame.filter(pl.col(PART) == "test").select(ROW_KEY, T, KNOWN_AT)
    spine = _spine_rows(wiring, bundle.plan.schema.names, bundle.plan.features.spine, snapshot, test)
    x = materialize(bundle.plan, spine, wiring.lake, versions=snapshot.recipe.tables)
    return ChampionOnTest(version.name, np.asarray(bundle.predictor.predict(x)))


def _spine_rows(
    wiring: Wiring, columns: tuple[str, ...], source: str, snapshot: Snapshot, test: pl.DataFrame
) -> pl.DataFrame:
    """Return the stored columns of these rows, in their order."""
    schema = snapshot.recipe.plan.schema
    assert schema.event_id is not None and schema.event_time is not None
    low, high = test[T].min(), test[T].max()
    time = pl.Datetime("us", "UTC")
    inside = pl.col(schema.event_time.name).is_between(pl.lit(low).cast(time), pl.lit(high).cast(time))
    rows = wiring.lake.read(source, list(columns), where=inside, version=snapshot.recipe.tables.get(source))
    keyed = rows.with_columns(pl.col(schema.event_id.name).cast(pl.String).alias(ROW_KEY))
    return test.join(keyed, on=ROW_KEY, how="left", maintain_order="left")
