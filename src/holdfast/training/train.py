"""The verb of the training stage: a dataset and a function become a run and, if its gates pass, a bundle.

It comes after a snapshot was built and before a version is registered. The test part is scored by the model
as it will be shipped: exported, and loaded again from those bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.datasets.profile import profile
from holdfast.datasets.snapshot import LABEL, PART, ROW_PREFIX, WEIGHT, Snapshot
from holdfast.datasets.spine import T
from holdfast.datasets.split import Part
from holdfast.events.entity import Entity
from holdfast.kernel.errors import ContractError, RefusedError, UsageError, did_you_mean
from holdfast.kernel.ids import fingerprint
from holdfast.kernel.ports import NoProgress, Progress
from holdfast.kernel.time import DAY, format_instant
from holdfast.training.baseline import baseline_scores
from holdfast.training.bundle import Runtime, assemble
from holdfast.training.calibration import reliability
from holdfast.training.card import write_card
from holdfast.training.forecast import as_series, by_horizon, known_of
from holdfast.training.function import call_function
from holdfast.training.gate import Gate, evaluate_gate
from holdfast.training.leakage import NOTHING, Probe, probe
from holdfast.training.metric import (
    REPEATS,
    Costs,
    Scored,
    Task,
    as_values,
    evaluate,
    evaluate_with_intervals,
    task_of,
)
from holdfast.training.model import Model, RunContext, Sample, Scalar, TrainFunction, TrainingData
from holdfast.training.policy import Bands
from holdfast.training.ports import BundleStore, ModelFormat
from holdfast.training.run import Run, environment_id, run_id


@dataclass(frozen=True, slots=True, eq=False)
class ChampionOnTest:
    """The champion's answers to the very rows the candidate is tested on.

    Attributes
    ----------
    name : the version, such as ``fraud@7``
    scores : (n,) scores of the test part, in the snapshot's order
    learnt_until : end of the event times it learnt from, microseconds UTC; None where that is before them all
    """

    name: str
    scores: NDArray[np.float64]
    learnt_until: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TrainResult:
    """What training gave.

    Attributes
    ----------
    bundle : name of the stored bundle; none if a gate failed, and then nothing was stored
    files : the files of the bundle, also where it was not stored
    scores : (n,) the candidate's scores of the test part
    """

    run: Run
    bundle: str | None
    files: dict[str, bytes]
    scores: NDArray[np.float64]


def sample_of(snapshot: Snapshot, part: Part) -> Sample:
    """Return one part of a dataset as arrays, in the snapshot's order of rows."""
    rows = snapshot.frame.filter(snapshot.frame[PART] == part)
    names = snapshot.recipe.plan.names
    x = np.empty((rows.height, len(names)), dtype=np.float64)
    for at, name in enumerate(names):
        x[:, at] = rows[name].to_numpy()
    return Sample(x, _own(rows[LABEL].to_numpy()), _own(rows[WEIGHT].to_numpy()), rows[T].to_numpy().copy())


