"""Turns a year of flights from New York into what was known when: schedule, departures, arrivals, weather.

Clock times are local, written HHMM (2400 is midnight): departure in New York, arrival where it lands.
"""

from pathlib import Path

import polars as pl

NEW_YORK = "America/New_York"
ISLANDS = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
"""Destinations that the list of airports does not have; all keep the same time, all year."""

KNOWN = ["flight_id", "tailnum", "carrier", "flight", "origin", "dest"]


def prepare(
    flights: pl.DataFrame, airports: pl.DataFrame, weather: pl.DataFrame, planes: pl.DataFrame, out: Path
) -> None:
    """Write a file for each source."""
    table = with_instants(flights, airports)
    out.mkdir(parents=True, exist_ok=True)
    schedule = table.select(
        *KNOWN,
        # Asked an hour before: the flight itself has not left by then.
        asked_at=pl.col("leaves_at") - pl.duration(hours=1),
        leaves_at="leaves_at",
        minutes=(pl.col("lands_at") - pl.col("leaves_at")).dt.total_minutes(),
        distance="distance",
    )
    departures = table.filter(pl.col("dep_delay").is_not_null()).select(
        *KNOWN, left_at=pl.col("leaves_at") + pl.duration(minutes="dep_delay"), dep_delay="dep_delay"
    )
    arrivals = table.filter(pl.col("arr_delay").is_not_null()).select(
        *KNOWN, landed_at=pl.col("lands_at") + pl.duration(minutes="arr_delay"), arr_delay="arr_delay"
    )
    measures = ["temp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    seen = weather.select("origin", _utc("time_hour").alias("observed_at"), *measures)
    known = planes.select("tailnum", "year", "manufacturer", "seats").with_columns(
        listed_at=pl.lit("2013-01-01T00:00:00Z").str.to_datetime("%FT%TZ", time_zone="UTC", time_unit="us")
    )
    for name, frame, time in (
        ("flights", schedule, "asked_at"),
        ("departures", departures, "left_at"),
        ("arrivals", arrivals, "landed_at"),
        ("weather", seen, "observed_at"),
        ("planes", known, "listed_at"),
    ):
        frame.sort(time, maintain_order=True).write_parquet(out / f"{name}.parquet")


def with_instants(flights: pl.DataFrame, airports: pl.DataFrame) -> pl.DataFrame:
    """Add an id, and the scheduled departure and arrival in UTC."""
    zones = {**dict(airports.select("faa", "tzone").drop_nulls().iter_rows()), **ISLANDS}
    table = flights.with_columns(pl.col("carrier", "tailnum", "origin", "dest").cast(pl.String))
    table = table.with_columns(
        _local("sched_dep_time")
        .dt.replace_time_zone(NEW_YORK)
        .dt.convert_time_zone("UTC")
        .alias("leaves_at"),
        _local("sched_arr_time").alias("_same_day"),
        (_local("sched_arr_time") + pl.duration(days=1)).alias("_next_day"),
        zone=pl.col("dest").replace_strict(zones, default=None, return_dtype=pl.String),
    )
    parts = []
    for (zone,), part in table.partition_by("zone", as_dict=True, maintain_order=True).items():
        # Each day in its own offset: where clocks change at night, a day later is not 24 hours later.
        same, following = (
            pl.col(name)
            .dt.replace_time_zone(str(zone), ambiguous="earliest", non_existent="null")
            .dt.convert_time_zone("UTC")
            for name in ("_same_day", "_next_day")
        )
        parts.append(
            part.with_columns(lands_at=pl.when(same > pl.col("leaves_at")).then(same).otherwise(following))
        )
    return (
        pl.concat(parts)
        .with_columns(
            flight_id=pl.concat_str(
                pl.col("leaves_at").dt.strftime("%y%m%d%H%M"), "origin", "carrier", "flight", separator="-"
            )
        )
        .sort("leaves_at", "flight_id")
    )


def clock_differs(table: pl.DataFrame) -> int:
    """Count arrivals whose computed instant does not show the clock time that the table gives."""
    wrong = 0
    landed = pl.col("lands_at") + pl.duration(minutes="arr_delay")
    for (zone,), part in table.partition_by("zone", as_dict=True).items():
        local = landed.dt.convert_time_zone(str(zone))
        shown = local.dt.hour().cast(pl.Int32) * 100 + local.dt.minute()
        differs = shown != pl.col("arr_time").cast(pl.Int32) % 2400
        wrong += part.filter(pl.col("arr_delay").is_not_null(), differs).height
    return wrong


def weather_differs(dataset: pl.DataFrame, weather: pl.DataFrame) -> tuple[int, int]:
    """Compare the weather of a dataset with an as-of join by Polars; return its values, and how many differ.

    What was observed is known an hour later, so at `t` the last observation of `t` less an hour is.
    """
    names = {"temp": "temp", "humid": "humid", "precip": "precip", "visib": "visib", "wind_speed": "wind"}
    rows = dataset.select(
        pl.col("_t").cast(pl.Datetime("us", "UTC")),
        pl.col("_key").str.split("-").list.get(1).alias("origin"),
        *names.values(),
    ).sort("_t")
    seen = weather.select(
        "origin",
        (_utc("time_hour") + pl.duration(hours=1)).alias("_known"),
        *(pl.col(n).alias(f"{n}_") for n in names),
    ).sort("_known")
    joined = rows.join_asof(seen, left_on="_t", right_on="_known", by="origin", check_sortedness=False)
    differ = sum(
        joined.filter(pl.col(ours).fill_nan(None).ne_missing(pl.col(f"{name}_"))).height
        for name, ours in names.items()
    )
    return len(names) * joined.height, differ


def _local(hhmm: str) -> pl.Expr:
    """Return the local time of a clock reading on the day of departure, without a zone."""
    minutes = (pl.col(hhmm) // 100).cast(pl.Int64) * 60 + pl.col(hhmm) % 100
    return pl.datetime("year", "month", "day") + pl.duration(minutes=minutes)


def _utc(text: str) -> pl.Expr:
    return pl.col(text).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", time_unit="us")
