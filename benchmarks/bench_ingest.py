"""Benchmark: rows a second of `ingest`, against a plain Polars read and Delta write of the same file.

Plain means: nothing judged, nothing compared, no row's origin kept.
Run with `python -m benchmarks.bench_ingest`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from deltalake import write_deltalake

from benchmarks.figures import Figure, report
from benchmarks.ingest_world import PAYMENTS, Clock, as_text, open_state, payments
from holdfast.adapters.files.inputs import Files
from holdfast.events.ingest import ingest

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    "csv": lambda path: pl.read_csv(path, try_parse_dates=True),
    "jsonl": pl.read_ndjson,
    "parquet": pl.read_parquet,
}


def ingested(path: Path, state: Path) -> None:
    """Ingest the file into a new state."""
    lake, log, staging = open_state(state)
    done = ingest(PAYMENTS, Files(path), lake=lake, log=log, staging=staging, clock=Clock())
    assert done.adds_up
    assert done.now.stored == done.rows


def plain(path: Path, state: Path) -> None:
    """Read with Polars and write with delta-rs."""
    frame = READERS[path.suffix[1:]](path)
    write_deltalake(str(state), frame)


def seconds_of(work: Callable[[Path, Path], None], path: Path, folder: Path, times: int) -> float:
    """Return the median time, each in a new folder."""
    taken = []
    for number in range(times):
        state = folder / f"{work.__name__}-{path.suffix[1:]}-{number}"
        began = time.perf_counter()
        work(path, state)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    """Measure the three formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = payments(options.rows)
        as_text(frame).write_csv(folder / "x.csv")
        as_text(frame).write_ndjson(folder / "x.jsonl")
        frame.write_parquet(folder / "x.parquet")
        for kind in READERS:
            path = folder / f"x.{kind}"
            ours = seconds_of(ingested, path, folder, options.times)
            theirs = seconds_of(plain, path, folder, options.times)
            figures += [
                Figure(f"ingest_{kind}_rows_per_s", options.rows / ours, "rows/s"),
                Figure(f"ingest_{kind}_plain_rows_per_s", options.rows / theirs, "rows/s"),
                Figure(f"ingest_{kind}_time_over_plain", ours / theirs, "x"),
            ]
    report("bench", figures, title=f"Ingestion of {options.rows:,} rows, median of {options.times}")


if __name__ == "__main__":
    main()
