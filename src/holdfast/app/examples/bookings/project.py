"""Hotel bookings: will this one be cancelled within 120 days? Real data, see ATTRIBUTION.md."""

from datetime import datetime
from decimal import Decimal

import holdfast as hf

# Filled in or corrected until check-in, as their authors say: known_later, so no feature may read them.


class Booking(hf.Event):
    booking_id: str = hf.event_id(max_length=16)
    booked_at: datetime = hf.event_time(doc="the day; its hour is not published")
    arrival_at: datetime
    hotel: str = hf.field(one_of=["Resort Hotel", "City Hotel"])
    stays_in_weekend_nights: int = hf.field(ge=0, le=60)
    stays_in_week_nights: int = hf.field(ge=0, le=60)
    adults: int = hf.field(ge=0, le=60)
    children: int | None = hf.field(ge=0, le=20)
    babies: int = hf.field(ge=0, le=20)
    meal: str = hf.field(max_length=20)
    country: str | None = hf.field(max_length=3, known_later=True)
    market_segment: str = hf.field(one_of=["Direct", "Corporate", "Online TA", "Offline TA/TO",
                                           "Complementary", "Groups", "Aviation"])  # fmt: skip
    distribution_channel: str = hf.field(max_length=20)
    is_repeated_guest: int = hf.field(ge=0, le=1)
    previous_cancellations: int = hf.field(ge=0, le=1_000)
    previous_bookings_not_canceled: int = hf.field(ge=0, le=1_000)
    reserved_room_type: str = hf.field(max_length=1)
    assigned_room_type: str = hf.field(max_length=1, known_later=True)
    booking_changes: int = hf.field(ge=0, le=1_000, known_later=True)
    deposit_type: str = hf.field(one_of=["No Deposit", "Refundable", "Non Refund"])
    agent: int | None = hf.field(ge=0, le=10_000)
    company: int | None = hf.field(ge=0, le=10_000)
    days_in_waiting_list: int = hf.field(ge=0, le=1_000, known_later=True)
    customer_type: str = hf.field(max_length=20)
    adr: Decimal = hf.field(scale=3, ge=0, le=1_000, doc="euros a night")
    required_car_parking_spaces: int = hf.field(ge=0, le=20, known_later=True)
    total_of_special_requests: int = hf.field(ge=0, le=20, known_later=True)


class Outcome(hf.Event):  # one for each booking, on the day it is settled; known when that day is over
    booking_id: str = hf.event_id(max_length=16)
    settled_at: datetime = hf.event_time()
    reported_at: datetime = hf.arrival_time()
    hotel: str = hf.field(max_length=20)
    agent: int | None = hf.field(ge=0, le=10_000)
    company: int | None = hf.field(ge=0, le=10_000)
    market_segment: str = hf.field(max_length=20)
    status: str = hf.field(one_of=["Canceled", "No-Show", "Check-Out"])


project = hf.Project("bookings", owner="revenue", people={"revenue-lead": ["ines", "rui"]})
bookings = project.source("bookings", Booking, lateness="1d", known_after="0s")
outcomes = project.source("outcomes", Outcome)

segment = hf.Entity("segment", key=["hotel", "market_segment"])
agency = hf.Entity("agency", key=["hotel", "agent"])
client = hf.Entity("client", key=["hotel", "company"])


@project.view(bookings, entity=agency)
def agency_bookings(b):
    return {
        "agency_bookings_7d": b.count(over="7d"),
        "agency_bookings_90d": b.count(over="90d"),
        "agency_adr_90d": b.adr.mean(over="90d"),
    }


@project.view(bookings, entity=segment)
def segment_bookings(b):
    return {"segment_bookings_30d": b.count(over="30d"), "segment_adr_30d": b.adr.mean(over="30d")}


@project.view(outcomes, entity=agency)  # as known: what was settled, and reported, before this booking
def agency_outcomes(o):
    return {
        "agency_settled_90d": o.count(over="90d"),
        "agency_cancelled_90d": o.count(over="90d", where=o.status == "Canceled"),
        "agency_settled_365d": o.count(over="365d"),
        "agency_cancelled_365d": o.count(over="365d", where=o.status == "Canceled"),
    }


