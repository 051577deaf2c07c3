"""A project that reads slowly changing tables: ingested, trained, served and explained like all else."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.app.applied import applied_project
from holdfast.app.materialize import materialize_state
from holdfast.app.workspace import Workspace
from holdfast.datasets.spine import event_spine
from holdfast.features.materialize import materialize
from holdfast.features.online import load_plan
from holdfast.features.oracle import features_of
from holdfast.kernel.time import DAY, HOUR, MINUTE, format_instant, parse_instant
from holdfast.serving.live import RowFeatures

PROJECT = """
from datetime import datetime
import holdfast as hf

class Flight(hf.Event):
    flight: str = hf.event_id()
    at: datetime = hf.event_time()
    origin: str
    carrier: str
    delay: int = hf.field(ge=-1000, le=100_000)

class Weather(hf.Event):
    hour: datetime = hf.event_time()
    origin: str
    wind: float | None = hf.field(scale=1, ge=0, le=500)
    sky: str | None

class Roster(hf.Event):
    roster: int = hf.event_id()
    origin: str
    carrier: str
    begins: datetime
    ends: datetime | None
    crew: int = hf.field(ge=0, le=100)
    shift: str

class Holiday(hf.Event):
    begins: datetime
    ends: datetime
    name: str

project = hf.Project("flights", owner="ops")
flights = project.source("flights", Flight, known_after="0s")
weather = project.table("weather", Weather, key="origin", known_after="10m")
rosters = project.table(
    "rosters", Roster, key=["origin", "carrier"], valid=("begins", "ends"), known_ahead=True, known_after="0s"
)
holidays = project.table("holidays", Holiday, valid=("begins", "ends"), known_ahead=True, known_after="0s")

@project.view(flights, entity=hf.Entity("route", key=["origin", "carrier"]))
def route(f):
    return {
        "delay_first": f.delay.first(over="1d"),
        "delay_last": f.delay.last(over="1d"),
        "delay_var": f.delay.var(over="1d"),
        "since": f.time_since_last(over="1d"),
        "since_late": f.time_since_last(over="1d", where=f.delay > 10),
    }

@project.view(flights, entity=hf.Entity("airport", key="origin"))
def airport(f):
    return {"carriers": f.carrier.distinct(over="1d"), "carrier_last": f.carrier.last(over="1d")}

@project.features(Flight, route, airport, weather, rosters, holidays)
def features(x):
    return {
        "wind": weather.wind,
        "gale": weather.wind > 60,
        "age": (x.at - weather.hour) / 3_600_000_000,
        "sky": weather.sky,
        "clear": weather.sky == "clear",
        "unknown": weather.sky.is_missing(),
        "crew": rosters.crew.fill(0),
        "shift": rosters.shift,
        "night": rosters.shift.isin(["night"]),
        "planned": ~rosters.shift.is_missing(),
        "holiday": ~holidays.name.is_missing(),
        "same_carrier": x.carrier_last == "B",
        **route.all,
        **airport.all,
    }

@project.model(
    features,
    label=hf.Label(flights, key="flight", value=flights.delay > 10, horizon="0s"),
    split=hf.TimeSplit(test="1d", validation="1d"),
    params={"n_estimators": 5, "min_child_samples": 2},
)
def late(data, params, run):
    from lightgbm import LGBMClassifier
    return LGBMClassifier(**params, random_state=run.seed, n_jobs=1, verbose=-1).fit(
        data.train.x, data.train.y, feature_name=data.names, categorical_feature=data.categorical)

