"""Ingestion of 10M rows x 8 columns under 10 constraints, beside a plain Polars read and Delta write.

Plain means: nothing judged, nothing compared, no row's origin kept. Both lakes are Delta tables of
Parquet with Snappy. Ours has four columns more, flushes its rows and its log to disk, and is written
chunk by chunk with Polars' encoder; the plain one is written by delta-rs, from memory, and flushed by
nobody. Each run has a process of its own, so the peak of its memory is its own; start-up is not counted.
CSV and JSON lines run on a tenth of the rows. Run with `python -m benchmarks.bench_ingest`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from deltalake import write_deltalake

from benchmarks.figures import Figure, peak_memory, report
from benchmarks.ingest_world import WIDE, Clock, as_text, open_state, wide_payments
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.threads import OneThread
from holdfast.events.ingest import ingest

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    "csv": lambda path: pl.read_csv(path, try_parse_dates=True),
    "jsonl": pl.read_ndjson,
    "parquet": pl.read_parquet,
}


def ours(path: Path, state: Path) -> None:
    """Ingest the file into a new state."""
    lake, log, staging = open_state(state)
    done = ingest(WIDE, Files(path), lake=lake, log=log, staging=staging, clock=Clock(), beside=OneThread)
    assert done.adds_up
    assert done.now.stored == done.rows


def plain(path: Path, state: Path) -> None:
    """Read with Polars and write with delta-rs."""
    write_deltalake(str(state), READERS[path.suffix[1:]](path))


def measure(what: str, path: Path, state: Path) -> None:
    """Print what one run took: seconds, processor seconds, and bytes by which the peak grew."""
    before = peak_memory()
    began, used = time.perf_counter(), time.process_time()
    {"ours": ours, "plain": plain}[what](path, state)
    spent, processor = time.perf_counter() - began, time.process_time() - used
    grown = peak_memory() - before
    print(json.dumps({"s": spent, "cpu_s": processor, "grown": grown}))


def runs(path: Path, times: int) -> dict[str, list[dict[str, float]]]:
    """Run both in turns, each in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    for _ in range(times):
        for what, taken in found.items():
            with tempfile.TemporaryDirectory(dir=path.parent) as state:
                command = [sys.executable, "-m", "benchmarks.bench_ingest", "--one", what, str(path), state]
                answer = subprocess.run(command, check=True, capture_output=True).stdout
            taken.append(json.loads(answer))
    return found


def main() -> None:
    """Measure the three formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "FILE", "STATE"), help="one run, in this process")
    options = parser.parse_args()
    if options.one:
        measure(options.one[0], Path(options.one[1]), Path(options.one[2]) / "state")
        return
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder, few = Path(name), options.rows // 10
        wide_payments(options.rows).write_parquet(folder / "x.parquet")
        as_text(wide_payments(few)).write_csv(folder / "x.csv")
        as_text(wide_payments(few)).write_ndjson(folder / "x.jsonl")
        for kind in ("parquet", "csv", "jsonl"):
            found = runs(folder / f"x.{kind}", options.times)
            rows = options.rows if kind == "parquet" else few
            mine, theirs = (
                {key: statistics.median(run[key] for run in found[who]) for key in found[who][0]}
                for who in ("ours", "plain")
            )
            figures += [
                Figure(f"ingest_{kind}_rows_per_s", rows / mine["s"], "rows/s"),
                Figure(f"ingest_{kind}_plain_rows_per_s", rows / theirs["s"], "rows/s"),
                Figure(f"ingest_{kind}_vs_limit", theirs["s"] / mine["s"], "of the plain speed"),
                Figure(f"ingest_{kind}_peak_mb", mine["grown"] / 1e6, "MB the process grew by"),
                Figure(f"ingest_{kind}_plain_peak_mb", theirs["grown"] / 1e6, "MB the plain one grew by"),
            ]
            if kind == "parquet":
                figures.append(Figure("ingest_vs_limit", theirs["s"] / mine["s"], "at least 0.5"))
    report("bench", figures, title=f"Ingestion of {options.rows:,} rows, median of {options.times}")


if __name__ == "__main__":
    main()
