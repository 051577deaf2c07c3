import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc

from holdfast.adapters.sql import engine as engines
from holdfast.adapters.sql.registry import SqlRegistry
from holdfast.adapters.sql.tables import REVISIONS, metadata
from holdfast.kernel.errors import ConflictError, ContractError, UnavailableError, UsageError
from holdfast.registry.ledger import verify
from holdfast.registry.ports import RegistryStore
from holdfast.testing.registry_contract import RegistryStoreContract

PRELUDE = """
import os, sys
from holdfast.adapters.sql.registry import SqlRegistry
store = SqlRegistry(sys.argv[1])

def say(word):
    print(word, flush=True)

def add(work, run="r-1"):
    work.save_run(run, "fraud", {})
    return work.add_version(model="fraud", bundle=run, run=run, dataset="d", author="ana", created_us=1)

def note(work):
    return work.append(at_us=1, actor="ana", action="note", subject="fraud@1", reason="test", evidence={})
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "meta.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture
def opened() -> Iterator[Callable[[str], SqlRegistry]]:
    """A way to open stores that are closed at the end."""
    stores: list[SqlRegistry] = []

    def open_store(url: str) -> SqlRegistry:
        stores.append(SqlRegistry(url))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(url: str, opened: Callable[[str], SqlRegistry]) -> SqlRegistry:
    store = opened(url)
    store.upgrade()
    return store


@contextmanager
def by_hand(file: Path) -> Iterator[sqlite3.Connection]:
    """The database as somebody with plain SQLite has it."""
    with closing(sqlite3.connect(file)) as connection, connection:
        yield connection


class Process:
    """A second process with its own store, driven line by line."""

    def __init__(self, url: str, code: str) -> None:
        self.started = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PRELUDE + code, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, word: str = "go") -> None:
        assert self.started.stdin is not None
        self.started.stdin.write(word + "\n")
        self.started.stdin.flush()

    def hear(self) -> str:
        assert self.started.stdout is not None
        return self.started.stdout.readline().strip()

    def end(self) -> int:
        self.started.communicate(timeout=60)
        return self.started.returncode


def fill(store: SqlRegistry, entries: int = 3) -> None:
    with store.transaction() as work:
        work.save_run("r-1", "fraud", {})
        work.add_version(model="fraud", bundle="b", run="r-1", dataset="d", author="ana", created_us=1)
        for step in range(entries):
            work.append(
                at_us=step,
                actor="ana",
                action="note",
                subject="fraud@1",
                reason="test",
                evidence={"step": step},
            )


class TestSqlRegistry(RegistryStoreContract):
    @pytest.fixture
    def store(self, url: str, opened: Callable[[str], SqlRegistry]) -> RegistryStore:
        store = opened(url)
        store.upgrade()
        return store


# ----------------------------------------------------------------------------------------------- revisions


def test_upgrade_from_nothing_makes_folder_file_and_tables(
    url: str, file: Path, opened: Callable[[str], SqlRegistry]
) -> None:
    store = opened(url)

    assert store.upgrade() == tuple(REVISIONS)
    assert store.pending() == ()
    assert store.list_versions() == []
    with by_hand(file) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_upgrade_again_changes_nothing(store: SqlRegistry) -> None:
    fill(store)

    assert store.upgrade() == ()
    assert len(store.list_versions()) == 1


def test_pending_is_a_dry_run(url: str, file: Path, opened: Callable[[str], SqlRegistry]) -> None:
    assert opened(url).pending() == tuple(REVISIONS)
    assert not file.parent.exists()


def test_migrations_build_the_tables_the_code_uses(store: SqlRegistry) -> None:
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_every_revision_is_listed_in_order() -> None:
    script = ScriptDirectory(str(Path(engines.__file__).with_name("migrations")))
    found = {revision.revision: revision.doc.rstrip(".").lower() for revision in script.walk_revisions()}

    assert dict(reversed(found.items())) == REVISIONS


def test_store_that_was_not_upgraded_says_what_is_missing(
    url: str, opened: Callable[[str], SqlRegistry]
) -> None:
    store = opened(url)

    with pytest.raises(UsageError, match="the registry is not made yet") as caught:
        store.list_versions()

    assert caught.value.problem.has == (
        "pending 0001: runs, versions, aliases, approvals, definitions, history",
    )
    assert caught.value.hint == "`holdfast apply` brings it up to date"
    with pytest.raises(UsageError), store.transaction():
        pass


def test_newer_format_is_refused(
    store: SqlRegistry, url: str, file: Path, opened: Callable[[str], SqlRegistry]
) -> None:
    with by_hand(file) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    newer = opened(url)

    for call in (newer.pending, newer.upgrade, newer.list_versions):
        with pytest.raises(ConflictError, match="format 9999, which is newer") as caught:
            call()
        assert caught.value.code == "HF304"


def test_upgrade_killed_half_way_leaves_nothing_behind(
    url: str, file: Path, opened: Callable[[str], SqlRegistry]
) -> None:
    killed = Process(url, "from alembic import op\nop.execute = lambda *_: os._exit(9)\nstore.upgrade()")

    assert killed.end() == 9
    with by_hand(file) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    store = opened(url)
    assert store.upgrade() == tuple(REVISIONS)


def test_processes_may_upgrade_at_once(url: str) -> None:
    code = "say('ready'); sys.stdin.readline(); say(len(store.upgrade()))"
    processes = [Process(url, code) for _ in range(2)]
    for process in processes:
        assert process.hear() == "ready"
    for process in processes:
        process.tell()

    assert sorted(int(process.hear()) for process in processes) == [0, len(REVISIONS)]
    assert [process.end() for process in processes] == [0, 0]


# ------------------------------------------------------------------------------------- several processes


def test_of_two_processes_that_expect_one_revision_one_wins(store: SqlRegistry, url: str) -> None:
    fill(store)
    code = """
