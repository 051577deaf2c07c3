"""Proof: a year of flights, local clocks and all, into what was known when; every row accounted for.

Run with `python -m benchmarks.proof_flights`.
"""

import tempfile
from pathlib import Path

import polars as pl
from rich.console import Console

from benchmarks.figures import report
from benchmarks.real_data import account, copy_project, counted, load, need_data, take_in

FILES = ("flights", "airports", "weather", "planes")
SOURCES = ("flights", "departures", "arrivals", "weather", "planes")


def prove(folder: Path, paths: list[Path]) -> None:
    """Take the year in, count, train, and measure on its last weeks."""
    home = copy_project("flights", folder)
    script = load(home / "prepare.py")
    flights, airports, weather, planes = map(pl.read_parquet, paths)
    script.prepare(flights, airports, weather, planes, home / "events")
    # Computed from scheduled arrival, zone and delay; the clock on arrival was not used, so it is a check.
    differing = script.clock_differs(script.with_instants(flights, airports))
    workspace, reports = take_in(home, SOURCES)
    account("flights from New York, 2013", reports)

    lake = workspace.wiring.lake
    stored, seen = lake.read("flights"), lake.read("weather", ["origin", "observed_at"])
    listed = lake.read("planes", ["tailnum"])
    hourly = stored.with_columns(pl.col("leaves_at").dt.truncate("1h").alias("observed_at"))
    trained = workspace.train("late", seed=7, by="proof")
    run, dataset = trained.run, trained.dataset
    assert trained.version is not None, trained.message
    bad = pl.col("wind_speed") > 150
    frame = workspace.wiring.snapshots.load(trained.version.dataset).frame
    values, differ = script.weather_differs(frame, weather.filter(~bad.fill_null(False)))
    assert differ == 0
    lost = flights["arr_delay"].null_count()
    assert dataset["unlabelled"] <= lost
    for found in run.suspicions:
        Console(width=110).print(f"leak? {found.feature}: {found.evidence}", highlight=False)
    report(
        "proof",
        [
            *counted("flights", reports),
            ("flights_clock_differs", differing, "rows"),
            ("flights_without_arrival", lost, "rows"),
            (
                "flights_without_weather_of_the_hour",
                hourly.join(seen, ["origin", "observed_at"], "anti").height,
            ),
            ("flights_of_unlisted_planes", stored.join(listed, "tailnum", "anti").height, "rows"),
            ("flights_dataset_rows", dataset["rows"], "rows"),
            ("flights_dataset_unlabelled", dataset["unlabelled"], "rows"),
            ("flights_auc", run.metrics["auc"].value or 0.0),
            ("flights_average_precision", run.metrics["average_precision"].value or 0.0),
            ("flights_base_rate", run.baseline["average_precision"] or 0.0),
            ("flights_weather_values_joined", values),
            ("flights_weather_values_that_differ", differ),
            ("flights_features_accused", len(run.suspicions)),
        ],
        title="flights: late by a quarter of an hour, asked an hour before departure",
    )


def main() -> None:
    """Run the proof."""
    paths = need_data(*(f"nycflights13_{name}" for name in FILES))
    with tempfile.TemporaryDirectory() as folder:
        prove(Path(folder), paths)


if __name__ == "__main__":
    main()
