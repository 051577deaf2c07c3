"""Choose the parameters of both models on four weeks of July, and keep every figure in `choice.json`.

Each week is split as the test week is: a training week, a week of delay, a week to measure. The last one ends
with 31 July. Nothing later is read: the rows after it are not even ingested. `project.py` states what was
chosen, and the proof refuses to run if it does not state the best of `choice.json`.

Run with `python -m benchmarks.handbook.choose`, about ten minutes.
"""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import holdfast as hf
from benchmarks.handbook.world import FOLDER, missing, raw, workspace
from holdfast.datasets.snapshot import Snapshot
from holdfast.training.metric import Scored, evaluate
from holdfast.training.model import RunContext, TrainingData
from holdfast.training.train import sample_of

CHOICE = FOLDER / "choice.json"
UNTIL = datetime(2018, 8, 1, tzinfo=UTC)
KNOWN = ("2018-07-18", "2018-07-25", "2018-08-01", "2018-08-08")  # a week after each measured week
SEED = 7

BASE: dict[str, Any] = {
    "learning_rate": 0.03,
    "n_estimators": 200,
    "num_leaves": 15,
    "min_child_samples": 50,
    "subsample": 0.7,
    "subsample_freq": 1,
    "colsample_bytree": 0.5,
    "reg_lambda": 0.0,
    "extra_trees": False,
}
CANDIDATES = [
    BASE,
    BASE | {"min_child_samples": 20},
    BASE | {"num_leaves": 8},
    BASE | {"num_leaves": 8, "n_estimators": 400},
    BASE | {"learning_rate": 0.05},
    BASE | {"colsample_bytree": 0.3},
    BASE | {"reg_lambda": 20.0},
    BASE | {"learning_rate": 0.015, "n_estimators": 400},
    BASE | {"extra_trees": True, "n_estimators": 300},
]


def measured(opened: hf.Workspace, model: str, params: dict[str, Any], week: Snapshot) -> float:
    """Return the average precision of one week's measured part."""
    function = next(m.function for m in opened.definition.models if m.name == model)
    plan = week.recipe.plan
    train, test = sample_of(week, "train"), sample_of(week, "test")
    data = TrainingData(train, sample_of(week, "validation"), list(plan.names), list(plan.categorical))
    fitted = function(data, params, RunContext("choose", SEED, lambda name, value: None))
    scores = fitted.booster_.predict(test.x)
    rows = Scored(test.y, np.asarray(scores), test.weight, np.zeros(len(test.y), np.int64))
    return evaluate(rows, "binary")["average_precision"]


def best(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the candidate of the highest mean; of equals the first."""
    return max(figures, key=lambda candidate: candidate["mean"])


def main() -> None:
    """Measure every candidate on every week."""
    if reason := missing():
        raise SystemExit(reason)
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        opened = workspace(Path(name), raw().filter(pl.col("at") < UNTIL))
        for model in ("published", "own"):
            weeks = [opened.dataset(model, as_of=known) for known in KNOWN]
            found[model] = []
            for params in CANDIDATES:
                values = [measured(opened, model, params, week) for week in weeks]
                mean = round(float(np.mean(values)), 4)
                found[model].append(
                    {"mean": mean, "weeks": [round(value, 4) for value in values], "params": params}
                )
                print(model, mean, params, flush=True)
            print(model, "chosen", best(found[model]))
    CHOICE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