from holdfast.kernel.errors import ConflictError
store.list_versions()
say("ready")
for line in sys.stdin:
    try:
        with store.transaction() as work:
            work.compare_and_set("fraud", "champion", 1, int(line))
            note(work)
        say("won")
    except ConflictError as error:
        say(error.code)
"""
    processes = [Process(url, code) for _ in range(2)]
    for process in processes:
        assert process.hear() == "ready"

    for revision in range(20):
        for process in processes:
            process.tell(str(revision))
        assert sorted(process.hear() for process in processes) == ["HF301", "won"]

    assert [process.end() for process in processes] == [0, 0]
    alias = store.find_alias("fraud", "champion")
    assert alias is not None
    assert alias.revision == 20
    assert len(store.list_entries()) == 23
    assert verify(store.list_entries()) is None


def test_of_two_processes_that_deploy_at_once_one_wins(store: SqlRegistry, url: str) -> None:
    code = """
from holdfast.registry.register import deploy
from holdfast.kernel.errors import ConflictError

class Clock:
    def now_us(self):
        return 1

class Waiting:
    def __getattr__(self, name):
        return getattr(store, name)
    def transaction(self):
        say("looked")
        sys.stdin.readline()
        return store.transaction()

try:
    deploy(Waiting(), "fraud", int(sys.stdin.readline()), by="ana", reason="race", policy=None, clock=Clock())
    say("won")
except ConflictError as error:
    say(error.code)
