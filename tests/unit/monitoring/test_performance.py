"""Measured performance joins the last answer with outcomes as they had arrived."""

import math

import polars as pl
import pytest

from holdfast.cli import render
from holdfast.datasets.label import Label
from holdfast.datasets.spine import event_spine
from holdfast.events.source import ARRIVED, Source
from holdfast.features.view import Measure
from holdfast.features.window import Window
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY
from holdfast.monitoring.performance import Performance, measure
from holdfast.training.policy import Bands

COLUMNS = (Column("id", "string", role="event_id"), Column("at", "time", role="event_time"))
PAYMENT = Schema("Payment", COLUMNS)
REPORT = Schema("Report", COLUMNS)
PAYMENTS, REPORTS = Source("payments", PAYMENT, known_after=0), Source("reports", REPORT, known_after=0)
LABEL = Label("reports", 2 * DAY, key="id", absent=0.0, censored_by="block")


def events(rows: list[tuple[str, int, int]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema={"id": pl.String, "at": pl.Int64, ARRIVED: pl.Int64}, orient="row")
    return frame.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))


def answer(key: str, t: int, score: float, **other: object) -> dict[str, object]:
    return {
        "key": key,
        "attempt": "a-1",
        "t_us": t,
        "known_at_us": t,
        "score": score,
        "decision": "allow",
        "step": "champion",
        "exposure": "batch",
        "answered_us": t + 1,
        **other,
    }


def measured(
    answers: list[dict[str, object]],
    outcomes: list[tuple[str, int, int]],
    as_of: int,
    policy: Bands | None = None,
) -> Performance:
    records = pl.DataFrame(answers)
    rows = records.select(pl.col("key"), pl.col("t_us")).unique(maintain_order=True).rows()
    spine = event_spine(PAYMENTS, events([(key, t, t) for key, t in rows]))
    outcome = events(outcomes)
    return measure(
        "m", 1, records, spine, LABEL, REPORTS, outcome, as_of=as_of, k=10, expected={}, policy=policy, seed=1
    )


def test_only_mature_rows_are_measured() -> None:
    answers = [answer("a", 0, 0.9), answer("b", DAY, 0.1), answer("c", 2 * DAY, 0.5)]

    found = measured(answers, [("a", 0, DAY)], as_of=3 * DAY)

    assert (found.predictions, found.mature, found.positives) == (3, 2, 1)
    assert found.metrics["auc"].value == 1.0
    assert (found.since, found.until) == (0, 2 * DAY + 1)


def test_outcome_that_arrived_after_the_horizon_is_not_used() -> None:
    found = measured([answer("a", 0, 0.9), answer("b", 0, 0.1)], [("a", 0, 2 * DAY + 1)], as_of=9 * DAY)

    assert (found.mature, found.positives, found.late) == (2, 0, 1)
    assert "1 outcome arrived more than 2d later and changed no label" in render.performance(found)


def test_rows_that_wait_and_rows_whose_outcome_was_prevented_are_told() -> None:
    answers = [
        answer("a", 0, 0.9),
        answer("b", 0, 0.9, decision="block", exposure="served"),
        answer("c", 2 * DAY, 0.5),
        answer("d", 2 * DAY, 0.5),
    ]

    found = measured(answers, [], as_of=3 * DAY)

    assert (found.mature, found.waiting, found.censored, found.late) == (1, 2, 1, 0)
    shown = render.performance(found)
    assert (
        "2 rows wait: a label is fixed 2d after its row, and known is what arrived up to 1970-01-04T00:00:00Z"
        in shown
    )
    assert "1 row not counted: the decision prevented the outcome" in shown
    assert "late" not in shown


def test_last_attempt_at_a_key_counts() -> None:
    first = answer("a", 0, 0.1, decision="allow", answered_us=5)
    last = answer("a", 0, 0.9, decision="review", attempt="a-2", answered_us=6)

    found = measured([last, first], [("a", 0, 0)], as_of=9 * DAY)

    assert found.by_decision == {"review": (1, 1)}
    assert found.predictions == 1


