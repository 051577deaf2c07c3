"""The registry on SQLAlchemy Core: each method is a statement or two of portable SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Executable,
    MetaData,
    Result,
    Table,
    Text,
    insert,
    inspect,
    select,
    update,
)

from holdfast.adapters.sql.engine import as_writer, open_engine, place, sqlite_file, translated
from holdfast.adapters.sql.tables import (
    REVISIONS,
    aliases,
    approvals,
    definitions,
    history,
    runs,
    versions,
)
from holdfast.kernel.errors import ConflictError, ContractError, UsageError
from holdfast.kernel.ids import from_data, to_data
from holdfast.registry.alias import Alias, AliasName, advance
from holdfast.registry.approval import Approval
from holdfast.registry.ledger import Entry, json_text, next_entry
from holdfast.registry.lookup import get_run, get_version
from holdfast.registry.ports import Definition, RunRecord
from holdfast.registry.version import ModelVersion, State

_MIGRATIONS = Path(__file__).with_name("migrations")
_revision = Table("alembic_version", MetaData(), Column("version_num", Text))

T = TypeVar("T")
Row = dict[str, Any]


class _View:
    """Reading, by whatever means `_read` has."""

    def _read(self, statement: Executable) -> list[Row]:
        raise NotImplementedError

    def find_run(self, run_id: str) -> RunRecord | None:
        """Return a run as last saved."""
        return _first(map(_run, self._read(select(runs).where(runs.c.id == run_id))))

    def list_runs(self, model: str | None = None) -> list[RunRecord]:
        """Return the runs of a model, or all, in the order of their first save."""
        statement = select(runs).order_by(runs.c.position)
        if model is not None:
            statement = statement.where(runs.c.model == model)
        return [_run(row) for row in self._read(statement)]

    def find_version(self, model: str, number: int) -> ModelVersion | None:
        """Return a version."""
        statement = select(versions).where(versions.c.model == model, versions.c.number == number)
        return _first(from_data(ModelVersion, row) for row in self._read(statement))

    def list_versions(self, model: str | None = None) -> list[ModelVersion]:
        """Return the versions of a model, or all, by model and number."""
        statement = select(versions)
        if model is not None:
            statement = statement.where(versions.c.model == model)
        found = (from_data(ModelVersion, row) for row in self._read(statement))
        return sorted(found, key=lambda version: (version.model, version.number))

    def find_alias(self, model: str, name: AliasName) -> Alias | None:
        """Return an alias; None where it was never set."""
        statement = select(aliases).where(aliases.c.model == model, aliases.c.name == name)
        return _first(from_data(Alias, row) for row in self._read(statement))

    def list_approvals(self, model: str, number: int) -> list[Approval]:
        """Return the approvals of a version, oldest first."""
        columns = [column for column in approvals.c if column.name != "position"]
        where = approvals.c.model == model, approvals.c.number == number
        statement = select(*columns).where(*where).order_by(approvals.c.position)
        return [from_data(Approval, row) for row in self._read(statement)]

    def current_definition(self, project: str) -> Definition | None:
        """Return the definition recorded last."""
        statement = (
            select(definitions)
            .where(definitions.c.project == project)
            .order_by(definitions.c.position.desc())
            .limit(1)
        )
        return _first(
            Definition(row["project"], row["fingerprint"], json.loads(row["plan"]))
            for row in self._read(statement)
        )

    def list_entries(self, subject: str | None = None, *, after: int = 0) -> list[Entry]:
        """Return the history by sequence: of exactly that subject, or all, later than sequence `after`."""
        statement = select(history).where(history.c.sequence > after).order_by(history.c.sequence)
        if subject is not None:
            statement = statement.where(history.c.subject == subject)
        return [_entry(row) for row in self._read(statement)]

    def last_entry(self, action: str) -> Entry | None:
        """Return the latest entry of the history with that action."""
        statement = (
            select(history).where(history.c.action == action).order_by(history.c.sequence.desc()).limit(1)
        )
        return _first(map(_entry, self._read(statement)))


class SqlRegistry(_View):
    """A registry in the database of a URL; keeps the contract of `RegistryStore`.

    Parameters
    ----------
    url : such as ``sqlite:///.holdfast/meta.db``

    Notes
    -----
    Making one connects to nothing. Threads may share it; a process forked later makes its own.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._writer = as_writer(self._engine)
        self._ready = False

    def pending(self) -> tuple[str, ...]:
        """Return the revisions that `upgrade` would apply, oldest first; changes no table.

        Raises
        ------
        ConflictError
            If the database was written by a newer version of holdfast (HF304).
        """
        file = sqlite_file(self._engine)
        if file is not None and not file.exists():
            return tuple(REVISIONS)
        with translated(self._engine), self._engine.connect() as connection:
            return self._lacking(connection)

    def upgrade(self) -> tuple[str, ...]:
        """Bring the database to the latest revision, whole or not at all; return what was applied.

        The file and its folder are made where there are none. Any number of processes may do so at once.
        """
        from alembic import command
        from alembic.config import Config

        file = sqlite_file(self._engine)
        with translated(self._engine):
            if file is not None:
                self._make_folder(file)
            with self._writer.begin() as connection:
                lacking = self._lacking(connection)
                if lacking:
                    config = Config(attributes={"connection": connection})
                    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
                    command.upgrade(config, "head")
        self._ready = True
        return lacking

    @contextmanager
    def transaction(self) -> Iterator[SqlWork]:
        """Begin a unit of work; it is stored at the end of the block, or dropped if the block raises."""
        self._demand_ready()
        with translated(self._engine), self._writer.begin() as connection:
            yield SqlWork(connection)

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def _read(self, statement: Executable) -> list[Row]:
        self._demand_ready()
        with translated(self._engine), self._engine.connect() as connection:
            return _rows(connection.execute(statement))

    def _demand_ready(self) -> None:
        """Look once whether the stored format is the one this code knows."""
        if self._ready:
            return
        lacking = self.pending()
        if lacking:
            new = len(lacking) == len(REVISIONS)
            raise UsageError(
                "the registry is not made yet." if new else "the registry has an older format.",
                at=place(self._engine),
                has=[f"pending {revision}: {REVISIONS[revision]}" for revision in lacking],
                hint="`holdfast apply` brings it up to date",
            )
        self._ready = True

    def _lacking(self, connection: Connection) -> tuple[str, ...]:
        known = list(REVISIONS)
        if not inspect(connection).has_table(_revision.name):
            return tuple(known)
        current = connection.execute(select(_revision.c.version_num)).scalar()
        if current is None:
            return tuple(known)
        if current not in REVISIONS:
            raise ConflictError(
                f"the registry has format {current}, which is newer than this version of holdfast.",
                code="HF304",
                at=place(self._engine),
                has=(f"formats up to {known[-1]}",),
                hint="install the version of holdfast that wrote it, or a later one",
            )
        return tuple(known[known.index(current) + 1 :])

    def _make_folder(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the folder of the registry cannot be made: {error.strerror}.",
                code="HF600",
                at=str(file.parent),
                hint="choose another place: `meta` in holdfast.toml",
            ) from error


