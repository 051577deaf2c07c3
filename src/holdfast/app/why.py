"""Why: from one prediction back to the approver, the run, the dataset, the features and the events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from holdfast.app.outcomes import Explanation
from holdfast.app.wire import Wiring
from holdfast.datasets.spine import event_id_of, event_time_of
from holdfast.events.source import BATCH
from holdfast.features.materialize import within
from holdfast.features.view import View
from holdfast.kernel.errors import DeterminismError, NotFoundError, UsageError
from holdfast.kernel.ids import short, to_data
from holdfast.kernel.schema import Schema
from holdfast.registry.lookup import get_run, get_version
from holdfast.serving.explain import explain
from holdfast.serving.frames import BOUNDED_BY_BATCH
from holdfast.serving.ports import PREDICTIONS
from holdfast.serving.record import PredictionRecord, from_row, stored_value

_LEAST = 6  # characters of an id that name one prediction in practice
_ANSWER = (
    "prediction_id",
    "attempt",
    "model",
    "version",
    "t_us",
    "known_at_us",
    "known_batch",
    "score",
    "decision",
    "step",
    "exposure",
    "runtime",
    "missing",
    "answered_us",
)
_RUN = ("id", "seed", "code", "environment", "facts", "params", "started_us", "author")


def find_record(
    wiring: Wiring, prediction_id: str, version: int | None = None
) -> tuple[PredictionRecord, bool]:
    """Return the last attempt at a prediction, by its id or its beginning, and whether it is marked inexact.

    Parameters
    ----------
    version : whose answer; by default the last one

    Raises
    ------
    NotFoundError
        If no record begins with it, or this version has none.
    UsageError
        If several do, or it is too short.
    """
    if len(prediction_id or "") < _LEAST:
        hint = f"give at least {_LEAST} characters"
        raise UsageError(f"{prediction_id!r} is too short for an id.", hint=hint)
    rows = pl.DataFrame()
    if wiring.lake.version(PREDICTIONS) is not None:
        rows = wiring.lake.read(PREDICTIONS, where=pl.col("prediction_id").str.starts_with(prediction_id))
    if rows.height == 0:
        hint = "`holdfast predict` prints ids; so does every answer, found here some seconds later"
        raise NotFoundError(f"no prediction has the id {prediction_id!r}.", hint=hint)
    ids = rows["prediction_id"].unique().sort().to_list()
    if len(ids) > 1:
        message = f"{prediction_id!r} begins {len(ids)} ids."
        raise UsageError(message, has=ids[:5], hint="give more characters")
    if version is not None:
        names = [
            f"{model}@{n}" for model, n in rows.select("model", "version").unique().sort(pl.all()).rows()
        ]
        rows = rows.filter(pl.col("version") == version)
        if rows.height == 0:
            raise NotFoundError(f"version {version} did not answer {ids[0]}.", has=names)
    row = rows.sort("answered_us", "version", "attempt").row(-1, named=True)
    return from_row(row), bool(row.get("inexact"))


def explain_prediction(wiring: Wiring, prediction_id: str, number: int | None = None) -> Explanation:
    """Walk from one prediction back to everything that led to it, and recompute its features."""
    record, inexact = find_record(wiring, prediction_id, number)
    registry = wiring.registry
    version = get_version(registry, record.model, record.version)
    if record.bundle != version.bundle:
        raise DeterminismError(
            f"{record.prediction_id} was answered by bundle {short(record.bundle, 12)}, "
            f"but {version.name} is bundle {short(version.bundle, 12)}.",
            at=f"{PREDICTIONS}.{record.prediction_id}",
        )
    bundle = wiring.open_version(version)
    rows: dict[str, dict[Any, dict[str, Any]]] = {}
    events: dict[str, dict[str, int]] = {}
    for view in bundle.plan.views:
        schema = bundle.plan.sources[view.source]
        target = bundle.plan.time_of(view)
        at = record.t_us if target is None else int(record.request[target])
        found = _view_rows(wiring, view, schema, record, at)
        names = (event_time_of(schema), event_id_of(schema)) if schema.event_id else schema.names
        keyed = {tuple(row[name] for name in names): row for row in found}
        rows.setdefault(view.source, {}).update(keyed)  # views of a source share rows
        if found:
            batches = [row[BATCH] for row in found]
            events[view.name] = {
                "rows": len(found),
                "first_batch": min(batches),
                "last_batch": max(batches),
            }
    evidence = explain(record, bundle, {name: list(found.values()) for name, found in rows.items()})
    snapshot = wiring.snapshots.load(version.dataset).recipe
    run = get_run(registry, version.run).payload
    approvals = registry.list_approvals(record.model, record.version)
    answer = _fields(record, _ANSWER) | {"inexact": inexact}
    if record.known_at_us == BOUNDED_BY_BATCH:
        answer["known_at_us"] = None
    return Explanation(
        answer=answer,
        recomputed={"score": evidence.score, "decision": evidence.decision},
        request=_in_units(record.request, bundle.plan.schema),
        features=evidence.features,
        base=evidence.base,
        version={
            **_fields(version, ("name", "state", "author", "bundle", "created_us")),
            "approvals": [to_data(approval) for approval in approvals],
        },
        run={key: run.get(key) for key in _RUN},
        dataset={
            "id": version.dataset,
            "as_of": snapshot.as_of,
            "counts": snapshot.counts,
            "boundaries": to_data(snapshot.boundaries),
        },
        tables=dict(snapshot.tables),
        views={view.name: view.version for view in bundle.plan.views},
        events=events,
    )


def _fields(noun: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: to_data(getattr(noun, name)) for name in names}


def _view_rows(
    wiring: Wiring, view: View, schema: Schema, record: PredictionRecord, at: int
) -> list[dict[str, Any]]:
    """Return the stored rows of the row's own entity that any window of the view can see, as plain values.

    What supersedes an event is among them, whosever it is.
    """
    if any(record.request.get(column) is None for column in view.entity.key):
        return []
    where = within([view], schema, at, at)
    for column in view.entity.key:
        where &= pl.col(column) == record.request[column]
    if schema.supersedes is not None:
        where |= pl.col(schema.supersedes.name).is_not_null()
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
