"""Batch prediction and its measured performance over the project's stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from holdfast.app.applied import served_models
from holdfast.app.state import demand_past, settled_in_lake
from holdfast.app.wire import Wiring
from holdfast.datasets.forecast import BASELINE, seasonal_naive
from holdfast.datasets.label import Label
from holdfast.datasets.snapshot import LABEL, PART, WEIGHT, Snapshot
from holdfast.datasets.spine import KNOWN_AT, ROW_KEY, TARGET, Grid, T, event_spine, event_time_of
from holdfast.events.logged import apply_logged
from holdfast.events.source import ARRIVED, Source
from holdfast.features.view import FeaturePlan
from holdfast.kernel.errors import NotFoundError, UnavailableError, UsageError
from holdfast.kernel.ports import Progress
from holdfast.kernel.time import format_instant
from holdfast.monitoring.performance import Performance, measure
from holdfast.project.compiled import CompiledProject
from holdfast.registry.lookup import get_run
from holdfast.registry.version import ModelVersion
from holdfast.serving.parity import requests_of
from holdfast.serving.ports import PREDICTIONS
from holdfast.serving.predict import PredictReport, predict_batch
from holdfast.serving.rows import GridRows
from holdfast.training.bundle import Bundle
from holdfast.training.forecast import scales_of
from holdfast.training.model import Baseline


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
    """Predict the stored rows of an interval with one version."""
    _demand_interval(since, until)
    bundle = wiring.open_version(version)
    spine = _rows_of(bundle, project)
    name = spine.name if isinstance(spine, Source) else spine.source.name
    if wiring.lake.version(name) is None:
        raise NotFoundError(f"source `{name}` holds no events.", hint=f"holdfast ingest {name} PATH")
    with _known_batch(wiring, dry_run) as known:
        return predict_batch(
            version.model,
            version.number,
            bundle,
            spine,
            wiring.lake,
            since=since,
            until=until,
            known_batch=known,
            clock=wiring.clock,
            progress=progress,
            dry_run=dry_run,
        )


def newest_row(wiring: Wiring, project: CompiledProject, version: ModelVersion) -> int | None:
    """Return the newest time of the events whose rows a version predicts, None where there is none."""
    spine = _rows_of(wiring.open_version(version), project)
    source = spine if isinstance(spine, Source) else spine.source
    if wiring.lake.version(source.name) is None:
        return None
    when = event_time_of(source.schema)
    newest: Any = wiring.lake.read(source.name, [when])[when].to_physical().max()
    return None if newest is None else int(newest)


def newest_answered(wiring: Wiring, version: ModelVersion) -> int | None:
    """Return the newest time of the rows that a version has answered, None where there is none."""
    times = _answered_times(wiring, version)
    return _ends(times)[1] if len(times) else None


def _answered_times(wiring: Wiring, version: ModelVersion) -> pl.Series:
    if wiring.lake.version(PREDICTIONS) is None:
        return pl.Series([], dtype=pl.Int64)
    own = (pl.col("model") == version.model) & (pl.col("version") == version.number)
    return wiring.lake.read(PREDICTIONS, ["t_us"], where=own)["t_us"]


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
    wiring: Wiring,
    project: CompiledProject,
    version: ModelVersion,
    *,
    since: int | None,
    until: int | None,
    as_of: int | None = None,
) -> Performance:
    """Join the version's predictions with the outcomes that have arrived, and measure.

    Without `as_of` that is the newest arrival: a clock that went on alone does not tell a world in which
    nothing happened from one of which nobody brought the news.
    """
    _demand_interval(since, until)
    demand_past(wiring, as_of)
    lake = wiring.lake
    where = (pl.col("model") == version.model) & (pl.col("version") == version.number)
    if since is not None:
        where &= pl.col("t_us") >= since
    if until is not None:
        where &= pl.col("t_us") < until
    if lake.version(PREDICTIONS) is None or (records := lake.read(PREDICTIONS, where=where)).height == 0:
        raise _nothing_answered(
            wiring,
            version,
            bounded=since is not None or until is not None,
            answers_live=version.model in served_models(project),
        )
    bundle = wiring.open_version(version)
    label, spine = bundle.manifest.label, _rows_of(bundle, project)
    outcomes_source = project.source(label.source)
    outcomes = lake.read(label.source, [*outcomes_source.schema.names, ARRIVED])
    source = spine if isinstance(spine, Source) else spine.source
    arrivals = (outcomes[ARRIVED], lake.read(source.name, [ARRIVED])[ARRIVED])
    if isinstance(spine, Source):
        first, last = (pl.lit(at).cast(pl.Datetime("us", "UTC")) for at in _ends(records["t_us"]))
        inside = pl.col(event_time_of(source.schema)).is_between(first, last)
        rows = event_spine(source, lake.read(source.name, [*source.schema.names, ARRIVED], where=inside))
        entity: tuple[str, ...] = ()
    else:
        rows, entity = _asked(records, bundle.plan), spine.grid.key
    snapshot = wiring.snapshots.load(version.dataset)
    expected_at: dict[int, dict[str, float | None]] = {}
    if not isinstance(spine, Source) and spine.forecast is not None:
        baseline = project.model(version.model).baseline
        rows = _beside(rows, snapshot, baseline, label, outcomes_source, outcomes, spine.grid)
        run = get_run(wiring.registry, version.run).payload
        expected_at = {at["horizon"]: at["metrics"] for at in run.get("by_horizon", ())}
    return measure(
        version.model,
        version.number,
        records,
        rows,
        label,
        outcomes_source,
        outcomes,
        as_of=max(_ends(arrived)[1] for arrived in arrivals if len(arrived)) if as_of is None else as_of,
        k=project.model(version.model).precision_at,
        expected=bundle.expected.metrics,
        learnt_until=snapshot.recipe.learnt_until,
        entity=entity,
        about=None if isinstance(spine, Source) else TARGET,
        task=bundle.manifest.task,
        expected_at=expected_at,
        policy=bundle.policy,
    )


def _beside(
    rows: pl.DataFrame,
    snapshot: Snapshot,
    baseline: Baseline,
    label: Label,
    source: Source,
    outcomes: pl.DataFrame,
    grid: Grid,
) -> pl.DataFrame:
    """Return rows of a forecast with what training measured with: `_scale` of the series and `_baseline`.

    The scales are those of the version's dataset; a series that is not in it has none.
    """
    if baseline.season is None:
        train = snapshot.frame.filter(pl.col(PART) == "train")
        mean = train.select((pl.col(WEIGHT) * pl.col(LABEL)).sum() / pl.col(WEIGHT).sum()).item()
        naive = np.full(rows.height, mean)
    else:
        naive = seasonal_naive(rows, label, source, outcomes, grid, baseline.season)
    rows = rows.with_columns(pl.Series(BASELINE, naive))
    return rows.join(scales_of(snapshot), on=grid.key, how="left", maintain_order="left")


def _rows_of(bundle: Bundle, project: CompiledProject) -> Source | GridRows:
    """Return the rows of a version, as they were when the version was trained."""
    plan, manifest = bundle.plan, bundle.manifest
    if manifest.grid is None:
        return Source(plan.features.spine, plan.schema)
    return GridRows(manifest.grid, project.source(manifest.grid.source), manifest.forecast)


def _asked(records: pl.DataFrame, plan: FeaturePlan) -> pl.DataFrame:
    """Return the rows of a grid that were predicted, from their records."""
    rows = requests_of(records, plan.schema)
    return rows.select(
        *(pl.col(c.name).to_physical() if c.type == "time" else pl.col(c.name) for c in plan.schema.columns),
        records["t_us"].alias(T),
        records["known_at_us"].alias(KNOWN_AT),
        records["key"].alias(ROW_KEY),
    ).unique(ROW_KEY)


def write_answers(wiring: Wiring, version: ModelVersion, report: PredictReport, path: Path) -> int:
    """Write every answer of a version in the interval of a report to a file and return their number.

    The columns are those of the row, then ``score`` (``forecast`` where the rows are of a grid), the
    recommendation if there is one, and ``prediction_id``.

    Raises
    ------
    UsageError
        If the file is neither Parquet nor CSV by its name.
    UnavailableError
        If it cannot be written.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{path.name!r} is neither .parquet nor .csv.", hint="name the file by its format")
    bundle = wiring.open_version(version)
    where = (pl.col("model") == version.model) & (pl.col("version") == version.number)
    if report.since is not None:
        where &= pl.col("t_us") >= report.since
    if report.until is not None:
        where &= pl.col("t_us") < report.until
    wanted = ["key", "request", "score", "decision", "prediction_id"]
    found = wiring.lake.read(PREDICTIONS, wanted, where=where) if report.rows else pl.DataFrame()
    records = found.unique("key", keep="any") if found.height else found
    if not records.height:
        raise NotFoundError("there is no answer to write in this interval.")
    rows = requests_of(records, bundle.plan.schema)
    times = [c.name for c in bundle.plan.schema.columns if c.type == "time"]
    answer = "score" if bundle.manifest.grid is None else "forecast"
    decided = [records["decision"]] if bundle.policy is not None else []
    frame = rows.with_columns(
        pl.col(times).cast(pl.Datetime("us", "UTC")),
        records["score"].alias(answer),
        *decided,
        records["prediction_id"],
    )
    frame = frame.sort(*(c.name for c in bundle.plan.schema.columns), "prediction_id")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            frame.write_csv(path)
        else:
            frame.write_parquet(path)
    except OSError as error:
        raise UnavailableError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
    return frame.height


def _nothing_answered(
    wiring: Wiring, version: ModelVersion, *, bounded: bool, answers_live: bool
) -> NotFoundError:
    """Return why there is nothing to measure: the version answered nothing yet, or at another time."""
    times = _answered_times(wiring, version)
    if not len(times) or not bounded:
        hint = f"predict stored events, `holdfast predict {version.model} --since ... --until ...`"
        if answers_live:
            hint += ", or let it answer live, `holdfast serve`"
        return NotFoundError(f"{version.name} has answered nothing yet.", at=version.name, hint=hint)
    first, last = (format_instant(at)[:10] for at in _ends(times))
    return NotFoundError(
        f"{version.name} has answered nothing in this interval.",
        at=version.name,
        has=(f"{len(times):,} answers about events of {first} to {last}",),
        hint="--since and --until are times of the events, --until is exclusive",
    )


def _ends(instants: pl.Series) -> tuple[int, int]:
    found: tuple[Any, Any] = (instants.min(), instants.max())
    return int(found[0]), int(found[1])


def _demand_interval(since: int | None, until: int | None) -> None:
    if since is not None and until is not None and since >= until:
        raise UsageError("--since is not before --until.", hint="--until is exclusive")
