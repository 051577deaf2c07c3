"""Prediction records are written and read back without loss; newer formats are refused."""

import numpy as np
import polars as pl
import pytest

from holdfast.kernel.errors import ConflictError
from holdfast.kernel.schema import Column, Schema
from holdfast.serving.record import (
    FORMAT,
    attempt_id,
    encode_features,
    encode_requests,
    from_row,
    missing_names,
    prediction_id,
)

ROW = {
    "format": FORMAT,
    "prediction_id": "p-1",
    "attempt": "a-1",
    "model": "fraud",
    "version": 1,
    "bundle": "b",
    "runtime": "lightgbm",
    "key": "t-1",
    "t_us": 10,
    "known_at_us": 20,
    "known_batch": [3],
    "request": '{"amount":5}',
    "features": np.array([1.5, np.nan], dtype="<f8").tobytes(),
    "plan": "f",
    "score": 0.5,
    "decision": None,
    "step": "champion",
    "missing": ["b"],
    "exposure": "batch",
    "answered_us": 30,
    "latency_us": [],
}


def test_row_becomes_a_record_with_its_features_bit_for_bit() -> None:
    record = from_row(ROW)

    assert record.features.tobytes() == ROW["features"]
    assert record.request == {"amount": 5}
    assert (record.known_batch, record.missing, record.latency_us) == ((3,), ("b",), ())


def test_row_of_a_newer_format_is_refused() -> None:
    with pytest.raises(ConflictError) as caught:
        from_row({**ROW, "format": FORMAT + 1})

    assert caught.value.code == "HF304"


def test_prediction_id_names_model_and_key_and_not_the_version() -> None:
    assert prediction_id("fraud", "t-1") == prediction_id("fraud", "t-1")
    assert len({prediction_id(m, k) for m in ("fraud", "risk") for k in ("t-1", "t-2")}) == 4


def test_attempts_at_one_prediction_differ_by_their_job() -> None:
    assert attempt_id("p-1", "one") != attempt_id("p-1", "two")


def test_features_are_little_endian_doubles_by_row() -> None:
    found = encode_features(np.array([[1.0, 2.0], [3.0, 4.0]])[:, ::-1])

    assert found == [np.array([2.0, 1.0], "<f8").tobytes(), np.array([4.0, 3.0], "<f8").tobytes()]


def test_requests_hold_the_schema_columns_as_stored_values() -> None:
    schema = Schema(
        "S",
        (
            Column("id", "string", role="event_id"),
            Column("at", "time", role="event_time"),
            Column("amount", "decimal", scale=2),
            Column("note", "string", nullable=True),
        ),
    )
    at = pl.Series("at", [1_000_001]).cast(pl.Datetime("us", "UTC"))
    rows = pl.DataFrame({"other": [1], "note": [None], "amount": [150], "at": at, "id": ["é"]})

    assert encode_requests(rows, schema) == ['{"amount":150,"at":1000001,"id":"é","note":null}']


def test_missing_features_are_named() -> None:
    x = np.array([[np.nan, 1.0], [0.0, np.nan]])

    assert missing_names(("a", "b"), x) == [["a"], ["b"]]
