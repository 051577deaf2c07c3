"""Prediction records of live answers on their way through the journal into the lake.

A frame's payload is the record as a map; the table has the columns of batch records and one more, `inexact`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl

from holdfast.events.row import Stored
from holdfast.kernel.errors import ConflictError
from holdfast.kernel.ids import canonical_json
from holdfast.serving.record import FORMAT, RECORD_SCHEMA

BOUNDED_BY_BATCH = 2**63 - 1
"""`known_at_us` of a live record: what it could see is bounded by its batch alone."""

LIVE_SCHEMA: dict[str, Any] = {**RECORD_SCHEMA, "inexact": pl.Boolean}
"""Column types of live records in the lake's table of predictions; null in `inexact` is a batch record."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder()


class LiveRecord(msgspec.Struct, frozen=True, eq=False, gc=False, kw_only=True):
    """One live answer: the columns of `LIVE_SCHEMA`, `request` as a map of stored values.

    Attributes
    ----------
    latency_us : what features, model and all else took for the requests that were answered together
    """

    format: int = FORMAT
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
    request: Stored
    features: bytes
    plan: str
    score: float
    decision: str | None
    step: str
    missing: tuple[str, ...]
    exposure: str
    answered_us: int
    latency_us: list[int]
    inexact: bool


def encode_record(record: LiveRecord) -> bytes:
    """Return the payload of a record."""
    return _ENCODER.encode(record)


def records_frame(payloads: Sequence[bytes]) -> pl.DataFrame:
    """Return the rows of the lake's table of predictions from the payloads of prediction frames.

    Raises
    ------
    ConflictError
        If a newer version wrote one of them (HF304).
    """
    rows = []
    for payload in payloads:
        record = _DECODER.decode(payload)
        if record["format"] > FORMAT:
            raise ConflictError(
                f"prediction record {record['prediction_id']} has format {record['format']}; "
                f"this version of holdfast reads up to {FORMAT}.",
                code="HF304",
                hint="use the version that wrote it, or a newer one",
            )
        record["request"] = canonical_json(record["request"]).decode()
        rows.append([record.get(name) for name in LIVE_SCHEMA])
    return pl.DataFrame(rows, schema=LIVE_SCHEMA, orient="row")