@pytest.mark.parametrize(("exposure", "mature"), [("served", 0), ("batch", 1), ("holdout", 1)])
def test_only_an_answer_that_was_acted_upon_censors(exposure: str, mature: int) -> None:
    found = measured([answer("a", 0, 0.9, decision="block", exposure=exposure)], [], as_of=9 * DAY)

    assert found.mature == mature


def test_recommendations_are_listed_from_the_highest_band() -> None:
    given = ("allow", None, "review", "block")
    answers = [answer(f"a-{i}", i, 0.5, decision=name) for i, name in enumerate(given)]

    found = measured(
        answers, [], as_of=9 * DAY, policy=Bands((("block", 0.9), ("review", 0.6), ("allow", 0)))
    )

    assert list(found.by_decision) == ["block", "review", "allow", "none"]


def test_answer_without_decision_is_counted_as_none() -> None:
    found = measured([answer("a", 0, 0.9, decision=None)], [], as_of=9 * DAY)

    assert found.by_decision == {"none": (1, 0)}


def test_nothing_mature_has_no_metrics() -> None:
    found = measured([answer("a", 0, 0.9)], [], as_of=DAY)

    assert (found.mature, found.metrics, found.by_decision) == (0, {}, {})
    shown = render.performance(found)
    assert "positive" not in shown
    assert "no label has matured yet; if nothing more came until a later time, --as-of says so" in shown


def test_rows_of_which_none_has_a_label_are_not_said_to_wait() -> None:
    found = measured([answer("a", 0, 0.9, decision="block", exposure="served")], [], as_of=9 * DAY)

    shown = render.performance(found)

    assert shown.endswith("no row has a label")
    assert "wait" not in shown


def test_rows_the_version_learnt_from_are_counted() -> None:
    records = pl.DataFrame([answer("a", 0, 0.9), answer("b", DAY, 0.1)])
    spine = event_spine(PAYMENTS, events([("a", 0, 0), ("b", DAY, DAY)]))

    found = measure(
        "m",
        1,
        records,
        spine,
        LABEL,
        REPORTS,
        events([("a", 0, 0)]),
        as_of=9 * DAY,
        k=10,
        expected={},
        learnt_until=DAY,
    )

    assert (found.mature, found.learnt_from) == (2, 1)


def sales_of(key: str) -> Source:
    schema = Schema("Sale", (*COLUMNS, Column(key, "string"), Column("sold", "int")))
    return Source("sales", schema, known_after=0)


SOLD = Measure("sold", "sum", Window(DAY), "sold")
DEMAND = Label("sales", DAY, window=SOLD, absent=0.0)

FORECASTS = [
    # item, origin and horizon in days, forecast, naive forecast
    ("a", 0, 1, 8.0, 4.0),
    ("a", 0, 2, 9.0, 4.0),
    ("a", 1, 1, 7.0, 10.0),
    ("b", 0, 1, 1.0, 2.0),
    ("b", 0, 2, 3.0, 2.0),
    ("c", 0, 1, 5.0, 0.0),  # a series that never moved in training
    ("a", 1, 2, 6.0, 10.0),  # about the third day, which is not over yet
]
SCALES = {"a": 4.0, "b": 1.0}
DAYS_SOLD = [("a", 0, 10), ("a", 1, 5), ("b", 0, 2), ("b", 1, 6), ("c", 0, 4), ("a", 2, 99)]


def forecast_performance(
    expected_at: dict[int, dict[str, float | None]] | None = None, key: str = "item"
) -> Performance:
    keys = [f"{item}|{origin}|{horizon}" for item, origin, horizon, *_ in FORECASTS]
    records = pl.DataFrame(
        [
            answer(name, origin * DAY, score, decision=None, model="demand", version=1, request="{}")
            for name, (_, origin, _, score, _) in zip(keys, FORECASTS, strict=True)
        ]
    )
    spine = pl.DataFrame(
        {
            key: [item for item, *_ in FORECASTS],
            "horizon": [horizon for _, _, horizon, *_ in FORECASTS],
            "target": [(origin + horizon - 1) * DAY for _, origin, horizon, *_ in FORECASTS],
            "_t": records["t_us"],
            "_known_at": records["known_at_us"],
            "_key": keys,
            "_baseline": [naive for *_, naive in FORECASTS],
            "_scale": [SCALES.get(item) for item, *_ in FORECASTS],
        }
    )
    sold = pl.DataFrame(
        [(f"{item}{day}", day * DAY, day * DAY, item, n) for item, day, n in DAYS_SOLD],
        schema={"id": pl.String, "at": pl.Int64, ARRIVED: pl.Int64, key: pl.String, "sold": pl.Int64},
        orient="row",
    ).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    return measure(
        "demand", 1, records, spine, DEMAND, sales_of(key), sold, as_of=2 * DAY, k=10, expected={},
        entity=(key,), about="target", task="regression", expected_at=expected_at,
    )  # fmt: skip


