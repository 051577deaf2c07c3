"""Connections to a SQL database: what SQLite needs beyond SQL, and errors of drivers as errors of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from holdfast.kernel.errors import ConflictError, HoldfastError, UnavailableError, UsageError

BUSY_S = 10.0
"""How long a transaction waits for another one, in seconds."""

_SERIALIZATION = {"40001", "40P01"}  # SQLSTATE: serialization failure, deadlock
_HINTS = {
    "not a database": "the file is damaged, or is no registry: restore it from a backup",
    "malformed": "the file is damaged: restore it from a backup",
    "locked": f"another process has held it for more than {BUSY_S:g} s: try again, or end that process",
    "unable to open": "is it a file in a folder that exists, and may this user read and write both?",
    "readonly": "this user may read but not write it: change the permissions of the file and its folder",
    "full": "free some disk space, then try again",
}


def open_engine(url: str) -> Engine:
    """Return the engine of a URL; nothing is connected yet.

    Raises
    ------
    UsageError
        If the URL is no database URL, its driver is not installed, or it names a database in memory.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True)
        if parsed.database in (None, "", ":memory:"):
            raise UsageError(
                f"a registry outlives its process, so it cannot be in memory: {url!r}.",
                at="meta",
                hint="sqlite:///.holdfast/meta.db",
            )
        engine = create_engine(parsed, connect_args={"timeout": BUSY_S})
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the driver `{error.name}` of {url.partition('://')[0]!r} is not installed.",
            at="meta",
            hint=f"pip install {error.name}",
        ) from error
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise UsageError(
            f"{url.partition('://')[0]!r} begins no URL of a database: {error}.",
            at="meta",
            hint="sqlite:///.holdfast/meta.db",
        ) from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def as_writer(engine: Engine) -> Engine:
    """Return the engine for transactions that write: they take effect one after another."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(writes=True)
    return engine.execution_options(isolation_level="SERIALIZABLE")


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours to say, so that it also covers reading and DDL
    for pragma in ("foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def sqlite_file(engine: Engine) -> Path | None:
    """Return the file of a SQLite database, or None for a server's."""
    name = engine.url.database
    return Path(name) if engine.dialect.name == "sqlite" and name else None


def place(engine: Engine) -> str:
    """Return where the database is, for people and without its password."""
    return str(sqlite_file(engine) or engine.url.render_as_string(hide_password=True))


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Raise what the driver raises inside the block as errors of ours."""
    try:
        yield
    except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
        raise to_error(error, place(engine)) from error


def to_error(error: Exception, where: str) -> HoldfastError:
    """Return the error of ours that says what a driver's error means."""
    cause = getattr(error, "orig", None) or error
    text = str(cause)
    if getattr(cause, "sqlstate", None) in _SERIALIZATION:
        return ConflictError(
            f"another transaction changed the registry meanwhile: {text}.", at=where, hint="repeat the call"
        )
    if isinstance(error, (IntegrityError, sqlite3.IntegrityError)):
        return ConflictError(f"the registry refuses the change: {text}.", at=where, hint="look at it again")
    hint = next((hint for sign, hint in _HINTS.items() if sign in text), "is the database up?")
    return UnavailableError(f"the registry cannot be read or written: {text}.", at=where, hint=hint)
