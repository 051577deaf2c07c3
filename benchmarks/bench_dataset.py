"""A dataset of the fraud example built from 1.6M payments, beside DuckDB with the same rows and values.

Ours is `Workspace.dataset`, what `holdfast train` does first: 30 features as known at each payment, labels
fixed after 7 days, the split, the vocabulary, the profile, and the snapshot saved under the hash of its
content. The peer is one query over the files of the same lake, written by somebody who knows these features:
RANGE windows with bounds by row, joins with what was known of chargebacks, labels; it writes one Parquet
file, without split, vocabulary, profile or hash. Before anything is measured, every value of both is
compared, bit for bit.

Both run once a round, each run in a process of its own, so that the peak of its memory is its own; start-up
is not counted. Figures are written after each round.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import polars as pl

from benchmarks.dataset_equal import check_equal
from benchmarks.dataset_world import duckdb_dataset, prepare
from benchmarks.figures import Figure, peak_memory, record, report
from benchmarks.rounds import Rounds, apart, in_turns, timed
from holdfast.app.warm import said_on_stderr, warm_up
from holdfast.app.workspace import Workspace
from holdfast.datasets.snapshot import Snapshot

FOLDER = Path("build/bench-dataset")
MODEL = "fraud"


def ours(project: Path) -> Snapshot:
    """Build the dataset, and save it as new."""
    shutil.rmtree(project / ".holdfast" / "lake" / "_datasets", ignore_errors=True)
    return Workspace(project).dataset(MODEL)


def measure(what: str, project: Path) -> dict[str, float]:
    """Return what one run in this process took: seconds, of processors, and bytes its peak grew by."""
    warm_up(said_on_stderr)
    before = peak_memory()
    if what == "ours":
        found = timed(lambda: ours(project))
    else:
        with tempfile.TemporaryDirectory(dir=project) as folder:
            found = timed(lambda: duckdb_dataset(project, Path(folder) / "dataset.parquet"))
    return {**found, "grown": peak_memory() - before}


def compare(project: Path) -> tuple[int, int, int]:
    """Return rows, features and the number of values found equal to the peer's."""
    snapshot = ours(project)
    with tempfile.TemporaryDirectory(dir=project) as folder:
        out = Path(folder) / "dataset.parquet"
        duckdb_dataset(project, out)
        theirs = pl.read_parquet(out)
    plan = snapshot.recipe.plan
    compared = check_equal(snapshot.frame, theirs, plan.vocabularies["country"])
    return snapshot.frame.height, len(plan.names), compared


def figures(rounds: Rounds, rows: int, features: int, compared: int) -> list[Figure]:
    """Return medians and their ratio."""
    mine, theirs = rounds.median("ours"), rounds.median("duckdb")
    return [
        Figure("dataset_rows", rows, "rows"),
        Figure("dataset_values_compared", compared, "values equal to DuckDB's, bit for bit"),
        Figure("dataset_s", mine, "s"),
        Figure("dataset_cpu_s", rounds.median("ours", "cpu_s"), "s of processor"),
        Figure("dataset_rows_per_s", rows / mine, "rows/s"),
        Figure("dataset_values_per_s", rows * features / mine, "features/s"),
        Figure("dataset_peak_mb", rounds.median("ours", "grown") / 1e6, "MB the process grew by"),
        Figure("dataset_duckdb_s", theirs, "s"),
        Figure("dataset_duckdb_cpu_s", rounds.median("duckdb", "cpu_s"), "s of processor"),
        Figure("dataset_duckdb_peak_mb", rounds.median("duckdb", "grown") / 1e6, "MB the process grew by"),
        Figure("dataset_vs_duckdb", theirs / mine, "times"),
        Figure("dataset_runs", rounds.runs, "runs, at least, in each median"),
    ]


def main() -> int:
    """Compare, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, default=8_000, help="about 195 payments each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "PROJECT"), help="one run, in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], Path(options.one[1]))))
        return 0
    project = prepare(FOLDER / f"cards-{options.cards}", options.cards)
    known = compare(project)
    rounds = in_turns(
        {who: lambda who=who: apart(__spec__.name, "--one", who, str(project)) for who in ("ours", "duckdb")},
        options.rounds,
        after=lambda rounds: record("bench", figures(rounds, *known)),
    )
    if rounds.runs:
        title = f"Dataset: {known[0]:,} rows, {known[1]} features; medians of {rounds.runs} runs"
        report("bench", figures(rounds, *known), title=title)
    return 130 if rounds.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
