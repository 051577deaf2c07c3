"""The tables as the latest revision leaves them, and the list of revisions.

A test holds them equal to what the migrations build. JSON is kept as canonical text, so that what is read
back has the fingerprint of what was written.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

REVISIONS: dict[str, str] = {
    "0001": "runs, versions, aliases, approvals, definitions, history",
}
"""Every revision and what it brings, oldest first."""

_SERIAL = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("position", _SERIAL, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False, index=True),
    Column("payload", Text, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("bundle", Text, nullable=False),
    Column("run", Text, ForeignKey("runs.id"), nullable=False),
    Column("dataset", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    UniqueConstraint("model", "bundle", "run"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer),
    Column("revision", Integer, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
)

approvals = Table(
    "approvals",
    metadata,
    Column("position", _SERIAL, primary_key=True, autoincrement=True),
    Column("model", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("by", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("model", "number", "by", "role"),
    ForeignKeyConstraint(["model", "number"], ["versions.model", "versions.number"]),
)

definitions = Table(
    "definitions",
    metadata,
    Column("position", _SERIAL, primary_key=True, autoincrement=True),
    Column("project", Text, nullable=False, index=True),
    Column("fingerprint", Text, nullable=False),
    Column("plan", Text, nullable=False),
)

history = Table(
    "history",
    metadata,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
