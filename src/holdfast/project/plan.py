"""Plans: what applying a definition would change, compared with the recorded one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.features.view import View
from holdfast.kernel.ids import fingerprint, short
from holdfast.kernel.schema import Schema
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
    """All changes, and the fingerprints they lead from and to."""

    project: str
    before: str | None
    after: str
    changes: tuple[Change, ...]

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
    ("source", "sources"), ("table", "tables"), ("view", "views"), ("spine", "grids"),
    ("features", "feature_sets"), ("model", "models"), ("release", "releases"),
)  # fmt: skip


def _describe(kind: str, project: CompiledProject, name: str) -> tuple[str, ...]:
    if kind == "source":
        source = project.sources[name]
        basis = {"column": "arrival from a column", "assumed": "arrival assumed", None: "live only"}
        if source.history_basis == "assumed":
            return (f"{len(source.schema.columns)} columns, arrival assumed {format_duration(source.known_after or 0)} after the event",)
        return (f"{len(source.schema.columns)} columns, {basis[source.history_basis]}",)
    if kind == "view":
        view = project.views[name]
        return (f"{view.version}: {len(view.measures)} features per {view.entity.name} from {view.source}", _used_by(project, name))
    if kind == "features":
        chosen = project.feature_sets[name]
        return (f"{len(chosen.features)} features per row of {chosen.spine}",)
    if kind == "model":
        model = project.models[name]
        return (f"{len(project.feature_sets[model.features].features)} features, label {model.label.source} "
                f"after {format_duration(model.label.horizon)}",)  # fmt: skip
    if kind == "release":
        release = project.releases[name]
        gates = "; ".join(gate.describe() for gate in release.gates)
        approval = "no approval" if release.approval is None else f"approval by {release.approval.role}"
        return (f"gates {gates or 'none'}", approval)
    return ()


def _used_by(project: CompiledProject, view: str) -> str:
    users = [m.name for m in project.models.values() if view in project.feature_sets[m.features].views]
    return f"used by {', '.join(users)}" if users else "used by no model"


def _compare(kind: str, old: CompiledProject, new: CompiledProject, name: str) -> tuple[tuple[str, ...], bool]:
    if kind == "source":
        notes, breaking = schema_changes(old.sources[name].schema, new.sources[name].schema)
        for what in ("lateness", "known_after"):
            if getattr(old.sources[name], what) != getattr(new.sources[name], what):
                notes.append(f"{what} changed; rows already stored keep theirs")
        return tuple(notes), breaking
    if kind == "view":
        a, b = old.views[name], new.views[name]
        return (f"{short(a.fingerprint)} -> {short(b.fingerprint)}: {_measures(a, b)}", _used_by(new, name)), False
    if kind == "features":
        before = {f.name: f for f in old.feature_sets[name].features}
        after = {f.name: f for f in new.feature_sets[name].features}
        return (_names(before, after), "registered versions keep the features they were trained on"), False
    return (), False


def _names(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    parts = [f"+{n}" for n in after if n not in before] + [f"-{n}" for n in before if n not in after]
    parts += [f"~{n}" for n in after if n in before and before[n] != after[n]]
    return ", ".join(parts) or "order or inputs changed"


def _measures(before: View, after: View) -> str:
    return _names({m.name: m for m in before.measures}, {m.name: m for m in after.measures})


def schema_changes(before: Schema, after: Schema) -> tuple[list[str], bool]:
    """Return what changed between two schemas, in words, and whether stored rows no longer fit."""
    notes: list[str] = []
    breaking = False
    for column in after.columns:
        old = before.find(column.name)
        if old is None:
            kind = "optional" if column.nullable else "required"
            notes.append(f"+ {column.name} ({kind})")
            breaking |= not column.nullable
        elif old != column:
            stored = (old.type, old.scale) != (column.type, column.scale) or old.role != column.role
            stricter = old.nullable and not column.nullable
            breaking |= stored or stricter
            notes.append(f"~ {column.name}" + (": stored differently" if stored else ": required now" if stricter else ""))
    notes += [f"- {column.name}" for column in before.columns if after.find(column.name) is None]
    notes.append("not backward compatible" if breaking else "backward compatible")
    return notes, breaking
