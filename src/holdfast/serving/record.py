"""Prediction records: what was asked, used and answered, by which version. Format 1, frozen.

The lake table's columns and their meaning are in ``docs/reference/formats/prediction-record.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.kernel.errors import ConflictError
from holdfast.kernel.ids import canonical_json, fingerprint
from holdfast.kernel.schema import Schema
from holdfast.kernel.time import instant_of

FORMAT = 1

Step = Literal["champion", "previous", "cache", "rules", "constant"]
Exposure = Literal["served", "batch", "holdout", "shadow"]
"""Who acted upon the answer: a caller (``served``), nobody yet (``batch``), nobody by lot or design."""

RECORD_SCHEMA: dict[str, Any] = {
    "format": pl.Int8,
    "prediction_id": pl.String,
    "attempt": pl.String,
    "model": pl.String,
    "version": pl.Int64,
    "bundle": pl.String,
    "runtime": pl.String,
    "key": pl.String,
    "t_us": pl.Int64,
    "known_at_us": pl.Int64,
    "known_batch": pl.List(pl.Int64),
    "request": pl.String,
    "features": pl.Binary,
    "plan": pl.String,
    "score": pl.Float64,
    "decision": pl.String,
    "step": pl.String,
    "missing": pl.List(pl.String),
    "exposure": pl.String,
    "answered_us": pl.Int64,
    "latency_us": pl.List(pl.Int64),
}
"""Column types of the lake table of prediction records, in order."""


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One answered prediction; fields as in the lake table.

    Attributes
    ----------
    request : the spine row's stored values, by column
    features : (k,) float64 as used, bit for bit
    known_batch : for each shard, the last batch that could be seen
    latency_us : of features, models and all else, for what was answered together; empty for batch
    """

    prediction_id: str
    attempt: str
    model: str
    version: int
    bundle: str
    runtime: str
    key: str
    t_us: int
    known_at_us: int
    known_batch: tuple[int, ...]
    request: dict[str, Any]
    features: NDArray[np.float64]
    plan: str
    score: float
    decision: str | None
    step: str
    missing: tuple[str, ...]
    exposure: str
    answered_us: int
    latency_us: tuple[int, ...] = ()


def prediction_id(model: str, key: str) -> str:
    """Return the id of a prediction: a hash of the model's name and the event id, so a retry finds it."""
    return f"p-{fingerprint([model, key])[:20]}"


def attempt_id(prediction: str, job: str) -> str:
    """Return the id of one attempt at a prediction, unique by the job or request that made it."""
    return f"a-{fingerprint([prediction, job])[:20]}"


def encode_features(x: NDArray[np.float64]) -> list[bytes]:
    """Return each row of (n, k) features as k little-endian float64."""
    return [row.tobytes() for row in np.ascontiguousarray(x, dtype="<f8")]


def stored_value(value: Any) -> Any:
    """Return a lake value as plain JSON: times become microseconds."""
    return instant_of(value) if isinstance(value, datetime) else value


def encode_requests(rows: pl.DataFrame, schema: Schema) -> list[str]:
    """Return the stored values of each spine row as canonical JSON."""
    chosen = rows.select(schema.names)
    times = [c.name for c in schema.columns if c.type == "time"]
    plain = chosen.with_columns(pl.col(times).to_physical()) if times else chosen
    return [canonical_json(row).decode() for row in plain.iter_rows(named=True)]


def from_row(row: Mapping[str, Any]) -> PredictionRecord:
    """Return the record of one row of the lake table.

    Raises
    ------
    ConflictError
        If the row was written by a newer format (HF304).
    """
    if row["format"] > FORMAT:
        raise ConflictError(
            f"prediction record {row['prediction_id']} has format {row['format']}; "
            f"this version of holdfast reads up to {FORMAT}.",
            code="HF304",
            hint="use the version that wrote it, or a newer one",
        )
    fields = {name: row[name] for name in RECORD_SCHEMA if name != "format"}
    fields["request"] = json.loads(row["request"])
    fields["features"] = np.frombuffer(row["features"], dtype="<f8").astype(np.float64)
    for name in ("known_batch", "missing", "latency_us"):
        fields[name] = tuple(row[name])
    return PredictionRecord(**fields)


def missing_names(names: Sequence[str], x: NDArray[np.float64]) -> list[list[str]]:
    """Return, for each row of (n, k) features, the names of those that are missing."""
    absent = np.isnan(x)
    return [[name for name, gone in zip(names, row, strict=True) if gone] for row in absent.tolist()]