project.release(late, gates=[hf.metric("auc") >= 0.0])
"""
START = parse_instant("2026-03-01", assume_utc=True)


def flights() -> Iterator[dict[str, Any]]:
    for n in range(240):
        at = START + n * 47 * MINUTE
        yield {
            "flight": f"f{n}",
            "at": format_instant(at),
            "origin": "AB"[n * 7 % 3 % 2],
            "carrier": "BCD"[n * 5 % 3],
            "delay": (n * 37) % 41 - 8,
        }


def weather() -> Iterator[dict[str, Any]]:
    for hour in range(8 * 24):
        for origin in "AB":
            if hour % 7 != 5:
                sky = None if hour % 11 == 3 else ("clear", "rain", "fog")[hour % 3]
                wind = None if hour % 13 == 1 else hour % 17 * 5.5
                yield {
                    "hour": format_instant(START + hour * HOUR),
                    "origin": origin,
                    "wind": wind,
                    "sky": sky,
                }


def rosters() -> Iterator[dict[str, Any]]:
    for n in range(20):
        begins = START + n * 9 * HOUR
        yield {
            "roster": n,
            "origin": "AB"[n % 2],
            "carrier": "BC"[n // 2 % 2],
            "begins": format_instant(begins),
            "ends": None if n == 18 else format_instant(begins + 12 * HOUR),
            "crew": n,
            "shift": ("day", "night")[n % 3 == 0],
        }


def holidays() -> Iterator[dict[str, Any]]:
    for day in (1, 4):
        begins = START + day * DAY
        yield {"begins": format_instant(begins), "ends": format_instant(begins + DAY), "name": f"day {day}"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder: Path = tmp_path_factory.mktemp("flights")
    (folder / "project.py").write_text(PROJECT, encoding="utf-8")
    found = Workspace(folder)
    assert [p for p in found.validate() if p.severity == "error"] == []
    found.apply(by="eva")
    for name, rows in (
        ("flights", flights()),
        ("weather", weather()),
        ("rosters", rosters()),
        ("holidays", holidays()),
    ):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        report = found.ingest(name, path)
        assert report.now.refused == 0
    return found


def rows_of(workspace: Workspace, source: str) -> list[dict[str, Any]]:
    frame = workspace.wiring.lake.read(source)
    physical = frame.select(column.to_physical() for column in frame)
    return physical.rows(named=True)


def test_tables_are_read_as_of_each_row(workspace: Workspace) -> None:
    project = workspace.project
    plan = project.feature_plan("late")
    lake = workspace.wiring.lake
    spine = event_spine(project.sources["flights"], lake.read("flights")).sort("_t")
    stored = {source: rows_of(workspace, source) for source in plan.sources}

    x = materialize(plan, spine, lake)

    asked = spine.select(column.to_physical() for column in spine).rows(named=True)
    for row, found in zip(asked, x.tolist(), strict=True):
        truth = features_of(plan, row, stored, row["_t"], row["_known_at"])
        assert [None if math.isnan(value) else value for value in found] == list(truth.values())
    columns = dict(zip(plan.names, x.T, strict=True))
    assert set(np.unique(columns["holiday"])) == {0.0, 1.0}
    assert {0.0, 1.0} <= set(np.unique(columns["planned"]))
    assert columns["crew"][-3:].max() == 18.0  # without an end it holds for ever
    assert np.nanmin(columns["age"]) == 10 / 60  # known ten minutes after its hour


def test_what_begins_at_the_row_s_time_is_read_only_if_known_ahead(workspace: Workspace) -> None:
    plan = workspace.project.feature_plan("late")
    stored = {source: rows_of(workspace, source) for source in plan.sources}
    begins = START + 4 * DAY
    row = {"flight": "f", "at": begins, "origin": "A", "carrier": "B", "delay": 0}

    at = features_of(plan, row, stored, begins, begins + DAY)
    before = features_of(plan, {**row, "at": begins - 1}, stored, begins - 1, begins + DAY)
    after = features_of(plan, {**row, "at": begins + DAY}, stored, begins + DAY, begins + 2 * DAY)

    assert (before["holiday"], at["holiday"], after["holiday"]) == (0.0, 1.0, 0.0)
    assert at["age"] > 0.0


def test_online_answers_what_offline_computes(workspace: Workspace) -> None:
    trained = workspace.train("late", seed=1, by="eva")
    assert trained.version is not None, trained.message
    plan = workspace.wiring.open_bundle(trained.version.bundle).plan
    assert plan.vocabularies["weather.sky"]
    assert plan.vocabularies["carrier_last"]
    materialize_state(workspace.wiring)
    store = workspace.wiring.online
    current = store.current()
    assert current is not None
    reader = store.reader(current)
    online = RowFeatures(plan, load_plan(reader.plan, current.state))
    assert online.lacks == ""
    schema = applied_project(workspace.wiring).sources["flights"]
    lake = workspace.wiring.lake
    spine = event_spine(schema, lake.read("flights")).sort("_t").tail(40)
    x = materialize(plan, spine.with_columns(_known_at=2**62), lake)

    asked = spine.select(column.to_physical() for column in spine).rows(named=True)
    with reader.snapshot() as snapshot:
        found = online.evaluate(asked, snapshot, [row["_t"] for row in asked])
    reader.close()

    assert not any(found.inexact)
    np.testing.assert_array_equal(found.x, x)


def test_prediction_over_tables_is_explained(workspace: Workspace) -> None:
    if not workspace.models("late"):
        workspace.train("late", seed=1, by="eva")
    workspace.deploy("late", 1, by="eva")
    workspace.predict("late", since=format_instant(START + 5 * DAY), until=format_instant(START + 6 * DAY))
    record = workspace.wiring.lake.read("_predictions").row(0, named=True)

    explained = workspace.why(record["prediction_id"])

    assert {"weather", "rosters", "holidays", "route", "airport"} <= set(explained.views)
    assert all(
        math.isnan(each.stored) == math.isnan(each.recomputed)
        and (math.isnan(each.stored) or each.stored == each.recomputed)
        for each in explained.features
    )
    sky = next(each for each in explained.features if each.name == "sky")
    assert sky.text in ("clear", "rain", "fog", None)
    assert (sky.text is None) == math.isnan(sky.stored)
