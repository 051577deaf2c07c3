"""The training flow: dataset, run, gates, and a registered version, over the project's stores."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from holdfast.adapters.environment import code_fingerprint, describe_environment
from holdfast.app.outcomes import Trained
from holdfast.app.state import demand_past
from holdfast.app.wire import Wiring
from holdfast.datasets.build import build
from holdfast.datasets.snapshot import PART, ROW_PREFIX, Snapshot
from holdfast.datasets.spine import AT, HORIZON, KNOWN_AT, ROW_KEY, TARGET, T, event_id_of, event_time_of
from holdfast.features.materialize import materialize
from holdfast.features.view import FeaturePlan
from holdfast.kernel.errors import HoldfastError, RefusedError, UsageError
from holdfast.kernel.ids import to_data
from holdfast.kernel.ports import Progress
from holdfast.project.compiled import CompiledProject
from holdfast.registry.lookup import get_version
from holdfast.registry.register import register
from holdfast.serving.ports import PREDICTIONS
from holdfast.training.run import environment_id, run_id
from holdfast.training.train import ChampionOnTest, train

RUNS = Path(".holdfast", "runs")
"""Folder of what failed runs raised, below the project's folder."""
MOST_REASON = 2_000
"""Greatest length of the message that the history keeps of a failed run."""


def build_dataset(
    wiring: Wiring, project: CompiledProject, name: str, *, as_of: int | None, progress: Progress
) -> Snapshot:
    """Build the dataset of a model from what is stored, and keep it."""
    demand_past(wiring, as_of)
    model = project.model(name)
    _refuse_unbuilt(project, name)
    features = project.feature_sets[model.features]
    spine = project.grids.get(features.spine) or project.sources[features.spine]
    keep = [model.cost.missed] if model.cost is not None and isinstance(model.cost.missed, str) else []
    keep += () if model.precision_per is None else model.precision_per.key
    snapshot = build(
        name,
        project.feature_plan(name),
        model.label,
        spine,
        project.sources,
        model.split,
        wiring.lake,
        project=project.fingerprint,
        as_of=as_of,
        decisions=_decisions(wiring, name),
        keep=keep,
        test_where=model.test_where,
        forecast=model.forecast,
        season=model.baseline.season,
        progress=progress,
    )
    wiring.snapshots.save(snapshot)
    return snapshot


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
    started, began = wiring.clock.now_us(), time.monotonic()  # a demo's clock jumps; a duration does not
    snapshot = build_dataset(wiring, project, name, as_of=as_of, progress=progress)
    registry = wiring.registry
    champion = registry.find_alias(name, "champion")
    on_test = None
    if champion is not None and champion.version is not None:
        on_test = _champion_on_test(wiring, name, champion.version, snapshot)
    environment, code = describe_environment(), code_fingerprint(wiring.settings.folder)
    begun = run_id(
        model,
        project=project.fingerprint,
        dataset=snapshot.id,
        params={**model.params, **params},
        seed=seed,
        environment=environment_id(environment),
        code=code,
        author=author,
        started_us=started,
    )
    with _failure_recorded(wiring, name, begun, author, {"dataset": snapshot.id, "seed": seed}):
        result = train(
            model,
            function,
            snapshot,
            policy=release.decision,
            gates=release.gates,
            formats=wiring.formats,
            bundles=wiring.bundles,
            seed=seed,
            author=author,
            started_us=started,
            elapsed=lambda: round((time.monotonic() - began) * 1e6),
            environment=environment,
            code=code,
            project=project.fingerprint,
            params=params,
            champion=on_test,
            progress=progress,
        )
    run = result.run
    failed = [g.gate.describe() for g in run.gates if g.outcome == "failed"]
    with registry.transaction() as work:
        work.save_run(run.id, name, to_data(run))
        work.append(
            at_us=wiring.clock.now_us(),
            actor=author,
            action="train",
            subject=run.id,
            reason=f"gates failed: {'; '.join(failed)}" if failed else "gates passed",
            evidence={"model": name, "dataset": run.dataset, "bundle": run.bundle, "seed": seed},
        )
    if result.bundle is None:
        message = f"not registered: {len(failed)} of {len(run.gates)} gates failed ({'; '.join(failed)})"
        return Trained(run, snapshot.describe(), None, message, ())
    gates = {g.gate.describe(): {"outcome": g.outcome, "found": g.found, "limit": g.limit} for g in run.gates}
    outcome = register(
        registry,
        model=name,
        bundle=result.bundle,
        run=run.id,
        dataset=run.dataset,
        author=author,
        clock=wiring.clock,
        evidence={"gates": gates},
    )
    approvers: tuple[str, ...] = ()
    if release.approval is not None:
        people = project.people.get(release.approval.role, ())
        approvers = tuple(p for p in people if not (release.approval.not_author and p == author))
    return Trained(run, snapshot.describe(), outcome.version, outcome.message, approvers)