def test_forecast_is_measured_at_each_horizon_beside_the_baseline() -> None:
    found = forecast_performance({1: {"wape": 0.25}})

    # Horizon 1: 10 forecast as 8, 5 as 7, 2 as 1 and 4 as 5; horizon 2: 5 forecast as 9, 6 as 3.
    first, second = found.horizons
    assert (found.mature, found.waiting) == (6, 1)
    assert (first.horizon, first.mature, second.horizon, second.mature) == (1, 4, 2, 2)
    assert first.metrics["wape"] == pytest.approx((2 + 2 + 1 + 1) / 21)
    assert first.baseline["wape"] == pytest.approx((6 + 5 + 0 + 4) / 21)
    assert second.metrics["wape"] == pytest.approx((4 + 3) / 11)
    assert second.baseline["wape"] == pytest.approx((1 + 4) / 11)
    # The mean of the series `a` and `b`: `c` has no scale.
    assert first.metrics["rmsse"] == pytest.approx((math.sqrt((4 + 4) / 2 / 4) + math.sqrt(1 / 1)) / 2)
    assert first.baseline["rmsse"] == pytest.approx((math.sqrt((36 + 25) / 2 / 4) + 0) / 2)
    assert second.metrics["rmsse"] == pytest.approx((math.sqrt(16 / 4) + math.sqrt(9 / 1)) / 2)
    assert (first.expected, second.expected) == ({"wape": 0.25}, {})


def test_forecast_is_measured_over_all_horizons_by_series() -> None:
    found = forecast_performance()

    squares_a, squares_b = (4 + 16 + 4) / 3, (1 + 9) / 2
    assert found.metrics["wape"].value == pytest.approx(13 / 32)
    assert found.baseline["wape"] == pytest.approx(20 / 32)
    assert found.metrics["rmsse"].value == pytest.approx(
        (math.sqrt(squares_a / 4) + math.sqrt(squares_b / 1)) / 2
    )
    assert [(day.mature, round(day.metrics["wape"], 9)) for day in found.days] == [
        (5, round(11 / 27, 9)),
        (1, 0.4),
    ]


@pytest.mark.parametrize("key", ["model", "version", "decision", "score", "key", "request"])
def test_a_key_may_be_called_as_a_column_of_a_record_is(key: str) -> None:
    assert render.to_json(forecast_performance(key=key)) == render.to_json(forecast_performance())


def test_horizons_of_a_forecast_are_shown_with_what_was_expected() -> None:
    shown = render.performance(forecast_performance({1: {"wape": 0.25, "rmsse": None}}), "horizon")

    lines = [line.split() for line in shown.splitlines()]
    assert ["wape", ".625", ".406"] in [line[:3] for line in lines]
    assert ["horizon", "mature", "baseline", "wape", "expected", "baseline", "rmsse", "expected"] in lines
    assert ["1", "4", ".714", ".286", ".250", "1.381", "1.000", "n/a"] in lines
    assert ["2", "2", ".455", ".636", "n/a", "2.250", "2.500", "n/a"] in lines
    assert "positive" not in shown


def test_what_forecasts_nothing_has_no_horizons() -> None:
    assert measured([answer("a", 0, 0.9)], [], as_of=9 * DAY).horizons == ()
    assert measured([answer("a", 0, 0.9)], [], as_of=9 * DAY).baseline == {}
