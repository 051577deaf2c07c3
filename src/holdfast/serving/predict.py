"""The verb of batch inference: rows of a spine become prediction records, once each per version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from holdfast.datasets.spine import KNOWN_AT, ROW_KEY, T
from holdfast.events.source import Source
from holdfast.features.materialize import materialize
from holdfast.kernel.ids import fingerprint
from holdfast.kernel.ports import Clock, NoProgress, Progress
from holdfast.kernel.time import format_instant
from holdfast.serving.ports import PREDICTIONS, PredictionLake
from holdfast.serving.record import (
    FORMAT,
    RECORD_SCHEMA,
    attempt_id,
    encode_features,
    encode_requests,
    missing_names,
    prediction_id,
)
from holdfast.serving.rows import GridRows, rows_to_predict, span_of
from holdfast.training.bundle import Bundle
from holdfast.training.policy import Bands

CHUNK = 20_000
"""Rows per commit: the unit of progress, and of what a killed job computes again."""


@dataclass(frozen=True, slots=True)
class PredictReport:
    """What a batch job did.

    Attributes
    ----------
    rows : spine rows in the interval
    repeated : those this version had answered before
    predicted : those answered now
    decisions : all answers of this version in the interval, by recommendation
    first_id : first answer given now
    highest_id, highest_score : highest score of this version in the interval
    since, until : the interval, in microseconds of the row's time
    span : first and last time of the rows there are, where the interval holds none of them
    """

    model: str
    version: int
    rows: int
    repeated: int
    predicted: int
    decisions: dict[str, int] = field(default_factory=dict)
    first_id: str | None = None
    highest_id: str | None = None
    highest_score: float | None = None
    dry_run: bool = False
    since: int | None = None
    until: int | None = None
    span: tuple[int, int] | None = None


def predict_batch(
    model: str,
    version: int,
    bundle: Bundle,
    spine: Source | GridRows,
    lake: PredictionLake,
    *,
    since: int | None = None,
    until: int | None = None,
    known_batch: int,
    clock: Clock,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> PredictReport:
    """Predict every row of a spine in ``[since, until)`` with features as known at each row's time.

    Parameters
    ----------
    spine : the rows, with the schema the version was trained on: events of a source, or a grid
    since, until : microseconds of the row's time, see `rows_to_predict`
    known_batch : last applied batch; rows of later batches are not looked at

    Notes
    -----
    A row that this version has answered is left alone, so a job that was killed continues where its last
    commit ended. One process at a time: the caller holds the shard's lease.
    """
    tell = NoProgress() if progress is None else progress
    rows = rows_to_predict(spine, lake, since, until, known_batch)
    if since is None and until is None and rows.height and isinstance(spine, GridRows):
        since = int(rows[T][0])  # the summary is of the one origin that was asked
    answered = _answered(model, version, lake, since, until)
    todo = rows.filter(~pl.col(ROW_KEY).is_in(answered.implode())).sort(T, ROW_KEY)
    repeated = rows.height - todo.height
    if dry_run or todo.height == 0:
        found = _report(
            model, version, rows.height, repeated, 0, None, lake, since, until, dry_run, bundle.policy
        )
        return found if rows.height else replace(found, span=span_of(spine, lake, known_batch))
    job = fingerprint([model, version, since, until, known_batch, lake.version(PREDICTIONS)])
    first: str | None = None
    span = {"from": format_instant(todo[T][0]), "to": format_instant(todo[T][-1] + 1)}
    tell.start(f"predict {model}@{version}", todo.height)
    for number, offset in enumerate(range(0, todo.height, CHUNK), start=1):
        chunk = todo.slice(offset, CHUNK)
        frame = _answer(chunk, model, version, bundle, lake, known_batch, job, clock.now_us())
        note = {"job": job, **span}
        lake.append(PREDICTIONS, frame, app=f"predict:{job}", batch=number, note=note)
        first = first or frame["prediction_id"][0]
        tell.advance(chunk.height)
    tell.finish()
    return _report(
        model, version, rows.height, repeated, todo.height, first, lake, since, until, dry_run, bundle.policy
    )


def _report(
    model: str,
    version: int,
    rows: int,
    repeated: int,
    predicted: int,
    first: str | None,
    lake: PredictionLake,
    since: int | None,
    until: int | None,
    dry_run: bool,
    policy: Bands | None,
) -> PredictReport:
    """Return what was done, with a summary of all the answers that stand in the interval now."""
    decisions: dict[str, int] = {}
    highest: tuple[str | None, float | None] = (None, None)
    if lake.version(PREDICTIONS) is not None:
        where = _same(model, version, since, until)
        found = lake.read(PREDICTIONS, ["key", "prediction_id", "score", "decision"], where=where)
        found = found.unique("key").sort("score", "prediction_id", descending=True, nulls_last=True)
        decisions = dict(found.drop_nulls("decision").group_by("decision").len().iter_rows())
        if policy is not None:
            decisions = {name: decisions[name] for name in policy.in_order(decisions)}
        if found.height:
            highest = (found["prediction_id"][0], found["score"][0])
    return PredictReport(
        model, version, rows, repeated, predicted, decisions, first, *highest, dry_run, since, until
    )


def _same(model: str, version: int, since: int | None, until: int | None) -> pl.Expr:
    """Select the records of a version in an interval of event time."""
    same, t = (pl.col("model") == model) & (pl.col("version") == version), pl.col("t_us")
    if since is not None:
        same = same & (t >= since)
    return same if until is None else same & (t < until)


def _answered(
    model: str, version: int, lake: PredictionLake, since: int | None, until: int | None
) -> pl.Series:
    """Return the keys of the rows of the interval that this version has answered."""
    if lake.version(PREDICTIONS) is None:
        return pl.Series("key", [], dtype=pl.String)
    return lake.read(PREDICTIONS, ["key"], where=_same(model, version, since, until))["key"]


def _answer(
    chunk: pl.DataFrame,
    model: str,
    version: int,
    bundle: Bundle,
    lake: PredictionLake,
    known_batch: int,
    job: str,
    now_us: int,
) -> pl.DataFrame:
    x = materialize(bundle.plan, chunk, lake, max_batch=known_batch)
    scores = np.asarray(bundle.predictor.predict(x), dtype=np.float64)
    keys = chunk[ROW_KEY].to_list()
    ids = [prediction_id(model, key) for key in keys]
    n = chunk.height
    columns: Mapping[str, object] = {
        "format": [FORMAT] * n,
        "prediction_id": ids,
        "attempt": [attempt_id(i, job) for i in ids],
        "model": [model] * n,
        "version": [version] * n,
        "bundle": [bundle.name] * n,
        "runtime": [bundle.manifest.runtime.name] * n,
        "key": keys,
        "t_us": chunk[T],
        "known_at_us": chunk[KNOWN_AT],
        "known_batch": [[known_batch]] * n,
        "request": encode_requests(chunk, bundle.plan.schema),
        "features": encode_features(x),
        "plan": [bundle.plan.fingerprint] * n,
        "score": scores,
        "decision": [None if bundle.policy is None else bundle.policy.decide(float(s)) for s in scores],
        "step": ["champion"] * n,
        "missing": missing_names(bundle.plan.names, x),
        "exposure": ["batch"] * n,
        "answered_us": [now_us] * n,
        "latency_us": [[] for _ in range(n)],
    }
    return pl.DataFrame(columns, schema=RECORD_SCHEMA)