class SqlWork(_View):
    """One transaction of a `SqlRegistry`; keeps the contract of `RegistryWork`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _read(self, statement: Executable) -> list[Row]:
        return _rows(self._connection.execute(statement))

    def save_run(self, run_id: str, model: str, payload: Mapping[str, Any]) -> None:
        """Store what is known of a run, replacing what was known before."""
        text, known = json_text(payload, f"run `{run_id}`"), self.find_run(run_id)
        if known is None:
            self._connection.execute(insert(runs).values(id=run_id, model=model, payload=text))
        elif known.model == model:
            self._connection.execute(update(runs).where(runs.c.id == run_id).values(payload=text))
        else:
            raise ConflictError(f"run `{run_id}` is of model `{known.model}`, not `{model}`.", at=run_id)

    def add_version(
        self, *, model: str, bundle: str, run: str, dataset: str, author: str, created_us: int
    ) -> tuple[ModelVersion, bool]:
        """Store a version under the next number of its model and return it with True."""
        get_run(self, run)
        stored = self.list_versions(model)
        for version in stored:
            if (version.bundle, version.run) == (bundle, run):
                return version, False
        number = stored[-1].number + 1 if stored else 1
        version = ModelVersion(model, number, bundle, run, dataset, author, created_us)
        self._connection.execute(insert(versions).values(**to_data(version)))
        return version, True

    def set_state(self, model: str, number: int, state: State) -> None:
        """Change the state of a version."""
        get_version(self, model, number)
        where = versions.c.model == model, versions.c.number == number
        self._connection.execute(update(versions).where(*where).values(state=state))

    def compare_and_set(
        self, model: str, name: AliasName, version: int | None, expected_revision: int
    ) -> Alias:
        """Point an alias at a version if it is at that revision; return it as it is now."""
        if version is not None:
            get_version(self, model, version)
        current = self.find_alias(model, name)
        moved = advance(current, model, name, version, expected_revision)
        if current is None:
            self._connection.execute(insert(aliases).values(**to_data(moved)))
        else:
            where = aliases.c.model == model, aliases.c.name == name
            values = {"version": moved.version, "revision": moved.revision}
            self._connection.execute(update(aliases).where(*where).values(**values))
        return moved

    def add_approval(self, approval: Approval) -> bool:
        """Store an approval; False where this person approved this version in this role before."""
        get_version(self, approval.model, approval.number)
        given = self.list_approvals(approval.model, approval.number)
        if any((known.by, known.role) == (approval.by, approval.role) for known in given):
            return False
        self._connection.execute(insert(approvals).values(**to_data(approval)))
        return True

    def record_definition(self, definition: Definition) -> bool:
        """Store a definition as the current one; False where it is the current one already."""
        current = self.current_definition(definition.project)
        if current is not None and current.fingerprint == definition.fingerprint:
            return False
        values = {**to_data(definition), "plan": json_text(definition.plan, "the plan")}
        self._connection.execute(insert(definitions).values(**values))
        return True

    def append(
        self, *, at_us: int, actor: str, action: str, subject: str, reason: str, evidence: Mapping[str, Any]
    ) -> Entry:
        """Append to the history, chained to the last entry."""
        last = _first(map(_entry, self._read(select(history).order_by(history.c.sequence.desc()).limit(1))))
        entry = next_entry(
            last, at_us=at_us, actor=actor, action=action, subject=subject, reason=reason, evidence=evidence
        )
        values = {**to_data(entry), "evidence": json_text(entry.evidence, "evidence")}
        self._connection.execute(insert(history).values(**values))
        return entry


def _rows(result: Result[Any]) -> list[Row]:
    """Return plain dictionaries; SQLAlchemy's names are texts of a kind of their own."""
    return [{str(name): value for name, value in row._mapping.items()} for row in result]


def _first(found: Iterator[T]) -> T | None:
    return next(iter(found), None)


def _run(row: Row) -> RunRecord:
    return RunRecord(row["id"], row["model"], json.loads(row["payload"]))


def _entry(row: Row) -> Entry:
    try:
        return from_data(Entry, {**row, "evidence": json.loads(row["evidence"])})
    except (ContractError, ValueError) as error:
        raise ContractError(
            f"entry {row['sequence']} of the history cannot be read: {error}.",
            code="HF501",
            at=f"history[{row['sequence']}]",
            hint=f"compare entry {row['sequence']} with a backup",
        ) from error
