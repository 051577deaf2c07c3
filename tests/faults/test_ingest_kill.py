"""An ingestion that is killed (SIGKILL) and started again loses no row and doubles none."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.staging import StagingFolder
from holdfast.events.ingest import STEPS
from holdfast.events.ports import QUARANTINE
from holdfast.events.report import Counts

ROWS = 6_000
CHUNK = 400
BAD = range(7, ROWS, 50)

PROGRAM = """
import os, signal, sys
from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.files.staging import StagingFolder
from holdfast.adapters.threads import OneThread
from holdfast.events.ingest import ingest
from holdfast.events.source import Source
from holdfast.kernel.schema import Column, Schema

state, place, chunk, step, left = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
schema = Schema("Payment", (
    Column("id", "string", role="event_id"),
    Column("at", "time", role="event_time"),
    Column("amount", "decimal", scale=2, ge=0, le=100_000),
))

class Clock:
    def now_us(self):
        return 1_750_000_000_000_000

def faults(reached):
    global left
    if reached == step:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

print("ready", flush=True)
report = ingest(Source("payments", schema, known_after=0), Files(place), lake=DeltaLake(state + "/lake"),
                log=BatchLogFile(state + "/batches.log"), staging=StagingFolder(state + "/staged"),
                clock=Clock(), chunk_rows=chunk, faults=faults, beside=OneThread)
print(report.adds_up, report.rows, report.now.rows + report.before.rows, flush=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    numbers = range(ROWS)
    rows = [
        f"e-{n},2026-01-{n * 28 // ROWS + 1:02d}T00:00:00Z,{'x' if n in BAD else n % 1000}" for n in numbers
    ]
    half = ROWS // 2
    (folder / "a.csv").write_text("\n".join(("id,at,amount", *rows[:half])))
    # The second file begins with rows of the first: duplicates across files.
    (folder / "b.csv").write_text("\n".join(("id,at,amount", *rows[half - 100 :])))
    return folder


def start(state: Path, place: Path, step: str = "", occurrence: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(state), str(place), str(CHUNK), step, str(occurrence)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=120)
    return out.strip()


def check(state: Path) -> None:
    lake = DeltaLake(state / "lake")
    stored = lake.read("payments")
    refused = lake.read(QUARANTINE)
    batches = list(BatchLogFile(state / "batches.log").entries())
    logged = sum((Counts.of_batch(batch.counts) for batch in batches), Counts())

    assert sorted(stored["id"].to_list()) == sorted(f"e-{n}" for n in range(ROWS) if n not in BAD)
    assert refused["origin"].n_unique() == refused.height
    assert logged.stored == stored.height
    assert logged.refused == refused.height
    assert logged.rows == ROWS + 100
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    held = stored.group_by("_batch").len().sort("_batch").rows()
    assert held == [(b.number, b.counts["stored"]) for b in batches if b.counts["stored"]]
    assert StagingFolder(state / "staged").list_names() == []


def test_kills_at_arbitrary_moments_lose_and_double_nothing(tmp_path: Path, place: Path) -> None:
    for delay_s in (0.07, 0.19, 0.31):
        process = start(tmp_path, place)
        try:
            finish_early = process.wait(timeout=delay_s)
        except subprocess.TimeoutExpired:
            finish_early = None
            process.send_signal(signal.SIGKILL)
        process.communicate()
        assert finish_early in (None, 0)

    assert finish(start(tmp_path, place)) == f"True {ROWS + 100} {ROWS + 100}"
    check(tmp_path)


@pytest.mark.slow
def test_kill_after_each_step_loses_and_doubles_nothing(tmp_path: Path, place: Path) -> None:
    for number, step in enumerate(STEPS):
        process = start(tmp_path, place, step, 1 + number % 2)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL

    assert finish(start(tmp_path, place)) == f"True {ROWS + 100} {ROWS + 100}"
    check(tmp_path)


def test_lease_of_a_killed_process_is_free(tmp_path: Path, place: Path) -> None:
    process = start(tmp_path, place, "logged", 1)
    process.communicate(timeout=120)

    with BatchLogFile(tmp_path / "batches.log").lease():
        assert (tmp_path / "batches.log.lock").read_text() == f"{os.getpid()}\n"


def test_reader_sees_whole_batches_while_rows_arrive(tmp_path: Path, place: Path) -> None:
    process = start(tmp_path, place)
    lake = DeltaLake(tmp_path / "lake")
    seen = []
    while process.poll() is None:
        if lake.version("payments") is not None:
            held = lake.read("payments", ["_batch"]).group_by("_batch").len()
            seen.append(held)
    process.communicate()

    final = lake.read("payments", ["_batch"]).group_by("_batch").len()
    assert seen
    assert all(held.join(final, on=["_batch", "len"], how="anti").is_empty() for held in seen)
    assert isinstance(final, pl.DataFrame)
