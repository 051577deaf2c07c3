"""Rows that are in the online state and wait for the lake, table by table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from holdfast.events.logged import APP
from holdfast.events.ports import QUARANTINE, Lake
from holdfast.events.source import BATCH


@dataclass(slots=True)
class Waiting:
    """Rows of several batches, appended together.

    A row is appended if the table does not have its batch yet, so an append whose outcome was not heard of
    may be repeated together with later rows.
    """

    lake: Lake
    tables: dict[str, list[tuple[int, pl.DataFrame]]] = field(default_factory=dict)
    height: int = 0

    def add(self, table: str, number: int, rows: pl.DataFrame) -> None:
        """Let rows wait; those without a `_batch` column are all of the batch of that number."""
        if rows.height:
            self.tables.setdefault(table, []).append((number, rows))
            self.height += rows.height

    def rows(self, table: str) -> list[pl.DataFrame]:
        """Return what waits for a table and is not in it."""
        parts = self.tables.get(table, [])
        if not parts:
            return []
        applied = self.lake.applied(table, app=APP) or 0
        return [rows.filter(pl.col(BATCH) > applied) for number, rows in parts if number > applied]

    def append(self, appended: Callable[[], None] = lambda: None) -> None:
        """Append everything: quarantine first, then table by table.

        Parameters
        ----------
        appended : called after each table

        Raises
        ------
        UnavailableError
            If the lake cannot be written; the rows of that table and those behind it wait on.
        """
        for table in sorted(self.tables, key=lambda name: (name != QUARANTINE, name)):
            parts = self.tables[table]
            applied = self.lake.applied(table, app=APP) or 0
            frames = [
                rows.filter(pl.col(BATCH) > applied) if BATCH in rows.columns else rows
                for number, rows in parts
                if number > applied
            ]
            if frames:
                self.lake.append(table, pl.concat(frames), app=APP, batch=max(number for number, _ in parts))
            self.height -= sum(rows.height for _, rows in parts)
            del self.tables[table]
            appended()
