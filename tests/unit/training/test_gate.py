import math

import pytest

from holdfast.kernel.ids import canonical_json, from_data, to_data
from holdfast.training.gate import Gate, GateResult, evaluate_gate

FLOOR = Gate("auc", ">=", 0.8)
NEAR_CHAMPION = Gate("auc", ">=", -0.01, relative=True)


@pytest.mark.parametrize(
    ("op", "found", "outcome"),
    [(">=", 0.8, "passed"), (">", 0.8, "failed"), ("<=", 0.8, "passed"), ("<", 0.8, "failed")],
)
def test_gate_compares_as_written(op: str, found: float, outcome: str) -> None:
    assert evaluate_gate(Gate("auc", op, 0.8), {"auc": found}, None).outcome == outcome  # type: ignore[arg-type]


def test_nan_fails_on_either_side_and_stays_out_of_the_record() -> None:
    found = evaluate_gate(FLOOR, {"auc": math.nan}, None)
    limit = evaluate_gate(NEAR_CHAMPION, {"auc": 0.9}, {"auc": math.nan})

    assert found == GateResult(FLOOR, "failed", None, 0.8)
    assert limit == GateResult(NEAR_CHAMPION, "failed", 0.9, None)
    assert from_data(GateResult, to_data(limit)) == limit
    assert b"NaN" not in canonical_json(limit)


def test_missing_metric_fails() -> None:
    assert evaluate_gate(FLOOR, {}, None).outcome == "failed"


def test_relative_gate_without_champion_is_not_applicable() -> None:
    assert evaluate_gate(NEAR_CHAMPION, {"auc": 0.1}, None).outcome == "not applicable"


def test_relative_gate_adds_margin_and_factor_to_the_champion() -> None:
    gate = Gate("cost", "<=", 1.0, relative=True, factor=1.5)

    assert evaluate_gate(gate, {"cost": 4.0}, {"cost": 2.0}) == GateResult(gate, "passed", 4.0, 4.0)
    assert gate.describe() == "cost <= champion * 1.5 + 1"
    assert NEAR_CHAMPION.describe() == "auc >= champion - 0.01"


def test_gate_may_compare_with_the_baseline_and_then_needs_no_champion() -> None:
    gate = Gate("wape", "<=", 0.0, relative=True, factor=0.9, to="baseline")

    found = evaluate_gate(gate, {"wape": 0.5}, None, baseline={"wape": 0.6})

    assert found == GateResult(gate, "passed", 0.5, 0.54)
    assert gate.describe() == "wape <= baseline * 0.9"
    assert (
        evaluate_gate(gate, {"wape": 0.55}, {"wape": 9.0}, "learnt from them", {"wape": 0.6}).outcome
        == "failed"
    )
    assert evaluate_gate(gate, {"wape": 0.5}, None, baseline={}).outcome == "failed"
    assert not gate.needs_champion
