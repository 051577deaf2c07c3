"""Flights from New York in 2013 (nycflights13, CC0): will this one land a quarter of an hour late?"""

from datetime import datetime

import holdfast as hf


class Flight(hf.Event):
    flight_id: str = hf.event_id(max_length=40)
    asked_at: datetime = hf.event_time(doc="an hour before the scheduled departure")
    leaves_at: datetime
    tailnum: str | None = hf.field(max_length=6)
    carrier: str = hf.field(max_length=2)
    flight: int = hf.field(ge=1, le=9_999)
    origin: str = hf.field(one_of=["EWR", "JFK", "LGA"])
    dest: str = hf.field(max_length=3)
    minutes: int = hf.field(ge=10, le=1_000)
    distance: int = hf.field(ge=1, le=10_000)


class Departure(hf.Event):
    flight_id: str = hf.event_id(max_length=40)
    left_at: datetime = hf.event_time()
    tailnum: str | None = hf.field(max_length=6)
    carrier: str = hf.field(max_length=2)
    flight: int = hf.field(ge=1, le=9_999)
    origin: str = hf.field(max_length=3)
    dest: str = hf.field(max_length=3)
    dep_delay: int = hf.field(ge=-120, le=1_440)


class Arrival(hf.Event):
    flight_id: str = hf.event_id(max_length=40)
    landed_at: datetime = hf.event_time()
    tailnum: str | None = hf.field(max_length=6)
    carrier: str = hf.field(max_length=2)
    flight: int = hf.field(ge=1, le=9_999)
    origin: str = hf.field(max_length=3)
    dest: str = hf.field(max_length=3)
    arr_delay: int = hf.field(ge=-120, le=1_440)


class Weather(hf.Event):
    observation_id: str = hf.event_id(content=True)
    observed_at: datetime = hf.event_time()
    origin: str = hf.field(one_of=["EWR", "JFK", "LGA"])
    temp: float | None = hf.field(scale=2, ge=-40, le=130)
    humid: float | None = hf.field(scale=2, ge=0, le=100)
    wind_speed: float | None = hf.field(ge=0, le=150, doc="converted from knots, so not in whole digits")
    wind_gust: float | None = hf.field(ge=0, le=200)
    precip: float = hf.field(scale=2, ge=0, le=10)
    pressure: float | None = hf.field(scale=1, ge=900, le=1_100)
    visib: float = hf.field(scale=2, ge=0, le=10)


class Plane(hf.Event):
    listed_at: datetime = hf.event_time()
    tailnum: str = hf.field(max_length=6)
    year: int | None = hf.field(ge=1950, le=2013)
    manufacturer: str = hf.field(max_length=40)
    seats: int = hf.field(ge=1, le=600)


project = hf.Project("flights", owner="operations")
flights = project.source("flights", Flight, known_after="0s")
departures = project.source("departures", Departure, known_after="0s")
arrivals = project.source("arrivals", Arrival, known_after="0s")
weather = project.table("weather", Weather, key="origin", known_after="1h")
planes = project.table("planes", Plane, key="tailnum", known_after="0s")

plane = hf.Entity("plane", key="tailnum")
airport = hf.Entity("airport", key="origin")
desk = hf.Entity("desk", key=["carrier", "origin"])
route = hf.Entity("route", key=["origin", "dest"])
number = hf.Entity("number", key=["carrier", "flight"])


@project.view(departures, entity=plane)
def plane_departures(d):
    return {"plane_dep_delay_6h": d.dep_delay.max(over="6h"), "plane_departures_1d": d.count(over="1d")}


@project.view(arrivals, entity=plane)
def plane_arrivals(a):
    return {
        "plane_arr_delay_12h": a.arr_delay.max(over="12h"),
        "plane_arr_delay_7d": a.arr_delay.mean(over="7d"),
    }


@project.view(departures, entity=airport)
def airport_departures(d):
    return {
        "airport_dep_delay_1h": d.dep_delay.mean(over="1h"),
        "airport_dep_delay_3h": d.dep_delay.mean(over="3h"),
        "airport_departures_1h": d.count(over="1h"),
    }


@project.view(departures, entity=desk)
def desk_departures(d):
    return {
        "desk_dep_delay_3h": d.dep_delay.mean(over="3h"),
        "desk_dep_delay_7d": d.dep_delay.mean(over="7d"),
    }


@project.view(arrivals, entity=route)
def route_arrivals(a):
    return {
        "route_arr_delay_6h": a.arr_delay.mean(over="6h"),
        "route_arr_delay_30d": a.arr_delay.mean(over="30d"),
    }


@project.view(arrivals, entity=number)
def number_arrivals(a):
    return {
        "number_arr_delay_30d": a.arr_delay.mean(over="30d"),
        "number_late_30d": a.count(over="30d", where=a.arr_delay >= 15),
        "number_arrivals_30d": a.count(over="30d"),
    }


@project.features(
    Flight,
    plane_departures,
    plane_arrivals,
    airport_departures,
    desk_departures,
    route_arrivals,
    number_arrivals,
    weather,
    planes,
)
def create_features(x):
    return {
        "hour": x.leaves_at.hour(tz="America/New_York"),
        "weekday": x.leaves_at.weekday(tz="America/New_York"),
        "month": x.leaves_at.month(tz="America/New_York"),
        "minutes": x.minutes,
        "distance": x.distance,
        "carrier": x.carrier,
        "origin": x.origin,
        "dest": x.dest,
        "number_late_rate": x.number_late_30d / x.number_arrivals_30d,
        **plane_departures.all,
        **plane_arrivals.all,
        **airport_departures.all,
        **desk_departures.all,
        **route_arrivals.all,
        **number_arrivals.all,
        "temp": weather.temp,
        "humid": weather.humid,
        "wind": weather.wind_speed,
        "gust": weather.wind_gust,
        "precip": weather.precip,
        "pressure": weather.pressure,
        "visib": weather.visib,
        "weather_age_h": (x.asked_at - weather.observed_at) / 3_600_000_000,
        "plane_built": planes.year,
        "plane_seats": planes.seats,
        "plane_maker": planes.manufacturer,
    }


@project.model(
    create_features,
    # Known on arrival. Cancelled and diverted flights have none, and are left out.
    label=hf.Label(arrivals, key="flight_id", value=arrivals.arr_delay >= 15, horizon="2d"),
    params={"n_estimators": 500, "num_leaves": 63, "learning_rate": 0.05, "min_child_samples": 100},
    split=hf.TimeSplit(test="45d", validation="30d"),
)
def late(data, params, run):
    from lightgbm import LGBMClassifier, early_stopping, log_evaluation

    model = LGBMClassifier(
        **params, random_state=run.seed, deterministic=True, force_row_wise=True, n_jobs=2, verbose=-1
    )
    return model.fit(
        data.train.x,
        data.train.y,
        eval_X=data.validation.x,
        eval_y=data.validation.y,
        eval_metric="binary_logloss",
        feature_name=data.names,
        categorical_feature=data.categorical,
        callbacks=[early_stopping(40, verbose=False), log_evaluation(0)],
    )


project.release(late, gates=[hf.metric("auc") >= 0.65, hf.metric("average_precision") >= 0.30])
