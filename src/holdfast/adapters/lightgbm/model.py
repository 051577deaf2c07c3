"""LightGBM models as bundle files, and their predictor.

The library is imported when a model is first loaded, never before: it costs seconds.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.adapters.lightgbm.text import Header, read_header
from holdfast.kernel.errors import ContractError, RefusedError
from holdfast.training.ports import FitReport

LOGGER = logging.getLogger("holdfast.lightgbm")
LOGGER.addHandler(logging.NullHandler())


class LightGBMText:
    """The safe format ``lightgbm``: text with numbers, read back only after it was checked.

    It carries `LGBMClassifier` with labels 0 and 1, `LGBMRegressor`, and `Booster` with a built-in objective
    for binary labels or values; after early stopping, the trees up to the best iteration.

    Parameters
    ----------
    threads : threads of a prediction; scores do not depend on it
    """

    name = "lightgbm"
    filename = "model.txt"

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def export(self, fitted: Any) -> bytes | None:
        """Return the model text, or None if the object is not LightGBM's.

        Raises
        ------
        RefusedError
            If it is not fitted, or its output is not one score per row (HF403).
        """
        booster = _booster_of(fitted)
        if booster is None:
            return None
        text: str = booster.model_to_string(importance_type="gain")
        content = text.encode()
        read_header(content)
        return content

    def report(self, fitted: Any) -> FitReport:
        """Return gain per feature, and the evaluations that the fit kept."""
        booster = _booster_of(fitted)
        if booster is None:
            return FitReport()
        gain = booster.feature_importance(importance_type="gain")
        history = getattr(fitted, "evals_result_", None) or {}
        return FitReport(
            importance=tuple(float(value) for value in gain),
            history={
                f"{part} {metric}": tuple(float(value) for value in values)
                for part, metrics in history.items()
                for metric, values in metrics.items()
            },
        )

    def load(self, content: bytes) -> LightGBMPredictor:
        """Return the predictor of a model text.

        Raises
        ------
        RefusedError
            If the text is not complete and consistent (HF402), or not of a supported model (HF403).
        """
        return LightGBMPredictor(content, self._threads)


class LightGBMPredictor:
    """A loaded model. Calls may come from several threads at once.

    Attributes
    ----------
    names : names of the features, in the order of the columns
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        header: Header = read_header(content)
        lightgbm = quiet()
        try:
            self._booster = lightgbm.Booster(model_str=header.checked)
        except lightgbm.basic.LightGBMError as error:
            raise RefusedError(f"the model is not a LightGBM text: {error}", code="HF402") from error
        self._threads = threads
        self.names = header.names

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n,) scores of (n, k) rows: probabilities for a binary objective, else values.

        Notes
        -----
        Each row is walked by itself, in one order of trees, so its score has the same bits alone, in any
        batch and for any number of threads.
        """
        rows = self._rows(x)
        if not len(rows):
            return np.zeros(0)
        return np.asarray(self._booster.predict(rows, num_threads=self._threads), dtype=np.float64)

    def contributions(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, k + 1) contributions to the margin (log-odds for a binary objective), the base last.

        Notes
        -----
        TreeSHAP, as LightGBM computes it (Lundberg, Erion and Lee 2018).
        """
        rows = self._rows(x)
        if not len(rows):
            return np.zeros((0, len(self.names) + 1))
        found = self._booster.predict(rows, pred_contrib=True, num_threads=self._threads)
        return np.asarray(found, dtype=np.float64)

    def _rows(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        if x.ndim != 2 or x.shape[1] != len(self.names):
            raise ContractError(
                f"the model reads {len(self.names)} features; found an array of shape {x.shape}.",
                code="HF202",
                has=self.names,
            )
        return np.ascontiguousarray(x, dtype=np.float64)


def quiet() -> Any:
    """Import LightGBM, send its messages to the logger ``holdfast.lightgbm``, and return it."""
    import lightgbm

    lightgbm.register_logger(LOGGER)
    return lightgbm


def _booster_of(fitted: Any) -> Any:
    """Return the booster of an object of LightGBM's, or None; whoever made one has imported the library."""
    lightgbm = sys.modules.get("lightgbm")
    if lightgbm is None:
        return None
    if isinstance(fitted, lightgbm.Booster):
        return fitted
    if not isinstance(fitted, lightgbm.LGBMModel):
        return None
    kind = type(fitted).__qualname__
    if not fitted.__sklearn_is_fitted__():
        raise RefusedError(f"the {kind} is not fitted.", code="HF403", hint="return what `fit` returns")
    if isinstance(fitted, lightgbm.LGBMClassifier):
        classes = [float(label) for label in fitted.classes_]
        if classes != [0.0, 1.0]:
            shown = ", ".join(f"{label:g}" for label in classes)
            raise RefusedError(
                f"the {kind} tells the classes {shown} apart; one score per row needs 0 and 1.",
                code="HF403",
                hint="fit one model per class, or a binary label" if len(classes) > 2 else "",
            )
    return fitted.booster_