@contextmanager
def _failure_recorded(
    wiring: Wiring, model: str, run: str, author: str, evidence: Mapping[str, Any]
) -> Iterator[None]:
    """Put a run that fails into the history, and what the user's code raised into a file."""
    try:
        yield
    except UsageError:
        raise  # nothing was begun
    except HoldfastError as error:
        found = error.problem
        kept = {"model": model, **evidence, "code": found.code, "at": found.at, "place": found.place}
        if error.__cause__ is not None:
            path = wiring.settings.folder / RUNS / f"{run}.txt"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(traceback.format_exception(error.__cause__)), encoding="utf-8")
                kept["traceback"] = str(RUNS / path.name)
            except OSError as refused:  # what failed is told all the same
                kept["traceback"] = f"could not be written: {refused}"
        registry = wiring.registry
        with registry.transaction() as work:
            work.append(
                at_us=wiring.clock.now_us(),
                actor=author,
                action="train",
                subject=run,
                reason=f"failed: {found.message}"[:MOST_REASON],
                evidence=kept,
            )
        if "traceback" not in kept:
            raise
        raise type(error)(
            found.message,
            code=found.code,
            at=found.at,
            place=found.place,
            has=found.has,
            hint=f"the whole traceback: {kept['traceback']}",
        ) from error.__cause__


def _refuse_unbuilt(project: CompiledProject, name: str) -> None:
    model = project.model(name)
    if model.forecast is not None and model.forecast.quantiles:
        asked = ", ".join(f"{q:g}" for q in model.forecast.quantiles)
        raise RefusedError(
            f"model `{name}` asks for the quantiles {asked}, which cannot be trained yet.",
            code="HF113",
            at=f"models.{name}",
            hint="drop quantiles=: the expected value is forecast",
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
    version = get_version(wiring.registry, model, number)
    bundle = wiring.open_version(version)
    plan, own = bundle.plan, snapshot.recipe.plan
    if plan.features.spine != own.features.spine:
        raise RefusedError(
            f"the champion {version.name} answers rows of `{plan.features.spine}`, and `{model}` now learns "
            f"from rows of `{own.features.spine}`: they cannot be compared.",
            code="HF404",
            at=f"models.{model}",
            hint="declare the new model under a name of its own",
        )
    test = snapshot.frame.filter(pl.col(PART) == "test")
    rows = _events_of(wiring, plan, snapshot, test) if own.schema.event_id else _grid_rows(test)
    x = materialize(plan, rows, wiring.lake, versions=snapshot.recipe.tables)
    learnt_until = wiring.snapshots.load(version.dataset).recipe.learnt_until
    return ChampionOnTest(version.name, np.asarray(bundle.predictor.predict(x)), learnt_until)


def _grid_rows(test: pl.DataFrame) -> pl.DataFrame:
    """Return grid rows of a snapshot with their own columns: keys, origin, horizon and target."""
    keys = [column for column in test.columns if column.startswith(ROW_PREFIX)]
    named = {column.removeprefix(ROW_PREFIX): pl.col(column) for column in keys}
    own = {AT: pl.col(T), HORIZON: pl.lit(1, pl.Int64), TARGET: pl.col(T)}
    return test.select(T, KNOWN_AT, **{**own, **named})


def _events_of(wiring: Wiring, plan: FeaturePlan, snapshot: Snapshot, test: pl.DataFrame) -> pl.DataFrame:
    """Return the stored columns of event rows of a snapshot, in their order."""
    schema, source = snapshot.recipe.plan.schema, plan.features.spine
    time = pl.Datetime("us", "UTC")
    low, high = (pl.lit(test[T].min()).cast(time), pl.lit(test[T].max()).cast(time))
    stored = wiring.lake.read(
        source,
        list(dict.fromkeys((event_id_of(schema), *plan.schema.names))),
        where=pl.col(event_time_of(schema)).is_between(low, high),
        version=snapshot.recipe.tables[source],
    )
    keyed = stored.with_columns(pl.col(event_id_of(schema)).cast(pl.String).alias(ROW_KEY))
    rows = test.select(ROW_KEY, T, KNOWN_AT)
    return rows.join(keyed, on=ROW_KEY, how="left", maintain_order="left")
