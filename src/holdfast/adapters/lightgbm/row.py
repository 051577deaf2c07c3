"""One row at a time, by a walk of ours or through LightGBM's C interface: a fraction of its package's cost.

The library's file is opened directly: a process that only serves never imports the package, which takes
seconds and scikit-learn. What a row scores is checked against the batch call when a model is loaded, and the
first runtime whose bits are those of the batch call on every checked row serves.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import math
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.adapters.lightgbm.model import LightGBMPredictor, LightGBMText
from holdfast.adapters.lightgbm.text import read_header
from holdfast.adapters.lightgbm.walk import tree_walk
from holdfast.kernel.errors import ConflictError, ContractError, RefusedError, UnavailableError
from holdfast.training.ports import FitReport

LOGGER = logging.getLogger("holdfast.lightgbm")

CHECKED_ROWS = 512
"""Rows on which one call per row must give the bits of one call for all."""
_SEED = 20_261_101
_FLOAT64, _ROW_MAJOR, _NORMAL, _ALL_TREES = 1, 1, 0, -1
_ONE_THREAD = b"num_threads=1 verbosity=-1"
_FILE = "lib/lib_lightgbm.so"

WALK, FASTCONFIG, BATCH = "lightgbm-walk", "lightgbm-fastconfig", "lightgbm"
RUNTIMES = (WALK, FASTCONFIG, BATCH)
"""What may compute a row's score, the quickest first; all of them give the same bits."""


@cache
def library() -> ctypes.PyDLL:
    """Return LightGBM's library, opened once.

    Calls keep the interpreter's lock: they take microseconds, and one row's scratch space is shared by all
    threads of a model.

    Raises
    ------
    UnavailableError
        If it, or a library it needs, is not installed (HF601).
    """
    found = importlib.util.find_spec("lightgbm")
    places = [] if found is None else list(found.submodule_search_locations or ())
    path = next((Path(place) / _FILE for place in places if (Path(place) / _FILE).exists()), None)
    if path is None:
        raise UnavailableError(
            "LightGBM's library is not installed.", code="HF601", hint="pip install lightgbm"
        )
    try:
        opened = ctypes.PyDLL(str(path))
    except OSError as error:
        raise UnavailableError(
            f"LightGBM's library cannot be opened: {error}.",
            code="HF601",
            hint="it needs libgomp: apt install libgomp1, or dnf install libgomp",
        ) from error
    opened.LGBM_GetLastError.restype = ctypes.c_char_p
    return opened


class LightGBMRows:
    """The format ``lightgbm`` for serving: it only loads, and its predictors score single rows.

    Parameters
    ----------
    runtime : the one that answers were scored by, to score them again; None takes the quickest exact one
    """

    name = LightGBMText.name
    filename = LightGBMText.filename

    def __init__(self, runtime: str | None = None) -> None:
        self._runtime = runtime

    def export(self, fitted: Any) -> bytes | None:
        """Return None: nothing is stored from here."""
        return None

    def report(self, fitted: Any) -> FitReport:
        """Return nothing."""
        return FitReport()

    def load(self, content: bytes) -> LightGBMRowPredictor:
        """Return the predictor of a model text, checked for single rows."""
        return LightGBMRowPredictor(content, self._runtime)


