"""The prediction record format, version 1, is frozen: records written today are read by every later release.

`prediction_record.json` is what docs/reference/formats/prediction-record.md states. A difference is a new
format version.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from holdfast.adapters.delta import DeltaLake
from holdfast.events.entity import Entity
from holdfast.events.source import ARRIVED, BASIS, BATCH, ORIGIN, Source
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.expr import col
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY
from holdfast.serving.ports import PREDICTIONS
from holdfast.serving.predict import predict_batch
from holdfast.serving.record import FORMAT, RECORD_SCHEMA, from_row
from holdfast.training.policy import Bands

GOLDEN = Path(__file__).with_name("prediction_record.json")
PAGE = Path(__file__).resolve().parents[2] / "docs/reference/formats/prediction-record.md"

SCHEMA = Schema(
    "Payment",
    (
        Column("id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("card", "string", nullable=True),
        Column("amount", "decimal", scale=2, ge=0, le=1000),
    ),
)
MEASURE = Measure("mean_1d", "mean", Window(DAY), "amount")
VIEW = View("spending", "payments", Entity("card", ("card",)), (MEASURE,))
FEATURES = (Feature("amount", col("amount")), Feature("mean_1d", col("mean_1d")))
PLAN = FeaturePlan(
    FeatureSet("f", "payments", FEATURES, ("spending",)), SCHEMA, (VIEW,), {"payments": SCHEMA}
)
NOON = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z
ROWS = [("p-1", NOON, "c-1", 150, 1), ("p-2", NOON + 60_000_000, "c-1", 99_999, 2), ("p-3", NOON, None, 5, 1)]

DELTA = {
    "Int8": "byte",
    "Int64": "long",
    "Float64": "double",
    "String": "string",
    "Binary": "binary",
    "List(Int64)": "array<long>",
    "List(String)": "array<string>",
}


class Clock:
    def now_us(self) -> int:
        return NOON + DAY


class Runtime:
    name = "lightgbm"


class Manifest:
    runtime = Runtime()


class Predictor:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.where(x[:, 0] > 100, 0.75, 0.25)


class Bundle:
    """What batch prediction reads of a bundle."""

    name = "b" * 40
    manifest = Manifest()
    plan = PLAN
    policy = Bands((("block", 0.5), ("allow", 0.0)))
    predictor = Predictor()


@pytest.fixture
def records(tmp_path: Path) -> pl.DataFrame:
    lake = DeltaLake(tmp_path / "lake")
    events = pl.DataFrame(
        [(i, at, card, amount, at + 5, "assumed", batch, "x.csv:1") for i, at, card, amount, batch in ROWS],
        schema={
            "id": pl.String,
            "at": pl.Int64,
            "card": pl.String,
            "amount": pl.Int64,
            ARRIVED: pl.Int64,
            BASIS: pl.String,
            BATCH: pl.Int64,
            ORIGIN: pl.String,
        },
        orient="row",
    ).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    lake.append("payments", events, app="applier", batch=2)
    predict_batch(
        "fraud",
        3,
        Bundle(),  # type: ignore[arg-type]
        Source("payments", SCHEMA, known_after=5),
        lake,
        since=NOON,
        until=NOON + DAY,
        known_batch=2,
        clock=Clock(),
    )
    return lake.read(PREDICTIONS).sort("t_us", "key")


def plain(row: dict[str, Any]) -> dict[str, Any]:
    assert row["plan"] == PLAN.fingerprint  # a hash of nouns that may grow; the record only holds it
    return {**row, "features": row["features"].hex(), "plan": "f" * 40}


def test_stored_columns_and_values_are_frozen(records: pl.DataFrame, golden: Any) -> None:
    content = {
        "format": FORMAT,
        "columns": {name: DELTA[str(kind)] for name, kind in records.schema.items()},
        "rows": [plain(row) for row in records.iter_rows(named=True)],
    }

    golden(GOLDEN.name, json.dumps(content, indent=2) + "\n")


def test_stored_schema_is_the_declared_one(records: pl.DataFrame) -> None:
    assert dict(records.schema) == RECORD_SCHEMA


def test_frozen_rows_are_read_back() -> None:
    rows = json.loads(GOLDEN.read_text())["rows"]

    found = [from_row({**row, "features": bytes.fromhex(row["features"])}) for row in rows]

    assert [record.key for record in found] == ["p-1", "p-3", "p-2"]
    assert found[2].features.tolist() == [999.99, 1.5]
    assert found[2].request == {"amount": 99_999, "at": NOON + 60_000_000, "card": "c-1", "id": "p-2"}
    assert found[1].missing == ("mean_1d",)


def test_page_states_every_column_with_its_type() -> None:
    text = PAGE.read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, flags=re.MULTILINE))

    assert stated == json.loads(GOLDEN.read_text())["columns"]
