"""Plans: what applying a definition would change, compared with the recorded one."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, fields
from typing import Any, Literal

from holdfast.kernel.errors import Problem
from holdfast.kernel.ids import fingerprint, short
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import format_duration
from holdfast.project.compiled import CompiledProject

Action = Literal["add", "change", "remove"]


@dataclass(frozen=True, slots=True)
class Change:
    """One node that would be added, changed or removed.

    Attributes
    ----------
    notes : what it means, in words
    breaking : stored data or registered models no longer fit
    """

    action: Action
    kind: str
    name: str
    notes: tuple[str, ...] = ()
    breaking: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, and the fingerprints they lead from and to.

    Attributes
    ----------
    refused : sources whose stored rows do not fit, so that applying would be refused
    warnings : what `validate` warns of
    """

    project: str
    before: str | None
    after: str
    changes: tuple[Change, ...]
    refused: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to apply."""
        return self.before == self.after

    def count(self, action: Action) -> int:
        """Return how many nodes get this action."""
        return sum(change.action == action for change in self.changes)


def make_plan(before: CompiledProject | None, after: CompiledProject) -> Plan:
    """Compare two compiled projects node by node; None before means nothing is recorded."""
    old = before or CompiledProject(after.name)
    changes: list[Change] = []
    for kind, attribute in _KINDS:
        have: Mapping[str, Any] = getattr(old, attribute)
        want: Mapping[str, Any] = getattr(after, attribute)
        for name in want:
            if name not in have:
                changes.append(Change("add", kind, name, _describe(kind, after, name)))
            elif fingerprint(have[name]) != fingerprint(want[name]):
                notes, breaking = _compare(kind, old, after, name)
                changes.append(Change("change", kind, name, notes, breaking))
        for name in have:
            if name not in want:
                notes = ("its stored events stay in the lake",) if kind == "source" else ()
                changes.append(Change("remove", kind, name, notes))
    about = ("owner", "people", "objectives")
    if before is not None and any(getattr(old, a) != getattr(after, a) for a in about):
        changed = [a for a in about if getattr(old, a) != getattr(after, a)]
        changes.append(Change("change", "project", after.name, (", ".join(changed),)))
    return Plan(after.name, None if before is None else before.fingerprint, after.fingerprint, tuple(changes))


_KINDS = (
    ("source", "sources"),
    ("table", "tables"),
    ("view", "views"),
    ("spine", "grids"),
    ("features", "feature_sets"),
    ("model", "models"),
    ("release", "releases"),
)


def _describe(kind: str, project: CompiledProject, name: str) -> tuple[str, ...]:
    """Return what a new node is, in words."""
    match kind:
        case "source":
            source = project.sources[name]
            arrival = {
                "column": "arrival from a column",
                "assumed": f"arrival assumed {format_duration(source.known_after or 0)} after the event",
            }
            basis = arrival.get(source.history_basis or "", "live only")
            return (f"{_count(source.schema.columns, 'column')}, {basis}",)
        case "view":
            view = project.views[name]
            what = f"{_count(view.measures, 'feature')} per {view.entity.name} from {view.source}"
            return (f"{view.version}: {what}", _used_by(project, name))
        case "features":
            chosen = project.feature_sets[name]
            return (f"{_count(chosen.features, 'feature')} per row of {chosen.spine}",)
        case "model":
            model = project.models[name]
            features = _count(project.feature_sets[model.features].features, "feature")
            horizon = format_duration(model.label.horizon)
            return (f"{features}, label {model.label.source} after {horizon}",)
        case "release":
            release = project.releases[name]
            gates = "; ".join(gate.describe() for gate in release.gates)
            approval = "no approval" if release.approval is None else f"approval by {release.approval.role}"
            return (f"gates {gates or 'none'}", approval)
        case _:
            return ()


def _count(items: Sized, noun: str) -> str:
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def _used_by(project: CompiledProject, view: str) -> str:
    users = [m.name for m in project.models.values() if view in project.feature_sets[m.features].views]
    return f"used by {', '.join(users)}" if users else "used by no model"


def _compare(
    kind: str, old: CompiledProject, new: CompiledProject, name: str
) -> tuple[tuple[str, ...], bool]:
    """Return what changed in a node, in words, and whether stored rows no longer fit."""
    match kind:
        case "source":
            notes, breaking = schema_changes(old.sources[name].schema, new.sources[name].schema)
            for what in ("lateness", "known_after"):
                if getattr(old.sources[name], what) != getattr(new.sources[name], what):
                    notes.append(f"{what} changed; rows already stored keep theirs")
            return tuple(notes), breaking
        case "view":
            a, b = old.views[name], new.views[name]
            measures = _names({m.name: m for m in a.measures}, {m.name: m for m in b.measures})
            change = f"{short(a.fingerprint)} -> {short(b.fingerprint)}: {measures}"
            return (change, _used_by(new, name)), False
        case "features":
            before = {f.name: f for f in old.feature_sets[name].features}
            after = {f.name: f for f in new.feature_sets[name].features}
            kept = "registered versions keep the features they were trained on"
            return (_names(before, after), kept), False
        case "model":
            return (_fields(old.models[name], new.models[name]),), False
        case "release":
            return (_fields(old.releases[name], new.releases[name]),), False
        case _:
            return (), False


def _names(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    parts = [f"+{n}" for n in after if n not in before] + [f"-{n}" for n in before if n not in after]
    parts += [f"~{n}" for n in after if n in before and before[n] != after[n]]
    return ", ".join(parts) or "order or inputs changed"


def _fields(before: Any, after: Any) -> str:
    return ", ".join(f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name))


def schema_changes(before: Schema, after: Schema) -> tuple[list[str], bool]:
    """Return what changed between two schemas, in words, and whether stored rows no longer fit."""
    notes: list[str] = []
    breaking = False
    for column in after.columns:
        old = before.find(column.name)
        if old is None:
            notes.append(f"+ {column.name} ({'optional' if column.nullable else 'required'})")
            breaking |= not column.nullable
        elif old != column:
            how = _fit(old, column)
            notes.append(f"~ {column.name}{how}")
            breaking |= how != ""
    notes += [f"- {column.name}" for column in before.columns if after.find(column.name) is None]
    if notes:
        notes.append("not backward compatible" if breaking else "backward compatible")
    return notes, breaking


def _fit(old: Column, new: Column) -> str:
    """Return why stored values do not fit a changed column, or an empty text."""
    if (old.type, old.scale, _stored_role(old)) != (new.type, new.scale, _stored_role(new)):
        return ": stored differently"
    return ": required now" if old.nullable and not new.nullable else ""


def _stored_role(column: Column) -> str:
    """Return the role as rows know it: what is known later is stored as any other value."""
    return "value" if column.role == "known_later" else column.role
