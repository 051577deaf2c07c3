"""The lake row format, version 1, is frozen: tables written today are read by every later release.

`lake_row.json` is what docs/reference/formats/lake-row.md states. A difference is a new format version.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable

from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.files.staging import StagingFolder
from holdfast.events.ingest import ingest
from holdfast.events.ports import QUARANTINE
from holdfast.events.source import Source
from holdfast.kernel.schema import Column, Schema

GOLDEN = Path(__file__).with_name("lake_row.json")

SCHEMA = Schema(
    "Reading",
    (
        Column("id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("told_at", "time", role="arrival_time"),
        Column("count", "int"),
        Column("price", "decimal", scale=2, ge=0, le=100_000),
        Column("rate", "float", scale=3, nullable=True),
        Column("score", "float", nullable=True),
        Column("flag", "bool", nullable=True),
        Column("note", "string", nullable=True),
    ),
)

ROWS = [
    {
        "id": "r-1",
        "at": "2026-11-02T10:15:00Z",
        "told_at": "2026-11-02T12:15:00.000001+02:00",
        "count": 9007199254740993,
        "price": "912.50",
        "rate": 0.125,
        "score": 0.1,
        "flag": True,
        "note": "caf\u00e9",
    },
    {
        "id": "r-2",
        "at": "1969-12-31T23:59:59.999999Z",
        "told_at": "2026-11-02T10:15:00Z",
        "count": -1,
        "price": 0,
    },
    {
        "id": "r-3",
        "at": "2026-11-02T10:15:00Z",
        "told_at": "2026-11-02T10:15:00Z",
        "count": 0,
        "price": 100000,
        "rate": -1.5,
        "score": -0.0,
        "flag": False,
        "note": "",
    },
    {
        "id": "r-4",
        "at": "2026-11-02T10:15:00Z",
        "told_at": "2026-11-02T10:15:00Z",
        "count": 0,
        "price": 100000.01,
    },
]


class FixedClock:
    def now_us(self) -> int:
        return 1_793_620_800_000_000


def describe(lake: DeltaLake, table: str) -> dict[str, Any]:
    place = Path(lake.root, table)
    (data,) = place.glob("*.parquet")
    rows = lake.read(table)
    times = [name for name, kind in rows.schema.items() if kind == pl.Datetime("us", "UTC")]
    order = "origin" if table == QUARANTINE else "_origin"
    return {
        "description": DeltaTable(place).metadata().description,
        "delta": json.loads(DeltaTable(place).schema().to_json()),
        "parquet": {name: str(kind) for name, kind in pl.read_parquet_schema(data).items()},
        "rows": rows.sort(order).with_columns(pl.col(times).to_physical()).to_dicts(),
    }


def test_lake_rows_are_stored_as_documented(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    lake = DeltaLake(tmp_path / "lake")
    ingest(
        Source("readings", SCHEMA),
        Files(tmp_path / "in.jsonl"),
        lake=lake,
        log=BatchLogFile(tmp_path / "batches.log"),
        staging=StagingFolder(tmp_path / "staged"),
        clock=FixedClock(),
    )

    found = {"version": 1, "readings": describe(lake, "readings"), QUARANTINE: describe(lake, QUARANTINE)}

    assert json.loads(json.dumps(found)) == json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert str(found["readings"]["rows"][2]["score"]) == "-0.0"
