"""Batch prediction and its measured performance over the project's stores."""

from __future__ import annotations

import polars as pl

from holdfast.app.wire import Wiring
from holdfast.datasets.spine import event_spine, event_time_of
from holdfast.events.source import ARRIVED, Source
from holdfast.kernel.errors import NotFoundError, UsageError
from holdfast.kernel.ports import Progress
from holdfast.monitoring.performance import Performance, measure
from holdfast.project.compiled import CompiledProject
from holdfast.registry.version import ModelVersion
from holdfast.serving.ports import PREDICTIONS
from holdfast.serving.predict import PredictReport, predict_batch

_FAR = 2**62


def _event_source(project: CompiledProject, model: str) -> Source:
    spine = project.feature_sets[project.model(model).features].spine
    if spine in project.grids:
        raise UsageError(f"model `{model}` predicts rows of a grid; batch prediction takes rows of events.", code="HF113")
    return project.sources[spine]


def predict_interval(
    wiring: Wiring,
    project: CompiledProject,
    version: ModelVersion,
    *,
    since: int | None,
    until: int | None,
    progress: Progress,
    dry_run: bool,
) -> PredictReport:
    """Predict the stored events of an interval with one version."""
    source = _event_source(project, version.model)
    if since is not None and until is not None and since >= until:
        raise UsageError("--since is not before --until.")
    if wiring.lake.version(source.name) is None:
        raise NotFoundError(f"source `{source.name}` holds no events.", hint=f"holdfast ingest {source.name} PATH")
    bundle = wiring.open_bundle(version.bundle)
    with wiring.batch_log.lease():
        known = max((batch.number for batch in wiring.batch_log.entries()), default=0)
        return predict_batch(
            version.model, version.number, bundle, source, wiring.lake,
            since=-_FAR if since is None else since, until=_FAR if until is None else until,
            known_batch=known, clock=wiring.clock, progress=progress, dry_run=dry_run,
        )  # fmt: skip


def measure_performance(
    wiring: Wiring, project: CompiledProject, version: ModelVersion, *, since: int | None, until: int | None
) -> Performance:
    """Join the version's predictions with the outcomes that have arrived, and measure."""
    lake = wiring.lake
    source = _event_source(project, version.model)
    where = (pl.col("model") == version.model) & (pl.col("version") == version.number)
    if since is not None:
        where &= pl.col("t_us") >= since
    if until is not None:
        where &= pl.col("t_us") < until
    if lake.version(PREDICTIONS) is None or (records := lake.read(PREDICTIONS, where=where)).height == 0:
        raise NotFoundError(
            f"{version.name} has answered nothing in this interval.", hint=f"holdfast predict {version.model}"
        )
    bundle = wiring.open_bundle(version.bundle)
    label = bundle.manifest.label
    when = event_time_of(source.schema)
    first, last = (records["t_us"].min(), records["t_us"].max())
    inside = pl.col(when).is_between(pl.lit(first).cast(pl.Datetime("us", "UTC")), pl.lit(last).cast(pl.Datetime("us", "UTC")))
    events = lake.read(source.name, [*source.schema.names, ARRIVED], where=inside)
    outcomes_source = project.source(label.source)
    outcomes = lake.read(label.source, [*outcomes_source.schema.names, ARRIVED])
    as_of = max(
        int(top) for frame in (outcomes, lake.read(source.name, [ARRIVED])) if (top := frame[ARRIVED].max()) is not None  # type: ignore[call-overload]
    )
    return measure(
        version.model, version.number, records, event_spine(source, events), label, outcomes_source, outcomes,
        as_of=as_of, k=project.model(version.model).precision_at, expected=bundle.expected.metrics,
    )  # fmt: skip
