"""Sources: declared streams or tables of events, and the columns the lake adds to each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.kernel.schema import Schema

Basis = Literal["measured", "column", "assumed"]

ARRIVED = "_arrived"
"""Arrival time, int64 microseconds UTC."""
BASIS = "_basis"
"""How the arrival time is known: measured, column or assumed."""
BATCH = "_batch"
"""Number of the applier's batch that stored the row."""
ORIGIN = "_origin"
"""Where the row came from: ``file:row``."""
SYSTEM_COLUMNS = (ARRIVED, BASIS, BATCH, ORIGIN)


@dataclass(frozen=True, slots=True)
class Source:
    """A declared stream or table of events.

    Attributes
    ----------
    lateness
        Allowed delay in microseconds; moves the watermark, never drops anything.
    known_after
        Delay in microseconds between event time and assumed arrival of batch-loaded rows; none means
        undeclared, so history is refused unless the schema has an arrival column.
    """

    name: str
    schema: Schema
    lateness: int = 0
    known_after: int | None = None

    @property
    def history_basis(self) -> Basis | None:
        """Arrival basis of batch-loaded rows, or None where nothing is declared."""
        if self.schema.arrival_time is not None:
            return "column"
        return None if self.known_after is None else "assumed"