def _own(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def train(
    model: Model,
    function: TrainFunction,
    snapshot: Snapshot,
    *,
    policy: Bands | None,
    gates: Sequence[Gate],
    formats: Sequence[ModelFormat],
    bundles: BundleStore,
    seed: int,
    author: str,
    started_us: int,
    elapsed: Callable[[], int],
    environment: Mapping[str, str],
    code: str,
    project: str,
    params: Mapping[str, Scalar] | None = None,
    champion: ChampionOnTest | None = None,
    repeats: int = REPEATS,
    progress: Progress | None = None,
) -> TrainResult:
    """Fit a model, measure it on the test part, judge it by its gates, and store its bundle if they pass.

    Parameters
    ----------
    function : the user's training function; it is given the train and validation parts, never the test part
    formats : safe formats; the first that recognises the fitted object carries it
    seed : handed to the function, and the source of the intervals' replicates
    started_us : when the run began, microseconds UTC; part of its id
    elapsed : microseconds since then
    environment : facts of where this runs: Python, platform, versions of libraries
    code, project : fingerprints of the source and of the compiled project
    params : values in place of those the model declares, by name
    champion : without one a relative gate is not applicable
    repeats : bootstrap replicates of the intervals

    Raises
    ------
    HoldfastError
        If the user's function fails (HF602); the cause is kept.
    RefusedError
        If no format recognises what the function returns, or its scores are no probabilities (HF403).
    ContractError
        If the dataset does not suffice for training (HF212), or lacks a declared cost column (HF209).
    UsageError
        If `params` names a parameter that the model does not declare (HF102).

    Notes
    -----
    A failed gate is a result, not an error: the run is recorded, and what to refuse is the caller's to say.
    """
    tell = NoProgress() if progress is None else progress
    given = _params(model, params or {})
    parts = {name: sample_of(snapshot, name) for name in ("train", "validation", "test")}
    task = _check_parts(snapshot, parts)
    facts = dict(environment)
    identity = run_id(
        model,
        project=project,
        dataset=snapshot.id,
        params=given,
        seed=seed,
        environment=environment_id(facts),
        code=code,
        author=author,
        started_us=started_us,
    )
    test = parts["test"]
    trivial = baseline_scores(model.baseline, parts["train"], test, known_of(snapshot))
    rows = {name: len(part.y) for name, part in parts.items()}
    logged: dict[str, list[float]] = {}

    tell.start(f"train `{model.name}`", 3)
    try:
        plan = snapshot.recipe.plan
        data = TrainingData(parts["train"], parts["validation"], list(plan.names), list(plan.categorical))
        context = RunContext(
            identity, seed, lambda name, value: logged.setdefault(name, []).append(float(value))
        )
        probed = _probed(model, snapshot, parts["train"], task)
        fitted = call_function(model, function, data, given, context)
        tell.advance(1)

        carrier, content = _export(model, fitted, formats)
        report = carrier.report(fitted)
        scores = _scores(model, carrier.load(content).predict(test.x), len(test.y), task)
        tell.advance(1)

        scored = _scored(model, snapshot, test, scores, policy, task)
        metrics = evaluate_with_intervals(scored, task, seed=_bootstrap_seed(seed), repeats=repeats)
        scored_trivial = _scored(model, snapshot, test, trivial, policy, task)
        of_trivial = evaluate(scored_trivial, task)
        of_champion, incomparable, scored_champion = None, "", None
        if champion is not None:
            answers = _scores(model, champion.scores, len(test.y), task)
            scored_champion = _scored(model, snapshot, test, answers, policy, task)
            of_champion = evaluate(scored_champion, task)
            incomparable = _overlap(champion, test)
        run = Run(
            id=identity,
            model=model.name,
            project=project,
            dataset=snapshot.id,
            params=given,
            seed=seed,
            author=author,
            started_us=started_us,
            duration_us=elapsed(),
            environment=environment_id(facts),
            facts=facts,
            code=code,
            task=task,
            rows=rows,
            metrics=metrics,
            baseline=_optional(of_trivial),
            champion_name=None if champion is None else champion.name,
            champion=None if of_champion is None else _optional(of_champion),
            gates=tuple(
                evaluate_gate(gate, as_values(metrics), of_champion, incomparable, of_trivial)
                for gate in gates
            ),
            reliability=reliability(scored) if task == "binary" else (),
            logged={name: _finite(values) for name, values in logged.items()},
            importance=_named(plan.names, report.importance),
            history={name: _finite(values) for name, values in report.history.items()},
            alone=probed.alone,
            suspicions=probed.suspicions,
            by_horizon=by_horizon(snapshot, scored, scored_trivial, scored_champion),
        )
        files = assemble(
            run,
            label=snapshot.recipe.label,
            grid=snapshot.recipe.grid,
            forecast=snapshot.recipe.forecast,
            plan=plan,
            profile=snapshot.profile,
            scores=profile(("score",), (), scores[:, np.newaxis], test.y).columns[0],
            policy=policy,
            content=content,
            runtime=Runtime(carrier.name, carrier.filename, tuple(known.name for known in formats)),
            card=write_card(run, model, snapshot, policy),
        )
        name = bundles.save(files) if run.passed else None
        tell.advance(1)
        return TrainResult(replace(run, bundle=name), name, files, scores)
    finally:
        tell.finish()


def _overlap(champion: ChampionOnTest, test: Sample) -> str:
    """Return that the champion knows rows it is measured on, or an empty text."""
    if champion.learnt_until is None:
        return ""
    known = int((test.t < champion.learnt_until).sum())
    if not known:
        return ""
    return (
        f"{champion.name} learnt from events up to {format_instant(champion.learnt_until)}, "
        f"{known:,} of the {len(test.t):,} test rows among them"
    )


def _params(model: Model, override: Mapping[str, Scalar]) -> dict[str, Scalar]:
    declared = dict.fromkeys((*model.params, *model.search))
    for name in override:
        if name not in declared:
            raise UsageError(
                f"model `{model.name}` declares no parameter `{name}`.",
                code="HF102",
                at=f"models.{model.name}.params",
                has=tuple(declared),
                hint=did_you_mean(name, declared) or "declare it in `params` or `search`",
            )
    return {**model.params, **override}


def _check_parts(snapshot: Snapshot, parts: Mapping[str, Sample]) -> Task:
    """Return the kind of label after checking that there is something to learn and to test on."""
    sizes = tuple(f"{name} {len(part.y):,} rows" for name, part in parts.items())
    for name in ("train", "test"):
        if not parts[name].weight.sum() > 0:
            raise ContractError(
                f"the {name} part of dataset `{snapshot.id}` has no rows.",
                code="HF212",
                at=name,
                has=sizes,
                hint=f"give `{name}` a longer span in the model's split, or ingest more history",
            )
    # A forecast is of amounts, also where every one of them happens to be 0 or 1.
    amounts = snapshot.recipe.forecast is not None
    task = "regression" if amounts else task_of(np.concatenate([part.y for part in parts.values()]))
    labels = np.unique(parts["train"].y[parts["train"].weight > 0])
    if task == "binary" and len(labels) < 2:
        source = snapshot.recipe.label.source
        outcomes = sum(snapshot.recipe.arrival_basis.get(source, {}).values())
        hint = "nothing can be learnt from one kind of row: ingest more history, or move the split"
        if not outcomes:
            hint = f"no outcome is stored: ingest `{source}`, which the label reads, and train again"
        raise ContractError(
            f"every label of the train part of dataset `{snapshot.id}` is {labels[0]:g}.",
            code="HF212",
            at="train",
            has=(*sizes, f"label source `{source}` {outcomes:,} rows"),
            hint=hint,
        )
    return task


def _probed(model: Model, snapshot: Snapshot, part: Sample, task: Task) -> Probe:
    """Return what single features know of the label, looked for before the function may change anything."""
    plan = snapshot.recipe.plan
    if task != "binary":
        return NOTHING
    texts = {
        feature.name: plan.vocabularies[str(feature.expr.args[0].params[0])]
        for feature in plan.features.features
        if feature.kind == "categorical" and feature.expr.op == "code" and feature.expr.args[0].op == "col"
    }
    return probe(plan.names, texts, part.x, part.y, part.weight, vetted=model.vetted)


def _export(model: Model, fitted: Any, formats: Sequence[ModelFormat]) -> tuple[ModelFormat, bytes]:
    for known in formats:
        content = known.export(fitted)
        if content is not None:
            return known, content
    kind = type(fitted)
    raise RefusedError(
        f"training function `{model.function}` returned {kind.__module__}.{kind.__qualname__}, "
        "which no safe format can carry.",
        code="HF403",
        at=f"models.{model.name}",
        has=tuple(known.name for known in formats),
        hint="return the fitted model" if fitted is None else "",
    )


def _scores(model: Model, scores: NDArray[np.float64], n: int, task: Task) -> NDArray[np.float64]:
    """Return scores after checking that there is one for each row and that they mean what they must."""
    if scores.shape != (n,):
        raise ContractError(
            f"model `{model.name}` gave scores of shape {scores.shape} for {n} rows.", code="HF202"
        )
    low, high = (0.0, 1.0) if task == "binary" else (-math.inf, math.inf)
    wrong = ~np.isfinite(scores) | (scores < low) | (scores > high)
    if wrong.any():
        allowed = "a probability" if task == "binary" else "finite"
        raise RefusedError(
            f"model `{model.name}` must score {allowed}; found {float(scores[wrong][0])!r} "
            f"and {int(wrong.sum())} such of {n} rows.",
            code="HF403",
            at=f"models.{model.name}",
            hint="the labels are 0 and 1: fit a classifier" if task == "binary" else "",
        )
    return scores


def _scored(
    model: Model,
    snapshot: Snapshot,
    test: Sample,
    scores: NDArray[np.float64],
    policy: Bands | None,
    task: Task,
) -> Scored:
    costs = None
    if model.cost is not None and policy is not None and task == "binary":
        acted = policy.acts(scores, model.cost.act_on)
        costs = Costs(acted, model.cost.false_alarm, _missed(model.cost.missed, snapshot, len(scores)))
    entity, per = None, ""
    if model.precision_per is not None:
        entity, per = _entities(model.precision_per, snapshot), model.precision_per.name
    scored = Scored(test.y, scores, test.weight, test.t // DAY, model.precision_at, costs, entity, per)
    return as_series(scored, snapshot)


def _entities(entity: Entity, snapshot: Snapshot) -> NDArray[np.int64]:
    """Return the number of each test row's entity; rows with a missing key share one."""
    keys = [f"{ROW_PREFIX}{name}" for name in entity.key]
    test = snapshot.frame.filter(snapshot.frame[PART] == "test")
    return test.select(pl.struct(keys).rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()


def _missed(missed: float | str, snapshot: Snapshot, n: int) -> NDArray[np.float64]:
    if not isinstance(missed, str):
        return np.full(n, float(missed))
    frame = snapshot.frame
    column = f"{ROW_PREFIX}{missed}"
    if column not in frame.columns:
        kept = tuple(name.removeprefix(ROW_PREFIX) for name in frame.columns if name.startswith(ROW_PREFIX))
        raise ContractError(
            f"the cost of a missed row is column `{missed}`, which dataset `{snapshot.id}` does not keep.",
            code="HF209",
            at=missed,
            has=kept,
            hint=did_you_mean(missed, kept),
        )
    values = frame.filter(frame[PART] == "test")[column].to_numpy()
    return np.array(values, dtype=np.float64)


def _bootstrap_seed(seed: int) -> int:
    return int(fingerprint(["bootstrap", seed])[:16], 16)


def _optional(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _finite(values: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in values)


def _named(names: Sequence[str], importance: Sequence[float]) -> dict[str, float]:
    """Return the importance by feature; nothing where the model saw other columns."""
    return dict(zip(names, importance, strict=True)) if len(names) == len(importance) else {}
