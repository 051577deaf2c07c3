"""Laws of parity: what was known at a batch equals its recomputation, and nothing else does."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.features.oracle import features_of
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, View
from holdfast.kernel.expr import Expr, col
from holdfast.kernel.ids import canonical_json
from holdfast.kernel.schema import Column, Schema
from holdfast.serving.frames import BOUNDED_BY_BATCH, LIVE_SCHEMA
from holdfast.serving.parity import SCORE, ParityReport, compare_records
from holdfast.testing.lake import MemoryLake
from holdfast.testing.strategies import PAYMENT, event_frame, event_rows, readable, spine_rows, views

Rows = list[dict[str, Any]]

ASKED = Schema("Asked", (Column("card_id", "string", nullable=True), Column("shop", "int", nullable=True)))
SETTLED = 4


def plan_of(found: tuple[View, ...]) -> FeaturePlan:
    read, vocabularies = readable(found)
    doubled = read[0].expr
    features = (*read, Feature("doubled", Expr("add", (doubled, doubled))), Feature("shop", col("shop")))
    chosen = FeatureSet("f", "asked", features, tuple(view.name for view in found))
    return FeaturePlan(chosen, ASKED, found, {"payments": PAYMENT}, vocabularies)


def total(runtime: str, x: np.ndarray) -> np.ndarray:
    """A model whose score is the sum of its features."""
    assert runtime == "sum"
    return np.nan_to_num(x).sum(axis=1)


def lake_of(events: Rows) -> MemoryLake:
    lake = MemoryLake()
    frame = event_frame(events).with_columns(pl.lit("measured").alias("_basis"))
    lake.append("payments", frame, app="t", batch=1)
    return lake


def records_of(plan: FeaturePlan, events: Rows, asked: Rows, batches: list[int], **same: Any) -> pl.DataFrame:
    rows = []
    for number, (row, batch) in enumerate(zip(asked, batches, strict=True)):
        live = same.get("known_at_us", BOUNDED_BY_BATCH)
        truth = features_of(plan, row, {"payments": events}, row["_t"], live, batch)
        x = np.array([math.nan if value is None else value for value in truth.values()])
        rows.append(
            {
                "format": 1,
                "prediction_id": f"p-{number}",
                "attempt": f"a-{number}",
                "model": "m",
                "version": 1,
                "bundle": "b",
                "runtime": "sum",
                "key": str(number),
                "t_us": row["_t"],
                "known_at_us": BOUNDED_BY_BATCH,
                "known_batch": [batch],
                "request": canonical_json({"card_id": row["card_id"], "shop": row["shop"]}).decode(),
                "features": x.astype("<f8").tobytes(),
                "plan": plan.fingerprint,
                "score": float(total("sum", x[None, :])[0]),
                "decision": None,
                "step": "champion",
                "missing": [],
                "exposure": "served",
                "answered_us": row["_t"],
                "latency_us": [],
                "inexact": False,
                **same,
            }
        )
    return pl.DataFrame(rows, schema=LIVE_SCHEMA)


batch_numbers = st.lists(st.integers(0, SETTLED), min_size=8, max_size=8)


@given(views(), event_rows(), spine_rows(), batch_numbers)
def test_records_of_many_batches_equal_the_oracle_in_one_pass(
    found: tuple[View, ...], events: Rows, asked: Rows, batches: list[int]
) -> None:
    plan = plan_of(found)
    records = records_of(plan, events, asked, batches[: len(asked)])

    report = compare_records(records, plan, total, lake_of(events), settled=SETTLED)

    assert report.differences == ()
    assert report.predictions == len(asked)
    assert report.values_compared == len(asked) * (len(plan.names) + 1)


@given(views(), event_rows(), spine_rows(), batch_numbers, st.integers(0, 4_000))
def test_records_bounded_by_arrival_as_well_equal_the_oracle(
    found: tuple[View, ...], events: Rows, asked: Rows, batches: list[int], known: int
) -> None:
    plan = plan_of(found)
    instant = max((row["_t"] for row in asked), default=0) - known
    records = records_of(plan, events, asked, batches[: len(asked)], known_at_us=instant)

    report = compare_records(records, plan, total, lake_of(events), settled=SETTLED)

    assert report.differences == ()


@given(views(), event_rows(), spine_rows(), batch_numbers, st.data())
def test_one_flipped_bit_is_one_differing_value(
    found: tuple[View, ...], events: Rows, asked: Rows, batches: list[int], data: st.DataObject
) -> None:
    assume(asked)
    plan = plan_of(found)
    records = records_of(plan, events, asked, batches[: len(asked)])
    row = data.draw(st.integers(0, len(asked) - 1))
    place = data.draw(st.integers(0, len(plan.names) - 1))
    x = bytearray(records["features"][row])
    assume(not math.isnan(np.frombuffer(x, "<f8")[place]))
    x[8 * place] ^= 1
    altered = [bytes(x) if n == row else kept for n, kept in enumerate(records["features"])]

    report = compare_records(
        records.with_columns(pl.Series("features", altered)), plan, total, lake_of(events), settled=SETTLED
    )

    assert report.values_differing == 1
    assert report.differences[0].value == plan.names[place]
    assert report.differences[0].prediction_id == f"p-{row}"


# ---------------------------------------------------------------------------------------- what is apart

ONE: Rows = [
    {
        "tx_id": "e", "at": 5, "card_id": "c", "shop": 1, "amount": 100, "rate": 1, "items": 1,
        "weight": 1.0, "country": "AT", "online": True, "_arrived": 5, "_batch": 2,
    }
]  # fmt: skip
ASK = {"card_id": "c", "shop": 1, "_t": 1_000_000, "_known_at": 0}


@pytest.fixture
def plan() -> FeaturePlan:
    from holdfast.features.view import Measure
    from holdfast.features.window import Window
    from holdfast.testing.strategies import CARD

    return plan_of((View("v", "payments", CARD, (Measure("n", "count", Window(10_000_000)),)),))


def compared(plan: FeaturePlan, batch: int, events: Rows = ONE, **same: Any) -> ParityReport:
    records = records_of(plan, ONE, [ASK], [batch], **same)
    return compare_records(records, plan, total, lake_of(events), settled=3)


def test_record_of_a_batch_that_is_not_settled_is_pending(plan: FeaturePlan) -> None:
    report = compared(plan, 4)

    assert (report.pending, report.predictions) == (1, 0)


def test_dropped_event_is_found(plan: FeaturePlan) -> None:
    report = compared(plan, 2, events=[{**ONE[0], "card_id": "other"}])

    assert [d.value for d in report.differences] == ["same n", "doubled", SCORE]


def test_event_moved_to_a_later_batch_is_found(plan: FeaturePlan) -> None:
    assert compared(plan, 2, events=[{**ONE[0], "_batch": 3}]).values_differing == 3


def test_wrong_score_of_right_features_is_found(plan: FeaturePlan) -> None:
    report = compared(plan, 2, score=0.25)

    assert [d.value for d in report.differences] == [SCORE]


def test_inexact_record_is_reported_apart_and_never_as_equal(plan: FeaturePlan) -> None:
    report = compared(plan, 2, inexact=True, events=[{**ONE[0], "card_id": "other"}])

    assert (report.inexact_head, report.inexact_differing) == (1, 1)
    assert (report.predictions, report.values_compared, report.values_differing) == (0, 0, 0)


def test_record_without_state_has_nothing_to_compare(plan: FeaturePlan) -> None:
    report = compared(plan, 2, known_batch=[])

    assert (report.without_state, report.predictions) == (1, 0)


def test_record_of_other_features_differs_as_a_whole(plan: FeaturePlan) -> None:
    records = records_of(plan, ONE, [ASK], [2]).with_columns(plan=pl.lit("another"))

    report = compare_records(records, plan, total, lake_of(ONE), settled=3)

    assert report.values_differing == len(plan.names)


def test_constant_answer_has_features_and_no_score_of_a_model(plan: FeaturePlan) -> None:
    report = compared(plan, 2, step="rules", score=0.5)

    assert (report.values_compared, report.values_differing) == (len(plan.names), 0)


def test_staleness_is_the_age_of_the_oldest_event_not_seen(plan: FeaturePlan) -> None:
    assert compared(plan, 1).staleness_us == (1_000_000 - 5,)
    assert compared(plan, 2).staleness_us == (0,)