"""
    fill(store)
    with store.transaction() as work:
        work.add_version(model="fraud", bundle="c", run="r-1", dataset="d", author="ana", created_us=1)
    processes = [Process(url, code) for _ in range(2)]
    for number, process in enumerate(processes, start=1):
        process.tell(str(number))
        assert process.hear() == "looked"
    for process in processes:
        process.tell()

    assert sorted(process.hear() for process in processes) == ["HF301", "won"]
    assert [process.end() for process in processes] == [0, 0]
    assert sorted(version.state for version in store.list_versions()) == ["champion", "registered"]


@pytest.mark.parametrize("after", ["add(work)", "add(work); note(work)", "note(work)"])
def test_process_killed_inside_a_transaction_leaves_nothing_behind(
    store: SqlRegistry, url: str, after: str
) -> None:
    code = f"with store.transaction() as work:\n    {after}\n    say('inside')\n    sys.stdin.readline()"
    process = Process(url, code)
    assert process.hear() == "inside"
    process.started.kill()
    process.end()

    assert not any((store.list_runs(), store.list_versions(), store.list_entries()))
    fill(store)
    assert verify(store.list_entries()) is None


def test_process_killed_after_a_transaction_has_stored_it(store: SqlRegistry, url: str) -> None:
    killed = Process(url, "with store.transaction() as work:\n    add(work); note(work)\nos._exit(9)")

    assert killed.end() == 9
    assert len(store.list_versions()) == len(store.list_entries()) == 1


def test_transaction_that_waits_too_long_is_unavailable(
    store: SqlRegistry, url: str, monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], SqlRegistry]
) -> None:
    monkeypatch.setattr(engines, "BUSY_S", 0.05)
    other = opened(url)
    other.list_runs()

    with (
        store.transaction(),
        pytest.raises(UnavailableError, match="database is locked") as caught,
        other.transaction(),
    ):
        pass

    assert caught.value.retryable
    assert "another process has held it" in caught.value.hint


# ------------------------------------------------------------------------------------------------- history


@pytest.mark.parametrize(
    "statement",
    ["UPDATE history SET actor = 'eve' WHERE sequence = 2", "DELETE FROM history WHERE sequence = 3"],
)
def test_history_refuses_to_be_changed(store: SqlRegistry, file: Path, statement: str) -> None:
    fill(store)

    with by_hand(file) as raw, pytest.raises(sqlite3.IntegrityError, match="history is append-only"):
        raw.execute(statement)

    assert len(store.list_entries()) == 3


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE history SET actor = 'eve' WHERE sequence = 2", "history[2]"),
        ("UPDATE history SET evidence = '{\"step\":7}' WHERE sequence = 1", "history[1]"),
        ("UPDATE history SET hash = previous WHERE sequence = 3", "history[3]"),
        ("DELETE FROM history WHERE sequence = 1", "history[1]"),
        ("DELETE FROM history WHERE sequence = 2", "history[2]"),
    ],
)
def test_tampering_behind_the_trigger_breaks_the_chain(
    store: SqlRegistry, file: Path, statement: str, broken: str
) -> None:
    fill(store)
    with by_hand(file) as raw:
        raw.execute("DROP TRIGGER history_refuses_update")
        raw.execute("DROP TRIGGER history_refuses_delete")
        raw.execute(statement)

    problem = verify(store.list_entries())

    assert problem is not None
    assert (problem.code, problem.at) == ("HF501", broken)


def test_entry_that_cannot_be_read_is_named(store: SqlRegistry, file: Path) -> None:
    fill(store)
    with by_hand(file) as raw:
        raw.execute("DROP TRIGGER history_refuses_update")
        raw.execute("UPDATE history SET evidence = '{' WHERE sequence = 2")

    with pytest.raises(ContractError, match="entry 2 of the history cannot be read") as caught:
        store.list_entries()

    assert caught.value.code == "HF501"


def test_foreign_keys_are_enforced(store: SqlRegistry) -> None:
    with pytest.raises(ConflictError, match="FOREIGN KEY"), store.transaction() as work:
        work._connection.exec_driver_sql("INSERT INTO versions VALUES ('m', 1, 'b', 'r', 'd', 'a', 1, 's')")


# -------------------------------------------------------------------------------------------------- errors


def test_damaged_file_is_unavailable_and_left_alone(
    url: str, file: Path, opened: Callable[[str], SqlRegistry]
) -> None:
    file.parent.mkdir()
    file.write_bytes(b"SQLite? no, text." * 100)
    store = opened(url)

    for call in (store.pending, store.upgrade, store.list_versions):
        with pytest.raises(UnavailableError, match="file is not a database") as caught:
            call()
        assert caught.value.code == "HF600"
        assert caught.value.problem.at == str(file)
        assert caught.value.hint == "the file is damaged, or is no registry: restore it from a backup"
    assert file.read_bytes() == b"SQLite? no, text." * 100


def test_file_damaged_in_the_middle_is_unavailable(
    store: SqlRegistry, url: str, file: Path, opened: Callable[[str], SqlRegistry]
) -> None:
    fill(store, entries=200)
    store.close()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * len(content[4096:])
    file.write_bytes(content)
    damaged = opened(url)

    with pytest.raises(UnavailableError, match="malformed"):
        damaged.list_entries()


def test_folder_in_place_of_the_file_is_unavailable(
    url: str, file: Path, opened: Callable[[str], SqlRegistry]
) -> None:
    file.mkdir(parents=True)

    with pytest.raises(UnavailableError, match="unable to open database file") as caught:
        opened(url).list_versions()

    assert "may this user read and write both?" in caught.value.hint


def test_folder_that_cannot_be_made_is_named(
    url: str, file: Path, opened: Callable[[str], SqlRegistry]
) -> None:
    file.parent.write_text("a file")

    with pytest.raises(UsageError, match="the folder of the registry cannot be made"):
        opened(url).upgrade()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "it cannot be in memory"),
        ("sqlite:///:memory:", "it cannot be in memory"),
        ("meta.db", "begins no URL of a database"),
        ("nosuch://host/db", "begins no URL of a database"),
        ("mssql+pymssql://host/db", "the driver `pymssql` of 'mssql\\+pymssql' is not installed"),
    ],
)
def test_url_that_is_none_of_a_database_is_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        SqlRegistry(url)

    assert caught.value.hint


def drivers_errors(kind: type[exc.DBAPIError] = exc.DBAPIError) -> list[type[exc.DBAPIError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in drivers_errors(below))]


@pytest.mark.parametrize("kind", drivers_errors())
def test_every_error_of_a_driver_has_one_of_ours(kind: type[exc.DBAPIError]) -> None:
    error = engines.to_error(kind("SELECT 1", None, sqlite3.DatabaseError("what it says")), "meta.db")

    expected = ConflictError if issubclass(kind, exc.IntegrityError) else UnavailableError
    assert isinstance(error, expected)
    assert "what it says" in str(error)


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_lost_serialization_is_a_conflict(state: str) -> None:
    cause = sqlite3.OperationalError("could not serialize access")
    cause.sqlstate = state  # type: ignore[attr-defined]

    error = engines.to_error(exc.OperationalError("COMMIT", None, cause), "meta")

    assert isinstance(error, ConflictError)
    assert error.hint == "repeat the call"


def test_exhausted_pool_is_unavailable() -> None:
    assert isinstance(engines.to_error(exc.TimeoutError("QueuePool limit"), "meta"), UnavailableError)
