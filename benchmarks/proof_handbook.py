"""Proof on published data: the Fraud Detection Handbook's window features and its test week.

One project (`benchmarks/handbook/project.py`) ingests the 1.47M published transactions and builds its
datasets. Its features are compared with the twelve published ones over all rows, and its models are trained
on the published week and measured on the published test rows, beside the published figures.

Run with `python -m benchmarks.proof_handbook`. The data is not part of the project; without it this says so.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

import holdfast as hf
from benchmarks.figures import Figure, report
from benchmarks.handbook.choose import CHOICE, SEED, best
from benchmarks.handbook.published import CAUSES, Column, compare
from benchmarks.handbook.world import TRANSFORMED, missing, raw, workspace
from holdfast.training.metric import Interval

TRAIN, TEST = 67_240, 58_264
KNOWN = "2018-08-22"  # a week after the last test day: every label is fixed
EVERYTHING = "2018-09-08"
CARDS = "precision@100/day/card"
PUBLISHED = (
    ("decision tree, depth 2", 0.763, 0.496, 0.241),
    ("logistic regression", 0.871, 0.606, 0.291),
    ("random forest", 0.867, 0.658, 0.287),
    ("XGBoost", 0.862, 0.639, 0.273),
    ("best boosted, tuned", 0.869, 0.687, 0.303),
    ("feed-forward network", 0.876, 0.675, None),
)
FLAGS = {"weekend": "tx_during_weekend", "night": "tx_during_night"}


def features(opened: hf.Workspace, rows: int) -> list[Figure]:
    """Compare the features of every row, and say which differ, why, and which for no reason."""
    ours = opened.dataset("every_row", as_of=EVERYTHING).frame
    transformed = pl.read_parquet(TRANSFORMED)
    columns = compare(ours, transformed)
    table = Table(title="Values that differ, by cause", title_justify="left", box=None, pad_edge=False)
    for head in ("published feature", "rows", *CAUSES, "unexplained", "largest"):
        table.add_column(head, justify="left" if head == "published feature" else "right")
    for column in columns:
        causes = [column.causes.get(cause) for cause in CAUSES]
        counts = ("" if found is None else f"{int(found.sum()):,}" for found in causes)
        table.add_row(
            column.name,
            f"{int(column.differ.sum()):,}",
            *counts,
            str(int(column.unexplained.sum())),
            f"{column.largest:.3g}",
        )
    Console(width=120).print(table, "")
    keyed = transformed.with_columns(pl.col("transaction_id").cast(pl.String).alias("_key"))
    both = keyed.join(ours, on="_key", how="left", maintain_order="left")
    flags = [int((both[mine] != both[theirs]).sum()) for mine, theirs in FLAGS.items()]
    unexplained = any_of([column.unexplained for column in columns])
    if both.height != rows or both["_t"].null_count():
        raise SystemExit(f"{rows} rows were ingested, {both.height - both['_t'].null_count()} compared")
    return [
        Figure("handbook_rows_compared", both.height, "rows"),
        Figure("handbook_values_compared", both.height * (len(columns) + len(flags)), "values"),
        Figure("handbook_rows_edge", caused_by("edge", columns), "rows"),
        Figure("handbook_rows_tie", caused_by("tie", columns), "rows"),
        Figure("handbook_rows_rounding_only", only_rounding(columns), "rows"),
        Figure("handbook_rounding_largest", largest_rounding(columns, both)),
        Figure("handbook_flags_differ", sum(flags), "values"),
        Figure("handbook_rows_unexplained", int(unexplained.sum()), "rows"),
    ]


def any_of(masks: list[np.ndarray]) -> np.ndarray:
    """Return where any of the masks is true."""
    return np.logical_or.reduce(masks)


def caused_by(cause: str, columns: list[Column]) -> int:
    """Return the number of rows of which at least one value differs for that cause."""
    return int(any_of([column.causes[cause] for column in columns if cause in column.causes]).sum())


def only_rounding(columns: list[Column]) -> int:
    """Return the number of rows that differ in nothing but the last digits of an average."""
    others = any_of([found for c in columns for cause, found in c.causes.items() if cause != "rounding"])
    return int((any_of([c.causes["rounding"] for c in columns if "rounding" in c.causes]) & ~others).sum())


def largest_rounding(columns: list[Column], both: pl.DataFrame) -> float:
    """Return the largest difference that rounding alone makes."""
    worst = 0.0
    for column in columns:
        if "rounding" in column.causes:
            mine = both[column.name.replace("day_window", "d")].to_numpy()
            apart = np.abs(mine - both[column.name].to_numpy())[column.causes["rounding"]]
            worst = max(worst, float(apart.max(initial=0.0)))
    return worst


def models(opened: hf.Workspace) -> tuple[list[Figure], dict[str, dict[str, Interval]]]:
    """Train both models on the published week and measure them on the published rows, once each."""
    chosen = json.loads(CHOICE.read_text())
    figures, found = [], {}
    for name in ("published", "own"):
        stated, wanted = opened.project.model(name).params, best(chosen[name])["params"]
        if stated != wanted:
            raise SystemExit(f"project.py states {stated} for `{name}`, choice.json has {wanted}")
        run = opened.train(name, seed=SEED, by="benchmarks", as_of=KNOWN).run
        if (run.rows["train"], run.rows["test"]) != (TRAIN, TEST):
            raise SystemExit(f"{run.rows} are not the published {TRAIN} and {TEST} rows")
        found[name] = run.metrics
        end = "" if name == "published" else "_own"
        for short, metric in (("auc", "auc"), ("ap", "average_precision"), ("cp100", CARDS)):
            value = run.metrics[metric]
            parts = (("", value.value), ("_low", value.low), ("_high", value.high))
            figures += [Figure(f"handbook_{short}{end}{part}", number) for part, number in parts]
    return [Figure("handbook_train_rows", TRAIN), Figure("handbook_test_rows", TEST), *figures], found


def beside(found: dict[str, dict[str, Interval]]) -> Table:
    """Return the published table with ours below."""
    table = Table(title="The test week, 8 to 14 August", title_justify="left", box=None, pad_edge=False)
    for head in ("model", "AUC", "average precision", "card precision@100"):
        table.add_column(head, justify="left" if head == "model" else "right")
    for name, *values in PUBLISHED:
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in values))
    for name, title in (("published", "holdfast, the same 15 features"), ("own", "holdfast, own features")):
        row = (found[name][metric] for metric in ("auc", "average_precision", CARDS))
        table.add_row(title, *(f"{v.value:.3f} [{v.low:.3f}, {v.high:.3f}]" for v in row))
    return table


def main() -> None:
    """Run both parts, or say what is missing."""
    if reason := missing():
        print(f"handbook: skipped, {reason}")
        return
    rows = raw()
    with tempfile.TemporaryDirectory() as name:
        opened = workspace(Path(name), rows)
        figures = features(opened, rows.height)
        measured, found = models(opened)
    Console(width=120).print(beside(found), "")
    report("proof", [*figures, *measured], title="Held against the Fraud Detection Handbook's data")
    unexplained = next(f.value for f in figures if f.name == "handbook_rows_unexplained")
    if unexplained or any(f.value for f in figures if f.name == "handbook_flags_differ"):
        raise SystemExit(f"{unexplained} rows differ for no known reason")


if __name__ == "__main__":
    main()
