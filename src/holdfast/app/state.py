"""The state a project needs online, and the applier over its stores: what worker and `materialize` share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

import polars as pl

from holdfast.app.wire import Wiring
from holdfast.events.apply import Applier
from holdfast.events.journal import PREDICTION
from holdfast.events.live import digests_by_id
from holdfast.events.logged import APP
from holdfast.events.ports import QUARANTINE, Blob, EventId, History
from holdfast.events.records import Recorder
from holdfast.events.statefold import Get
from holdfast.features.online import compile_state, fold, load_plan
from holdfast.features.ports import OnlineWriter
from holdfast.features.tile import StatePlan
from holdfast.features.view import View
from holdfast.kernel.errors import HoldfastError, UsageError
from holdfast.kernel.schema import Schema
from holdfast.kernel.time import DAY, format_instant
from holdfast.project.compiled import CompiledProject
from holdfast.serving.frames import records_frame
from holdfast.serving.ports import PREDICTIONS

LOGGER = logging.getLogger("holdfast.worker")

REMEMBER_US = 40 * DAY
"""How long ids are remembered online."""
KEPT_VERSIONS = 8
"""Latest versions of a model whose views are kept online, so that a deployment builds nothing."""
_LIVE_STATES = ("champion", "retired", "approved", "registered", "barred")


def demand_past(wiring: Wiring, as_of: int | None) -> None:
    """Refuse an instant of knowledge that is not over: outcomes that may still arrive would count as absent.

    Raises
    ------
    UsageError
        If it is after the clock.
    """
    if as_of is not None and as_of > (now := wiring.clock.now_us()):
        raise UsageError(
            f"--as-of {format_instant(as_of)} is not over yet: it is {format_instant(now)}.",
            hint="outcomes may still arrive until then",
        )


def settled_in_lake(wiring: Wiring) -> int:
    """Return the batch up to which the lake has everything; loads without a worker are not noted as such."""
    logged = wiring.batch_log.read()
    settled = logged.settled
    applied: dict[str, int] = {}
    for batch in logged.batches:
        if batch.number <= settled:
            continue
        tables = [t for t, staged in ((QUARANTINE, batch.refused), (batch.source, batch.staged)) if staged]
        for table in tables:
            if table not in applied:
                applied[table] = wiring.lake.applied(table, app=APP) or 0
        if batch.journal is not None or any(applied[table] < batch.number for table in tables):
            break
        settled = batch.number
    return settled


def wanted_state(wiring: Wiring, project: CompiledProject) -> StatePlan:
    """Return the plan of the views of the definition and of the latest versions of each model."""
    schemas = {name: source.schema for name, source in project.sources.items()}
    views = [view for view in project.views.values() if _can_be_kept(view, schemas)]
    for model in project.models:
        versions = [v for v in wiring.registry.list_versions(model) if v.state in _LIVE_STATES]
        in_use = [v for v in versions if v.state == "champion"]
        for version in {v.number: v for v in (*in_use, *versions[-KEPT_VERSIONS:])}.values():
            try:
                plan = wiring.feature_plan(version)
            except HoldfastError as error:
                LOGGER.warning("%s is left out of the online state: %s", version.name, error.problem.message)
                continue
            views += [view for view in plan.views if _can_be_kept(view, schemas)]
    return compile_state(views, schemas)


def _can_be_kept(view: View, schemas: Mapping[str, Schema]) -> bool:
    """Whether the project still has what a view reads."""
    schema = schemas.get(view.source)
    if schema is None or schema.event_time is None:
        return False
    reads = {*view.entity.key, *(m.column for m in view.measures if m.column)}
    reads |= {name for m in view.measures if m.where is not None for name in m.where.columns()}
    return reads <= set(schema.names)


def make_applier(wiring: Wiring, project: CompiledProject, online: OnlineWriter) -> Applier:
    """Return the applier of the project, not entered yet; its folds follow the generation's own plan."""
    return Applier(
        list(project.sources.values()),
        lake=wiring.lake,
        log=wiring.batch_log,
        journals=wiring.journals,
        online=online,
        staging=wiring.staging,
        clock=wiring.clock,
        fold=folder_of(load_plan(online.plan)),
        recorders={PREDICTION: Recorder(PREDICTIONS, records_frame)},
        hand_over=wiring.hand_over,
        fixed_point_bounded={name: project.fixed_point_columns(name) for name in project.sources},
        remember_us=REMEMBER_US,
    )


def folder_of(plan: StatePlan) -> _Folder:
    """Return `fold` with its plan bound."""
    return _Folder(plan)


class _Folder:
    def __init__(self, plan: StatePlan) -> None:
        self.plan = plan

    def __call__(
        self, source: str, rows: pl.DataFrame, get: Get, history: History | None = None, /
    ) -> Mapping[bytes, Blob]:
        return fold(self.plan, source, rows, get, history)


def remembered_of(wiring: Wiring, project: CompiledProject) -> partial[Mapping[EventId, bytes]]:
    """Return what tells the ids of rows that are remembered online."""
    since = (wiring.clock.now_us() - REMEMBER_US) // DAY
    return partial(_remembered, project, since)


def _remembered(
    project: CompiledProject, since: int, source: str, rows: pl.DataFrame
) -> Mapping[EventId, bytes]:
    return digests_by_id(source, project.sources[source].schema, rows, since)


def kept_sources(project: CompiledProject) -> Sequence[str]:
    """Return the names of all sources."""
    return list(project.sources)
