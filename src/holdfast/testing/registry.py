"""A registry in memory, for tests and for reading: the contract in its shortest form."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.kernel.errors import ConflictError
from holdfast.registry.alias import Alias, AliasName, advance
from holdfast.registry.approval import Approval
from holdfast.registry.ledger import Entry, json_text, next_entry
from holdfast.registry.lookup import get_run, get_version
from holdfast.registry.ports import Definition, RunRecord
from holdfast.registry.version import ModelVersion, State


@dataclass(frozen=True, slots=True)
class _Tables:
    """Everything that is stored. Records are never altered, only replaced, so a copy may share them."""

    runs: dict[str, RunRecord] = field(default_factory=dict)
    versions: dict[tuple[str, int], ModelVersion] = field(default_factory=dict)
    aliases: dict[tuple[str, str], Alias] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)
    definitions: dict[str, Definition] = field(default_factory=dict)
    history: list[Entry] = field(default_factory=list)

    def copy(self) -> _Tables:
        return _Tables(
            self.runs.copy(),
            self.versions.copy(),
            self.aliases.copy(),
            self.approvals.copy(),
            self.definitions.copy(),
            self.history.copy(),
        )


class _View:
    """Reading from the tables."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables

    def find_run(self, run_id: str) -> RunRecord | None:
        """Return a run as last saved."""
        return self._tables.runs.get(run_id)

    def list_runs(self, model: str | None = None) -> list[RunRecord]:
        """Return the runs of a model, or all, in the order of their first save."""
        return [run for run in self._tables.runs.values() if model in (None, run.model)]

    def find_version(self, model: str, number: int) -> ModelVersion | None:
        """Return a version."""
        return self._tables.versions.get((model, number))

    def list_versions(self, model: str | None = None) -> list[ModelVersion]:
        """Return the versions of a model, or all, by model and number."""
        return [found for key, found in sorted(self._tables.versions.items()) if model in (None, key[0])]

    def find_alias(self, model: str, name: AliasName) -> Alias | None:
        """Return an alias; None where it was never set."""
        return self._tables.aliases.get((model, name))

    def list_approvals(self, model: str, number: int) -> list[Approval]:
        """Return the approvals of a version, oldest first."""
        return [given for given in self._tables.approvals if (given.model, given.number) == (model, number)]

    def current_definition(self, project: str) -> Definition | None:
        """Return the definition recorded last."""
        return self._tables.definitions.get(project)

    def list_entries(self, subject: str | None = None, *, after: int = 0) -> list[Entry]:
        """Return the history by sequence: of exactly that subject, or all, later than sequence `after`."""
        return [entry for entry in self._tables.history[after:] if subject in (None, entry.subject)]

    def last_entry(self, action: str) -> Entry | None:
        """Return the latest entry of the history with that action."""
        return next((entry for entry in reversed(self._tables.history) if entry.action == action), None)


class MemoryRegistry(_View):
    """A registry that dies with its process; otherwise it keeps the contract of `RegistryStore`."""

    def __init__(self) -> None:
        super().__init__(_Tables())
        self._turn = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[MemoryWork]:
        """Begin a unit of work; it is stored at the end of the block, or dropped if the block raises."""
        with self._turn:
            work = MemoryWork(self._tables.copy())
            yield work
            self._tables = work._tables


class MemoryWork(_View):
    """One transaction of a `MemoryRegistry`; keeps the contract of `RegistryWork`."""

    def save_run(self, run_id: str, model: str, payload: Mapping[str, Any]) -> None:
        """Store what is known of a run, replacing what was known before."""
        known = self.find_run(run_id)
        if known is not None and known.model != model:
            raise ConflictError(f"run `{run_id}` is of model `{known.model}`, not `{model}`.", at=run_id)
        plain = json.loads(json_text(payload, f"run `{run_id}`"))
        self._tables.runs[run_id] = RunRecord(run_id, model, plain)

    def add_version(
        self, *, model: str, bundle: str, run: str, dataset: str, author: str, created_us: int
    ) -> tuple[ModelVersion, bool]:
        """Store a version under the next number of its model and return it with True."""
        get_run(self, run)
        stored = self.list_versions(model)
        for version in stored:
            if (version.bundle, version.run) == (bundle, run):
                return version, False
        version = ModelVersion(model, len(stored) + 1, bundle, run, dataset, author, created_us)
        self._tables.versions[model, version.number] = version
        return version, True

    def set_state(self, model: str, number: int, state: State) -> None:
        """Change the state of a version."""
        self._tables.versions[model, number] = replace(get_version(self, model, number), state=state)

    def compare_and_set(
        self, model: str, name: AliasName, version: int | None, expected_revision: int
    ) -> Alias:
        """Point an alias at a version if it is at that revision; return it as it is now."""
        if version is not None:
            get_version(self, model, version)
        moved = advance(self.find_alias(model, name), model, name, version, expected_revision)
        self._tables.aliases[model, name] = moved
        return moved

    def add_approval(self, approval: Approval) -> bool:
        """Store an approval; False where this person approved this version in this role before."""
        get_version(self, approval.model, approval.number)
        given = self.list_approvals(approval.model, approval.number)
        if any((known.by, known.role) == (approval.by, approval.role) for known in given):
            return False
        self._tables.approvals.append(approval)
        return True

    def record_definition(self, definition: Definition) -> bool:
        """Store a definition as the current one; False where it is the current one already."""
        current = self.current_definition(definition.project)
        if current is not None and current.fingerprint == definition.fingerprint:
            return False
        plain = json.loads(json_text(definition.plan, "the plan"))
        self._tables.definitions[definition.project] = replace(definition, plan=plain)
        return True

    def append(
        self, *, at_us: int, actor: str, action: str, subject: str, reason: str, evidence: Mapping[str, Any]
    ) -> Entry:
        """Append to the history, chained to the last entry."""
        last = self._tables.history[-1] if self._tables.history else None
        entry = next_entry(
            last, at_us=at_us, actor=actor, action=action, subject=subject, reason=reason, evidence=evidence
        )
        self._tables.history.append(entry)
        return entry
