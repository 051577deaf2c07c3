"""Rows that broke their contract, on their way to the quarantine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.contract import python_value
from holdfast.events.ports import Chunk
from holdfast.events.source import ARRIVED, BATCH

QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "code": pl.String(),
    "reason": pl.String(),
    "column": pl.String(),
    "origin": pl.String(),
    "raw": pl.String(),
    ARRIVED: pl.Int64(),
    BATCH: pl.Int64(),
}
"""Columns of the quarantine table."""


@dataclass(slots=True)
class Refusals:
    """Refused rows of one chunk, on their way to the quarantine."""

    source: str
    file: str
    arrived: int
    found: list[tuple[int, str, str, str, str]] = field(default_factory=list)

    def add(self, row: int, code: str, reason: str, column: str, raw: str) -> None:
        """Refuse one row."""
        self.found.append((row, code, reason, column, raw))

    def counts(self) -> dict[str, int]:
        """Return how many rows were refused, by code."""
        return dict(sorted(Counter(code for _, code, *_ in self.found).items()))

    def first(self) -> dict[str, str]:
        """Return by code the first row in words."""
        return {
            code: f"{reason} ({self.file}:{row + 1})"
            for row, code, reason, _, _ in sorted(self.found, reverse=True)
        }

    def frame(self) -> pl.DataFrame:
        """Return the rows in the order of their file, without a batch number."""
        rows = [
            (self.source, code, reason, column or None, f"{self.file}:{row + 1}", raw, self.arrived)
            for row, code, reason, column, raw in sorted(self.found)
        ]
        schema = {name: kind for name, kind in QUARANTINE_SCHEMA.items() if name != BATCH}
        return pl.DataFrame(rows, schema=schema, orient="row")


def raw_rows(chunk: Chunk, rows: NDArray[np.int64]) -> list[str]:
    """Return the JSON text of rows as their file held them."""
    if not len(rows):
        return []
    if chunk.lines is not None:
        return [line.strip() for line in chunk.lines.gather(rows).to_list()]
    frame = chunk.frame[rows]
    try:
        given = frame.to_dicts()
    except (OverflowError, ValueError):  # a time that Python cannot say stands in one of them
        columns = frame.get_columns()
        given = [
            {column.name: python_value(column, row) for column in columns} for row in range(frame.height)
        ]
    return [
        msgspec.json.encode({name: _jsonable(value) for name, value in row.items()}).decode() for row in given
    ]


def _jsonable(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else str(value)
        case datetime() | Decimal():
            return str(value)
        case bytes():
            return value.hex()
        case _:
            return str(value)
