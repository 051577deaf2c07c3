"""A lake in memory: the port's semantics without files, for tests of whatever reads or writes a lake."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from holdfast.kernel.errors import ContractError, NotFoundError, did_you_mean


@dataclass(slots=True)
class _Table:
    """All versions of one table, oldest first, and for each app which batch made which version."""

    versions: list[pl.DataFrame] = field(default_factory=list)
    batches: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


class MemoryLake:
    """A `holdfast.events.ports.Lake` that lives as long as the object; threads may share it."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}
        self._lock = threading.Lock()

    def version(self, table: str) -> int | None:
        """Return the latest version of a table, or None where the table does not exist."""
        found = self._tables.get(table)
        return None if found is None else len(found.versions) - 1

    def applied(self, table: str, *, app: str) -> int | None:
        """Return the latest batch of the app that the table holds, or None where there is none."""
        found = self._tables.get(table)
        done = [] if found is None else found.batches.get(app, [])
        return done[-1][0] if done else None

    def append(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        app: str,
        batch: int,
        note: Mapping[str, str] | None = None,
        staged: str | None = None,
    ) -> int:
        """Append rows under (app, batch), creating the table if need be; return a version that holds them.

        Raises
        ------
        ContractError
            If a column has another type than in the table.
        """
        with self._lock:
            found = self._tables.get(table, _Table())
            done = found.batches.get(app, [])
            for number, version in done:
                if number >= batch:
                    return version
            versions = found.versions
            versions.append(_together(table, versions[-1], frame) if versions else frame.clone())
            found.batches[app] = [*done, (batch, len(versions) - 1)]
            self._tables[table] = found
            return len(versions) - 1

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        version: int | None = None,
    ) -> pl.DataFrame:
        """Return rows of a table at a version, by default the latest.

        Raises
        ------
        NotFoundError
            If the table or the version does not exist.
        """
        found = self._tables.get(table)
        if found is None:
            raise NotFoundError(
                f"the lake has no table `{table}`.",
                has=sorted(self._tables),
                hint=did_you_mean(table, self._tables),
            )
        latest = len(found.versions) - 1
        if version is not None and not 0 <= version <= latest:
            raise NotFoundError(
                f"table `{table}` has no version {version}.", has=(f"versions 0 to {latest}",)
            )
        frame = found.versions[latest if version is None else version]
        if where is not None:
            frame = frame.filter(where)
        return frame if columns is None else frame.select(columns)


def _together(table: str, old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    for name, dtype in new.schema.items():
        if name in old.schema and old.schema[name] != dtype:
            raise ContractError(
                f"column `{name}` of table `{table}` is {old.schema[name]}, the appended rows have {dtype}.",
                code="HF202",
                at=f"{table}.{name}",
            )
    return pl.concat([old, new], how="diagonal")
