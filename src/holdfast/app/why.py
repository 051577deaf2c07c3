"""Why: from one prediction back to the approver, the run, the dataset, the features and the events."""

from __future__ import annotations

from typing import Any

import polars as pl

from holdfast.app.outcomes import Explanation
from holdfast.app.wire import Wiring
from holdfast.events.source import BATCH
from holdfast.features.view import View
from holdfast.kernel.errors import NotFoundError, UsageError
from holdfast.kernel.ids import to_data
from holdfast.kernel.schema import Schema
from holdfast.registry.lookup import get_run, get_version
from holdfast.serving.explain import explain
from holdfast.serving.ports import PREDICTIONS
from holdfast.serving.record import PredictionRecord, from_row, stored_value

_LEAST = 6  # characters of an id that name one prediction in practice


def find_record(wiring: Wiring, prediction_id: str) -> PredictionRecord:
    """Return the last attempt at a prediction, by its id or the beginning of it.

    Raises
    ------
    NotFoundError
        If no record begins with it.
    UsageError
        If several do, or it is too short.
    """
    if len(prediction_id) < _LEAST:
        raise UsageError(f"{prediction_id!r} is too short for an id.", hint=f"give at least {_LEAST} characters")
    rows = pl.DataFrame()
    if wiring.lake.version(PREDICTIONS) is not None:
        rows = wiring.lake.read(PREDICTIONS, where=pl.col("prediction_id").str.starts_with(prediction_id))
    if rows.height == 0:
        raise NotFoundError(
            f"no prediction has the id {prediction_id!r}.", hint="`holdfast predict` prints ids; so does every answer"
        )
    ids = rows["prediction_id"].unique().sort().to_list()
    if len(ids) > 1:
        raise UsageError(f"{prediction_id!r} begins {len(ids)} ids.", has=ids[:5], hint="give more characters")
    return from_row(rows.sort("answered_us", "version").row(-1, named=True))


def explain_prediction(wiring: Wiring, prediction_id: str) -> Explanation:
    """Walk from one prediction back to everything that led to it, and recompute its features."""
    record = find_record(wiring, prediction_id)
    registry = wiring.registry
    version = get_version(registry, record.model, record.version)
    bundle = wiring.open_bundle(record.bundle)
    run = get_run(registry, version.run).payload
    snapshot = wiring.snapshots.load(version.dataset).recipe

    rows: dict[str, dict[Any, dict[str, Any]]] = {}
    events: dict[str, dict[str, int]] = {}
    for view in bundle.plan.views:
        schema = bundle.plan.sources[view.source]
        assert schema.event_id is not None and schema.event_time is not None
        found = _view_rows(wiring, view, schema, record)
        keys = [(row[schema.event_time.name], row[schema.event_id.name]) for row in found]
        rows.setdefault(view.source, {}).update(zip(keys, found, strict=True))  # views of a source share rows
        if found:
            batches = [row[BATCH] for row in found]
            events[view.name] = {"rows": len(found), "first_batch": min(batches), "last_batch": max(batches)}
    evidence = explain(record, bundle, {name: list(found.values()) for name, found in rows.items()})
    answer = {
        "prediction_id": record.prediction_id, "attempt": record.attempt, "model": record.model,
        "version": record.version, "t_us": record.t_us, "known_at_us": record.known_at_us,
        "known_batch": list(record.known_batch), "score": record.score, "decision": record.decision,
        "step": record.step, "exposure": record.exposure, "runtime": record.runtime,
        "missing": list(record.missing), "answered_us": record.answered_us,
    }  # fmt: skip
    approvals = registry.list_approvals(record.model, record.version)
    return Explanation(
        answer=answer,
        request=_in_units(record.request, bundle.plan.schema),
        features=tuple(evidence),
        version={
            "name": version.name, "state": version.state, "author": version.author, "bundle": version.bundle,
            "created_us": version.created_us, "approvals": [to_data(a) for a in approvals],
        },  # fmt: skip
        run={key: run.get(key) for key in ("id", "seed", "code", "environment", "facts", "params", "started_us", "author")},
        dataset={"id": version.dataset, "as_of": snapshot.as_of, "counts": snapshot.counts, "boundaries": to_data(snapshot.boundaries)},
        tables=dict(snapshot.tables),
        views={view.name: view.version for view in bundle.plan.views},
        events=events,
    )  # fmt: skip


def _view_rows(wiring: Wiring, view: View, schema: Schema, record: PredictionRecord) -> list[dict[str, Any]]:
    """Return the stored rows of the row's own entity that any window of the view can see, as plain values."""
    if any(record.request.get(column) is None for column in view.entity.key):
        return []
    assert schema.event_time is not None
    when = schema.event_time.name
    bounds = [measure.window.bounds(record.t_us) for measure in view.measures]
    time = pl.Datetime("us", "UTC")
    where = (pl.col(when) >= pl.lit(min(low for low, _ in bounds)).cast(time)) & (
        pl.col(when) < pl.lit(max(high for _, high in bounds)).cast(time)
    )
    for column in view.entity.key:
        where &= pl.col(column) == record.request[column]
    if record.known_batch:
        where &= pl.col(BATCH) <= record.known_batch[0]
    if wiring.lake.version(view.source) is None:
        return []
    found = wiring.lake.read(view.source, where=where)
    return [{name: stored_value(value) for name, value in row.items()} for row in found.iter_rows(named=True)]


def _in_units(request: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """Return a stored row as a person reads it: decimals in their own unit."""
    shown = dict(request)
    for column in schema.columns:
        value = shown.get(column.name)
        if column.is_fixed_point and value is not None:
            shown[column.name] = value / 10 ** (column.scale or 0)
    return shown
