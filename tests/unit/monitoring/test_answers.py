from typing import Any

import polars as pl
import pytest

from holdfast.datasets.label import Label
from holdfast.events.source import Source
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY
from holdfast.monitoring.performance import Performance, answers_of, measure

TIME = pl.Datetime("us", "UTC")
COLUMNS = (Column("tx", "string", role="event_id"), Column("at", "time", role="event_time"))
PAYMENT = Schema("Payment", COLUMNS)
CHARGEBACKS = Source("chargebacks", PAYMENT)


def record(key: str, score: float, **changes: Any) -> dict[str, Any]:
    return {
        "key": key,
        "attempt": f"a-{key}",
        "t_us": DAY,
        "known_at_us": 2**63 - 1,
        "score": score,
        "decision": "allow",
        "step": "champion",
        "exposure": "served",
        "answered_us": 1_000_000,
        **changes,
    }


def scores(*records: dict[str, Any]) -> list[float]:
    return sorted(answers_of(pl.DataFrame(list(records)))["score"].to_list())


def test_outcome_belongs_to_the_first_answer() -> None:
    later = record("a", 0.9, attempt="b", answered_us=90_000_000)

    assert scores(record("a", 0.1), later) == [0.1]


def test_retry_within_a_minute_replaces_the_first_answer() -> None:
    retry = record("a", 0.9, attempt="b", answered_us=31_000_000)

    assert scores(record("a", 0.1), retry) == [0.9]


@pytest.mark.parametrize("change", [{"step": "rules"}, {"step": "previous"}, {"exposure": "shadow"}])
def test_fallback_and_shadow_answers_have_no_outcome(change: dict[str, Any]) -> None:
    assert scores(record("a", 0.1, **change), record("a", 0.9, answered_us=90_000_000)) == [0.9]


def measured(*records: dict[str, Any]) -> Performance:
    rows = pl.DataFrame(list(records))
    spine = pl.DataFrame({"tx": rows["key"], "_t": rows["t_us"], "_known_at": 0, "_key": rows["key"]})
    outcomes = pl.DataFrame(
        {"tx": ["bad"], "at": [DAY], "_arrived": [DAY + 10]},
        schema={"tx": pl.String, "at": pl.Int64, "_arrived": pl.Int64},
    ).with_columns(pl.col("at").cast(TIME))
    label = Label("chargebacks", key="tx", horizon=DAY, absent=0)
    return measure(
        "fraud", 1, rows, spine.unique("_key"), label, CHARGEBACKS, outcomes, as_of=9 * DAY, k=1, expected={}
    )


def test_live_answers_are_measured_on_the_outcomes_that_matured() -> None:
    new = record("new", 0.2, t_us=9 * DAY)

    found = measured(record("good", 0.1), record("bad", 0.9, decision="block"), new)

    assert (found.predictions, found.mature, found.positives) == (3, 2, 1)
    assert found.by_decision == {"allow": (1, 0), "block": (1, 1)}


def test_days_are_measured_one_by_one() -> None:
    found = measured(record("good", 0.1, t_us=2 * DAY), record("bad", 0.9), record("fine", 0.2))

    assert [(day.start, day.mature, day.positives) for day in found.days] == [(DAY, 2, 1), (2 * DAY, 1, 0)]
    assert found.days[0].metrics["auc"] == 1.0
