"""What prediction needs of the world: the lake, for batches, and predictors of single rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.training.ports import Predictor

PREDICTIONS = "_predictions"
"""Lake table of prediction records, all models together."""


class PredictionLake(Protocol):
    """The part of `holdfast.events.ports.Lake` that prediction uses, under the same contract."""

    def version(self, table: str) -> int | None:
        """Return the latest version of a table, or None where the table does not exist."""
        ...

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        version: int | None = None,
    ) -> pl.DataFrame:
        """Return rows (no promised order)."""
        ...

    def append(
        self, table: str, frame: pl.DataFrame, *, app: str, batch: int, note: Mapping[str, str] | None = None
    ) -> int:
        """Append rows under (app, batch), once; return the version that holds them."""
        ...


class RowPredictor(Predictor, Protocol):
    """A loaded model that also scores single rows; thread-safe.

    Attributes
    ----------
    runtime : name of what computes a row's score, recorded with each prediction
    """

    runtime: str

    def score(self, x: NDArray[np.float64]) -> float:
        """Return the score of one row, (k,) float64; the same bits as `predict` gives it."""
        ...
