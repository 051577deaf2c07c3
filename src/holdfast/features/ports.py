"""What features need of the world: rows of the lake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl


class EventReader(Protocol):
    """Rows of the lake's tables, as `holdfast.events.ports.Lake.read` gives them."""

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        version: int | None = None,
    ) -> pl.DataFrame:
        """Return rows (no promised order); the filter is pushed down to the files."""
        ...