class LightGBMRowPredictor:
    """A loaded model that scores single rows. Calls may come from several threads at once.

    Attributes
    ----------
    runtime
        ``lightgbm-walk``, or ``lightgbm-fastconfig``, where it gave the bits of the batch call on every
        checked row; else ``lightgbm``, the batch call for one row.

    Raises
    ------
    ConflictError
        If the wanted runtime does not give the bits of the batch call, or is not known here (HF304).
    """

    def __init__(self, content: bytes, runtime: str | None = None) -> None:
        self._handle = ctypes.c_void_p()
        self._fast = ctypes.c_void_p()
        header = read_header(content)
        self.names = header.names
        self._shape = (len(self.names),)
        self._content = content
        self._lock, self._scoring = threading.Lock(), threading.Lock()
        self._full: LightGBMPredictor | None = None
        trees = ctypes.c_int()
        self._library = library()
        self._call(
            "LGBM_BoosterLoadModelFromString",
            ctypes.c_char_p(header.checked.encode()),
            ctypes.byref(trees),
            ctypes.byref(self._handle),
        )
        self._length = ctypes.c_int64()
        self._answer = ctypes.c_double()
        self._length_at, self._answer_at = ctypes.byref(self._length), ctypes.byref(self._answer)
        self._call(
            "LGBM_BoosterPredictForMatSingleRowFastInit",
            self._handle,
            ctypes.c_int(_NORMAL),
            ctypes.c_int(0),
            ctypes.c_int(_ALL_TREES),
            ctypes.c_int(_FLOAT64),
            ctypes.c_int32(len(self.names)),
            ctypes.c_char_p(_ONE_THREAD),
            ctypes.byref(self._fast),
        )
        self._call_row = self._library.LGBM_BoosterPredictForMatSingleRowFast
        self._walk = tree_walk(header)
        self.runtime = BATCH
        self.runtime = self._choose(_trial_rows(content, CHECKED_ROWS), runtime)
        self.score = {WALK: self._score_walking, FASTCONFIG: self._score_fast, BATCH: self._score_alone}[
            self.runtime
        ]
        """Scores one row: (k,) float64, C-ordered; the same bits as `predict`."""

    def _choose(self, rows: NDArray[np.float64], wanted: str | None) -> str:
        """Return the first runtime that gives the bits of the batch call on every row."""
        expected = self.predict(rows)
        ways = {FASTCONFIG: self._score_fast, BATCH: self._score_alone}
        if self._walk is not None:
            ways = {WALK: self._score_walking, **ways}
        for name, score in ways.items():
            if wanted not in (None, name):
                continue
            found = np.array([score(row) for row in rows])
            different = int((found.view(np.int64) != expected.view(np.int64)).sum())
            if not different:
                return name
            LOGGER.warning(
                "runtime %s differs from the batch call on %d of %d rows", name, different, len(rows)
            )
        raise ConflictError(
            f"answers were scored by runtime `{wanted}`, which is not here.", code="HF304", has=tuple(ways)
        )

    def _score_walking(self, x: NDArray[np.float64]) -> float:
        if x.shape != self._shape or x.dtype != np.float64 or not x.flags.c_contiguous:
            raise self._wrong(x)
        assert self._walk is not None
        return self._walk.score(x)

    def _score_fast(self, x: NDArray[np.float64]) -> float:
        if x.shape != self._shape or x.dtype != np.float64 or not x.flags.c_contiguous:
            raise self._wrong(x)
        with self._scoring:  # another thread may run between the call and the reading of its answer
            if self._call_row(self._fast, ctypes.c_void_p(x.ctypes.data), self._length_at, self._answer_at):
                raise self._failed()
            return self._answer.value

    def _score_alone(self, x: NDArray[np.float64]) -> float:
        if x.shape != self._shape:
            raise self._wrong(x)
        return float(self.predict(x[None, :])[0])

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n,) scores of (n, k) rows."""
        if x.ndim != 2 or x.shape[1] != len(self.names):
            raise self._wrong(x)
        rows = np.ascontiguousarray(x, dtype=np.float64)
        scores = np.zeros(len(rows))
        if not len(rows):
            return scores
        written = ctypes.c_int64()
        self._call(
            "LGBM_BoosterPredictForMat",
            self._handle,
            ctypes.c_void_p(rows.ctypes.data),
            ctypes.c_int(_FLOAT64),
            ctypes.c_int32(rows.shape[0]),
            ctypes.c_int32(rows.shape[1]),
            ctypes.c_int(_ROW_MAJOR),
            ctypes.c_int(_NORMAL),
            ctypes.c_int(0),
            ctypes.c_int(_ALL_TREES),
            ctypes.c_char_p(_ONE_THREAD),
            ctypes.byref(written),
            ctypes.c_void_p(scores.ctypes.data),
        )
        return scores

    def contributions(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, k + 1) contributions to the margin, the base last; by the Python package."""
        with self._lock:
            if self._full is None:
                self._full = LightGBMPredictor(self._content)
        return self._full.contributions(x)

    def _call(self, name: str, *arguments: Any) -> None:
        if getattr(self._library, name)(*arguments):
            raise self._failed()

    def _failed(self) -> RefusedError:
        words = self._library.LGBM_GetLastError().decode(errors="replace")
        return RefusedError(f"the model is not a LightGBM text: {words}", code="HF402")

    def _wrong(self, x: NDArray[np.float64]) -> ContractError:
        return ContractError(
            f"the model reads {len(self.names)} features; found a {x.dtype} array of shape {x.shape}.",
            code="HF202",
            has=self.names,
        )

    def __del__(self) -> None:
        if self._fast.value is not None:
            self._library.LGBM_FastConfigFree(self._fast)
        if self._handle.value is not None:
            self._library.LGBM_BoosterFree(self._handle)


def _trial_rows(content: bytes, n: int) -> NDArray[np.float64]:
    """Return (n, k) rows on both sides of the model's own thresholds, with zeros, NaN and categories."""
    k = len(read_header(content).names)
    near: list[list[float]] = [[0.0, math.nan, 1.0] for _ in range(k)]
    features: list[str] = []
    for line in content.decode().split("\n"):
        key, _, value = line.partition("=")
        if key == "split_feature":
            features = value.split(" ")
        elif key == "threshold" and value:
            for feature, threshold in zip(features, value.split(" "), strict=False):
                near[int(feature)].append(float(threshold))
    draw = np.random.default_rng(_SEED)
    columns = []
    for choices in near:
        picked = draw.choice(np.array(choices), n)
        nudged = np.where(draw.random(n) < 0.5, picked, np.nextafter(picked, np.inf))
        columns.append(np.where(draw.random(n) < 0.7, nudged, np.rint(nudged)))
    return np.ascontiguousarray(np.column_stack(columns)) if columns else np.zeros((n, 0))
