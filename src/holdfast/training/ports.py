"""What training needs of the world: a safe format for models, and a place for bundles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Predictor(Protocol):
    """A loaded model: pure, thread-safe scoring."""

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n,) scores of (n, k) rows; for binary models the probability of the positive class.

        A row has the same score, bit for bit, alone and in any batch, for any number of threads.
        """
        ...

    def contributions(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, k + 1) additive contributions in the model's margin; the last column is the base."""
        ...


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fitted object tells of itself beyond its predictions; for people, never for decisions.

    Attributes
    ----------
    importance : gain of each column of `x`, empty where the model has none
    history : values per iteration of each evaluation the fit kept
    """

    importance: tuple[float, ...] = ()
    history: dict[str, tuple[float, ...]] = field(default_factory=dict)


class ModelFormat(Protocol):
    """One safe format: text or numbers only, nothing in it can execute."""

    name: str
    """Name of the runtime recorded with each prediction, such as ``lightgbm``."""
    filename: str
    """Name of the model file inside a bundle."""

    def export(self, fitted: Any) -> bytes | None:
        """Return the bytes of a fitted object, or None if it is not of this kind.

        Equal fitted objects give equal bytes.

        Raises
        ------
        RefusedError
            If it is of this kind but holds what the format cannot carry (HF403).
        """
        ...

    def report(self, fitted: Any) -> FitReport:
        """Return what an object that `export` accepts tells of itself."""
        ...

    def load(self, content: bytes) -> Predictor:
        """Return the predictor of stored bytes.

        Raises
        ------
        RefusedError
            If the bytes are not of this format.
        """
        ...


class BundleStore(Protocol):
    """Content-addressed folders of files. A bundle is visible whole or not at all, and never changes."""

    def save(self, files: Mapping[str, bytes]) -> str:
        """Store the files with their manifest and return the bundle's name, its content's fingerprint."""
        ...

    def load(self, name: str) -> dict[str, bytes]:
        """Return all files of a bundle after checking every one against the manifest.

        Raises
        ------
        NotFoundError
            If there is no such bundle.
        RefusedError
            If a file is missing, added or altered (HF402).
        """
        ...