@project.view(outcomes, entity=client)
def client_outcomes(o):
    return {
        "client_settled_365d": o.count(over="365d"),
        "client_cancelled_365d": o.count(over="365d", where=o.status == "Canceled"),
    }


@project.view(outcomes, entity=segment)
def segment_outcomes(o):
    return {
        "segment_settled_30d": o.count(over="30d"),
        "segment_cancelled_30d": o.count(over="30d", where=o.status == "Canceled"),
    }


@project.features(
    Booking, agency_bookings, segment_bookings, agency_outcomes, client_outcomes, segment_outcomes
)
def create_features(x):  # what is known_later is not there to be read
    return {
        "lead_days": (x.arrival_at - x.booked_at) / 86_400_000_000,
        "nights": x.stays_in_weekend_nights + x.stays_in_week_nights,
        "weekend_nights": x.stays_in_weekend_nights,
        "guests": x.adults + x.children.fill(0) + x.babies,
        "children": x.children.fill(0) + x.babies,
        "arrival_month": x.arrival_at.month(),
        "arrival_weekday": x.arrival_at.weekday(),
        "booked_weekday": x.booked_at.weekday(),
        "resort": x.hotel == "Resort Hotel",
        "meal": x.meal,
        "market_segment": x.market_segment,
        "distribution_channel": x.distribution_channel,
        "customer_type": x.customer_type,
        "deposit_type": x.deposit_type,
        "reserved_room_type": x.reserved_room_type,
        "repeated_guest": x.is_repeated_guest,
        "previous_cancellations": x.previous_cancellations,
        "previous_kept": x.previous_bookings_not_canceled,
        "has_agent": ~x.agent.is_missing(),
        "has_company": ~x.company.is_missing(),
        "adr": x.adr,
        "adr_vs_segment": x.adr / x.segment_adr_30d,
        "adr_vs_agency": x.adr / x.agency_adr_90d,
        "agency_bookings_7d": x.agency_bookings_7d,
        "agency_bookings_90d": x.agency_bookings_90d,
        "agency_cancel_rate_90d": x.agency_cancelled_90d / x.agency_settled_90d,
        "agency_cancel_rate_365d": x.agency_cancelled_365d / x.agency_settled_365d,
        "client_cancel_rate_365d": x.client_cancelled_365d / x.client_settled_365d,
        "segment_cancel_rate_30d": x.segment_cancelled_30d / x.segment_settled_30d,
        "segment_bookings_30d": x.segment_bookings_30d,
    }


@project.model(
    create_features,
    label=hf.Label(outcomes, key="booking_id", value=outcomes.status == "Canceled", horizon="120d", absent=0),
    params={
        "n_estimators": 600,
        "num_leaves": 31,
        "learning_rate": 0.04,
        "min_child_samples": 60,
        "subsample": 0.8,
        "subsample_freq": 1,
        "colsample_bytree": 0.7,
    },
    split=hf.TimeSplit(test="60d", validation="60d"),  # the gap between them is the horizon, 120 days
    cost=hf.Cost(false_alarm=1.0, missed=4.0),
    precision_at=20,
)
def cancellation(data, params, run):
    from lightgbm import LGBMClassifier, early_stopping, log_evaluation

    model = LGBMClassifier(
        **params, random_state=run.seed, deterministic=True, force_row_wise=True, n_jobs=2, verbose=-1
    )
    return model.fit(
        data.train.x,
        data.train.y,
        sample_weight=data.train.weight,
        eval_X=data.validation.x,
        eval_y=data.validation.y,
        eval_metric="binary_logloss",
        feature_name=data.names,
        categorical_feature=data.categorical,
        callbacks=[early_stopping(60, verbose=False), log_evaluation(0)],
    )


project.release(
    cancellation,
    gates=[
        hf.metric("auc") >= 0.70,
        hf.metric("average_precision") >= 0.40,
        hf.metric("auc") >= hf.champion() - 0.01,
    ],
    approval=hf.Approval(role="revenue-lead", not_author=True),
    decision=hf.Bands(overbook=0.50, remind=0.25, keep=0.0),
)
