"""Proof: ten SIGKILLs at random moments of one ingestion lose no row, double none, and the counts add up.

Run with `python -m benchmarks.proof_ingest_kill`.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import report
from benchmarks.ingest_world import PAYMENTS, Clock, open_state, write_dirty
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.threads import OneThread
from holdfast.events.ingest import ingest
from holdfast.events.ports import QUARANTINE
from holdfast.events.report import Counts

ROWS = 300_000
KILLS = 10
CHUNK = 3_000


def run(folder: Path) -> None:
    """Ingest; the child process."""
    lake, log, staging = open_state(folder / "state")
    print("ready", flush=True)
    done = ingest(
        PAYMENTS,
        Files(folder / "in"),
        lake=lake,
        log=log,
        staging=staging,
        clock=Clock(),
        chunk_rows=CHUNK,
        beside=OneThread,
    )
    print(done.adds_up, done.rows, flush=True)


def start(folder: Path) -> subprocess.Popen[str]:
    """Return a child that is about to ingest."""
    command = [sys.executable, "-m", "benchmarks.proof_ingest_kill", "--child", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def prove(folder: Path, seed: int) -> None:
    """Kill, start again, and count."""
    good, duplicates, bad = write_dirty(folder / "in", ROWS)
    draw = random.Random(seed)
    began = time.perf_counter()
    killed = 0
    while killed < KILLS:
        child = start(folder)
        try:
            child.wait(timeout=draw.uniform(0.01, 0.3))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            killed += 1
        child.communicate()
        if child.returncode == 0:
            raise SystemExit(f"the ingestion ended after {killed} kills; raise ROWS")
    child = start(folder)
    out, _ = child.communicate()
    seconds = time.perf_counter() - began

    lake, log, staging = open_state(folder / "state")
    batches = list(log.entries())
    counts = sum((Counts.of_batch(batch.counts) for batch in batches), Counts())
    stored, refused = lake.read(PAYMENTS.name), lake.read(QUARANTINE)
    rows = good + duplicates + bad
    assert out.strip() == f"True {rows}", out
    assert (counts.stored, counts.duplicates, counts.refused) == (good, duplicates, bad), counts
    assert stored.height == stored["tx_id"].n_unique() == good
    assert refused.height == refused["origin"].n_unique() == bad
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    assert staging.list_names() == []
    report(
        "proof",
        [
            ("ingest_kill_kills", killed),
            ("ingest_kill_rows", rows, "rows"),
            ("ingest_kill_stored", stored.height, "rows"),
            ("ingest_kill_duplicates", counts.duplicates, "rows"),
            ("ingest_kill_quarantined", refused.height, "rows"),
            ("ingest_kill_lost", good - stored["tx_id"].n_unique(), "rows"),
            ("ingest_kill_doubled", stored.height - stored["tx_id"].n_unique(), "rows"),
            ("ingest_kill_batches", len(batches)),
            ("ingest_kill_seconds", seconds, "s"),
        ],
        title=f"{KILLS} kills at random moments of an ingestion (seed {seed})",
    )


def main() -> None:
    """Run the proof, or be its child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    if options.child is not None:
        run(options.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        prove(Path(folder), options.seed)


if __name__ == "__main__":
    main()
