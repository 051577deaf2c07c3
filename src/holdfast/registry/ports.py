"""What the registry needs of the world: one store of runs, versions, aliases, approvals, plans and history.

Reading is on the store itself; writing is on the unit of work that `transaction` gives, because a change
and its entry in the history are stored together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.registry.alias import Alias, AliasName
from holdfast.registry.approval import Approval
from holdfast.registry.ledger import Entry
from holdfast.registry.version import ModelVersion, State


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One training run as the registry keeps it: an id, a model, and what training wrote down."""

    id: str
    model: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Definition:
    """The plan of a project as last applied, with its fingerprint."""

    project: str
    fingerprint: str
    plan: dict[str, Any]


class RegistryView(Protocol):
    """Reading. `find_` gives None where there is nothing; lists are in the order they name."""

    def find_run(self, run_id: str) -> RunRecord | None:
        """Return a run as last saved."""
        ...

    def list_runs(self, model: str | None = None) -> list[RunRecord]:
        """Return the runs of a model, or all, in the order of their first save."""
        ...

    def find_version(self, model: str, number: int) -> ModelVersion | None:
        """Return a version."""
        ...

    def list_versions(self, model: str | None = None) -> list[ModelVersion]:
        """Return the versions of a model, or all, by model and number."""
        ...

    def find_alias(self, model: str, name: AliasName) -> Alias | None:
        """Return an alias; None where it was never set."""
        ...

    def list_approvals(self, model: str, number: int) -> list[Approval]:
        """Return the approvals of a version, oldest first."""
        ...

    def current_definition(self, project: str) -> Definition | None:
        """Return the definition recorded last."""
        ...

    def list_entries(self, subject: str | None = None, *, after: int = 0) -> list[Entry]:
        """Return the history by sequence: of exactly that subject, or all, later than sequence `after`."""
        ...

    def last_entry(self, action: str) -> Entry | None:
        """Return the latest entry of the history with that action."""
        ...


class RegistryWork(RegistryView, Protocol):
    """One transaction: it reads its own writes, and all of them become visible at its end, or none."""

    def save_run(self, run_id: str, model: str, payload: Mapping[str, Any]) -> None:
        """Store what is known of a run, replacing what was known before.

        Raises
        ------
        ConflictError
            If the id belongs to a run of another model.
        ContractError
            If the payload is not plain JSON values.
        """
        ...

    def add_version(
        self, *, model: str, bundle: str, run: str, dataset: str, author: str, created_us: int
    ) -> tuple[ModelVersion, bool]:
        """Store a version under the next number of its model and return it with True.

        A version of the same model, bundle and run is returned unchanged with False.

        Raises
        ------
        NotFoundError
            If the run is not stored.
        """
        ...

    def set_state(self, model: str, number: int, state: State) -> None:
        """Change the state of a version; which arrows are legal is the caller's to know.

        Raises
        ------
        NotFoundError
            If there is no such version.
        """
        ...

    def compare_and_set(
        self, model: str, name: AliasName, version: int | None, expected_revision: int
    ) -> Alias:
        """Point an alias at a version (None withdraws it) if it is at that revision; return it as it is now.

        Raises
        ------
        ConflictError
            If it is at another revision (HF301); 0 means it was never set.
        NotFoundError
            If there is no such version.
        """
        ...

    def add_approval(self, approval: Approval) -> bool:
        """Store an approval; False where this person approved this version in this role before.

        Raises
        ------
        NotFoundError
            If there is no such version.
        """
        ...

    def record_definition(self, definition: Definition) -> bool:
        """Store a definition as the current one; False where it is the current one already."""
        ...

    def append(
        self, *, at_us: int, actor: str, action: str, subject: str, reason: str, evidence: Mapping[str, Any]
    ) -> Entry:
        """Append to the history, chained to the last entry by `holdfast.registry.ledger.next_entry`."""
        ...


class RegistryStore(RegistryView, Protocol):
    """The registry of one project.

    Atomicity: a transaction is visible whole or not at all, also when its process is killed inside it.
    Isolation: transactions take effect one after another; one that cannot is refused with ConflictError and
    leaves nothing behind. Of two compare-and-sets that expect one revision, exactly one succeeds.
    Ordering: history has no gaps, and the order of its entries is the order of their transactions.
    Consistency: a read outside a transaction sees every transaction that ended before it, from any process.
    Idempotency: as each method says. Durability: what a transaction stored survives the death of its process.
    Concurrency: threads and processes may share a store; transactions do not nest. History is append-only.
    Each sentence is tested by `holdfast.testing.registry_contract.RegistryStoreContract` or, where it
    takes processes, by the tests of the adapter.
    """

    def transaction(self) -> AbstractContextManager[RegistryWork]:
        """Begin a unit of work; it is stored at the end of the block, or dropped if the block raises.

        Raises
        ------
        UnavailableError
            If the store cannot be reached, or another transaction holds it for too long.
        """
        ...
