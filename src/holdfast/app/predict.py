"""Batch prediction and its measured performance over the project's stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl

from holdfast.app.state import settled_in_lake
from holdfast.app.wire import Wiring
from holdfast.datasets.spine import event_spine, event_time_of
from holdfast.events.ingest import apply_logged
from holdfast.events.source import ARRIVED, Source
from holdfast.features.view import FeaturePlan
from holdfast.kernel.errors import NotFoundError, UsageError
from holdfast.kernel.ports import Progress
from holdfast.kernel.time import format_instant
from holdfast.monitoring.performance import Performance, measure
from holdfast.project.compiled import CompiledProject
from holdfast.registry.version import ModelVersion
from holdfast.serving.ports import PREDICTIONS
from holdfast.serving.predict import PredictReport, predict_batch


def predict_interval(
    wiring: Wiring,
    version: ModelVersion,
    *,
    since: int | None,
    until: int | None,
    progress: Progress,
    dry_run: bool,
) -> PredictReport:
    """Predict the stored events of an interval with one version."""
    _demand_interval(since, until)
    bundle = wiring.open_version(version)
    source = _rows_of(bundle.plan, version)
    if wiring.lake.version(source.name) is None:
        raise NotFoundError(
            f"source `{source.name}` holds no events.", hint=f"holdfast ingest {source.name} PATH"
        )
    with _known_batch(wiring, dry_run) as known:
        return predict_batch(
            version.model,
            version.number,
            bundle,
            source,
            wiring.lake,
            since=since,
            until=until,
            known_batch=known,
            clock=wiring.clock,
            progress=progress,
            dry_run=dry_run,
        )


@contextmanager
def _known_batch(wiring: Wiring, dry_run: bool) -> Iterator[int]:
    """Give the last batch whose rows may be seen; nobody adds rows to it or to one before."""
    if wiring.hand_over.is_served():
        yield settled_in_lake(wiring)  # the worker holds the shard, and goes on behind this batch
        return
    with wiring.batch_log.lease():
        # What was logged is applied first: rows of a recorded batch must not appear after the answer.
        if not dry_run:
            apply_logged(lake=wiring.lake, log=wiring.batch_log, staging=wiring.staging)
        yield wiring.batch_log.read().number


def measure_performance(
    wiring: Wiring, project: CompiledProject, version: ModelVersion, *, since: int | None, until: int | None
) -> Performance:
    """Join the version's predictions with the outcomes that have arrived, and measure."""
    _demand_interval(since, until)
    lake = wiring.lake
    where = (pl.col("model") == version.model) & (pl.col("version") == version.number)
    if since is not None:
        where &= pl.col("t_us") >= since
    if until is not None:
        where &= pl.col("t_us") < until
    if lake.version(PREDICTIONS) is None or (records := lake.read(PREDICTIONS, where=where)).height == 0:
        raise _nothing_answered(wiring, version, bounded=since is not None or until is not None)
    bundle = wiring.open_version(version)
    label, source = bundle.manifest.label, _rows_of(bundle.plan, version)
    first, last = (pl.lit(at).cast(pl.Datetime("us", "UTC")) for at in _ends(records["t_us"]))
    inside = pl.col(event_time_of(source.schema)).is_between(first, last)
    events = lake.read(source.name, [*source.schema.names, ARRIVED], where=inside)
    outcomes_source = project.source(label.source)
    outcomes = lake.read(label.source, [*outcomes_source.schema.names, ARRIVED])
    arrivals = (outcomes[ARRIVED], lake.read(source.name, [ARRIVED])[ARRIVED])
    return measure(
        version.model,
        version.number,
        records,
        event_spine(source, events),
        label,
        outcomes_source,
        outcomes,
        as_of=max(_ends(arrived)[1] for arrived in arrivals if len(arrived)),
        k=project.model(version.model).precision_at,
        expected=bundle.expected.metrics,
        learnt_until=wiring.snapshots.load(version.dataset).recipe.boundaries.validation_end,
    )


def _nothing_answered(wiring: Wiring, version: ModelVersion, *, bounded: bool) -> NotFoundError:
    """Return why there is nothing to measure: the version answered nothing yet, or at another time."""
    times = pl.Series([], dtype=pl.Int64)
    if wiring.lake.version(PREDICTIONS) is not None:
        own = (pl.col("model") == version.model) & (pl.col("version") == version.number)
        times = wiring.lake.read(PREDICTIONS, ["t_us"], where=own)["t_us"]
    if not len(times) or not bounded:
        return NotFoundError(
            f"{version.name} has answered nothing yet.",
            at=version.name,
            hint=f"predict stored events, `holdfast predict {version.model} --since ... --until ...`, "
            "or let it answer live, `holdfast serve`",
        )
    first, last = (format_instant(at)[:10] for at in _ends(times))
    return NotFoundError(
        f"{version.name} has answered nothing in this interval.",
        at=version.name,
        has=(f"{len(times):,} answers about events of {first} to {last}",),
        hint="--since and --until are times of the events, --until is exclusive",
    )


def _rows_of(plan: FeaturePlan, version: ModelVersion) -> Source:
    """Return the source of a version's rows, as it was when the version was trained."""
    if plan.schema.event_id is None:
        raise UsageError(
            f"{version.name} predicts rows of a grid; batch prediction takes rows of events.", code="HF113"
        )
    return Source(plan.features.spine, plan.schema)


def _ends(instants: pl.Series) -> tuple[int, int]:
    found: tuple[Any, Any] = (instants.min(), instants.max())
    return int(found[0]), int(found[1])


def _demand_interval(since: int | None, until: int | None) -> None:
    if since is not None and until is not None and since >= until:
        raise UsageError("--since is not before --until.", hint="--until is exclusive")
