import json

from tests import training_examples as examples

from holdfast.kernel.ids import canonical_json, from_data
from holdfast.training.calibration import ReliabilityBin
from holdfast.training.gate import Gate, GateResult
from holdfast.training.metric import Interval
from holdfast.training.run import Run, environment_id, run_id

INPUTS = {
    "project": "p",
    "dataset": "d-1",
    "params": {"a": 1},
    "seed": 7,
    "environment": "e-1",
    "code": "git:1f2e3d+0",
    "author": "ana",
    "started_us": 1,
}


def run(**changes: object) -> Run:
    given = {
        "id": "r-1",
        "model": "fraud",
        "project": "p",
        "dataset": "d-1",
        "params": {"leaves": 31, "rate": 0.5, "flag": True, "name": "x", "none": None},
        "seed": 7,
        "author": "ana",
        "started_us": 1,
        "duration_us": 2,
        "environment": "e-1",
        "facts": {"python": "3.11"},
        "code": "git:1f2e3d+0",
        "task": "binary",
        "rows": {"train": 3},
        "metrics": {"auc": Interval(0.5, 0.4, 0.6), "cost": Interval(None)},
        "baseline": {"auc": None},
    }
    return Run(**(given | changes))  # type: ignore[arg-type]


def test_run_is_the_same_after_json() -> None:
    full = run(
        champion_name="fraud@7",
        champion={"auc": 0.4},
        gates=(GateResult(Gate("auc", ">=", 0.4), "passed", 0.5, 0.4),),
        bundle="b",
        reliability=(ReliabilityBin(0.0, 1.0, 3.0, 0.5, 0.5),),
        logged={"loss": (1.0, None)},
        importance={"amount": 2.0},
        history={"validation loss": (0.5, 0.4)},
    )

    assert from_data(Run, json.loads(canonical_json(full))) == full
    assert from_data(Run, json.loads(canonical_json(run()))) == run()


def test_run_passes_unless_a_gate_failed() -> None:
    gate = Gate("auc", ">=", 0.4)

    assert run().passed
    assert run(gates=(GateResult(gate, "not applicable", 0.5, None),)).passed
    assert not run(gates=(GateResult(gate, "failed", 0.3, 0.4),)).passed


def test_every_input_enters_the_id_of_a_run() -> None:
    base = run_id(examples.model(), **INPUTS)  # type: ignore[arg-type]
    others = {
        run_id(examples.model(), **(INPUTS | {name: {"a": 2} if name == "params" else 99}))  # type: ignore[arg-type]
        for name in INPUTS
    } | {run_id(examples.model(precision_at=5), **INPUTS)}  # type: ignore[arg-type]

    assert base == run_id(examples.model(), **INPUTS)  # type: ignore[arg-type]
    assert base.startswith("r-")
    assert len(others - {base}) == len(INPUTS) + 1


def test_environment_id_ignores_the_order_of_facts() -> None:
    assert environment_id({"a": "1", "b": "2"}) == environment_id({"b": "2", "a": "1"})
    assert environment_id({"a": "1"}) != environment_id({"a": "2"})
