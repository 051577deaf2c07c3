"""The definition that was applied, and what it says of serving; loads nothing that computes."""

from __future__ import annotations

from holdfast.app.wire import Wiring
from holdfast.kernel.errors import RefusedError
from holdfast.kernel.ids import from_data
from holdfast.project.compiled import CompiledProject
from holdfast.registry.ports import Definition


def applied_definition(wiring: Wiring) -> Definition:
    """Return the definition that was applied last; processes that serve never run ``project.py``.

    Raises
    ------
    RefusedError
        If nothing was applied yet (HF404).
    """
    found = None
    if wiring.has_metadata():
        registry = wiring.registry
        entry = registry.last_entry("apply")
        found = None if entry is None else registry.current_definition(entry.subject)
    if found is None:
        raise RefusedError("this project was not applied yet.", code="HF404", hint="run `holdfast apply`")
    return found


def applied_project(wiring: Wiring) -> CompiledProject:
    """Return the project of `applied_definition`, which raises like it."""
    return from_data(CompiledProject, applied_definition(wiring).plan)


def served_models(project: CompiledProject) -> list[str]:
    """Return the models whose rows are events; those over a grid are for batches only."""
    return [
        name
        for name, model in project.models.items()
        if project.feature_sets[model.features].spine in project.sources
    ]


def live_sources(project: CompiledProject) -> list[str]:
    """Return the sources that take events one by one: those whose schema names an id and a time."""
    return [
        name
        for name, source in project.sources.items()
        if source.schema.event_id is not None and source.schema.event_time is not None
    ]
