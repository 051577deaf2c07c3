"""Proof: worker and serving processes killed at random moments lose, double and falsify nothing.

Half an hour of the project's time, run faster: clients ask for predictions and report events, and repeat what
they got no answer to, while processes are ended by SIGKILL. Then everything is counted, and every served
value is computed again from the lake. Run with `python -m benchmarks.proof_live`.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.figures import report
from benchmarks.live_world import DAYS, FIRST, Ledger, Load, make_project
from holdfast.adapters.clock import ScaledClock
from holdfast.app.wire import CLOCK, set_clock
from holdfast.app.workspace import Workspace
from holdfast.features.online import fold, load_plan
from holdfast.kernel.time import DAY, MINUTE
from holdfast.serving.ports import PREDICTIONS

MINUTES = 30
FACTOR = 15.0
CLIENTS = 4
EVERY_S = (3.0, 9.0)
"""Shortest and longest time between two kills."""


class Everything:
    """``holdfast up`` and what it started, found in the system's list of processes."""

    def __init__(self, folder: Path, workers: int) -> None:
        command = [
            sys.executable, "-m", "holdfast", "up", "-C", str(folder),
            "--port", "0", "--workers", str(workers),
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.port = 0
        self._ready = threading.Event()
        self._log = folder / "up.log"
        threading.Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(300):
            self.process.kill()
            raise TimeoutError(self._log.read_text())

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self._log.open("w") as log:
            for line in self.process.stderr:
                log.write(line)
                log.flush()
                if "predictions at " in line:
                    self.port = int(line.strip().rpartition(":")[2])
                    self._ready.set()

    def targets(self) -> dict[str, list[int]]:
        """Return process ids by what they are."""
        found: dict[str, list[int]] = {"worker": [], "serve": [], "supervisor": []}
        for pid in _descendants(self.process.pid):
            command = _command(pid)
            if "holdfast.server" in command:
                found["serve"].append(pid)
            elif "serve" in command:
                found["supervisor"].append(pid)
            elif "worker" in command:
                found["worker"].append(pid)
        return found

    def stop(self) -> int:
        """End it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(180)


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, children) for each in (child, *_descendants(child))]


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def left_running(folder: Path) -> list[int]:
    """Return processes that still work for the project after everything was ended."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and any(str(folder) in word for word in _command(pid))]


def disturb(everything: Everything, draw: random.Random, seconds: float) -> Counter[str]:
    """Kill at random moments for a while; return how often each kind of process was hit."""
    killed = Counter[str]()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, draw.uniform(*EVERY_S)))
        targets = everything.targets()
        kind = draw.choice(("worker", "worker", "serve", "serve", "supervisor"))
        if targets[kind]:
            try:
                os.kill(draw.choice(targets[kind]), signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed[kind] += 1
    return killed


def settle(workspace: Workspace, ledger: Ledger) -> None:
    """Wait until the lake has the record of every answer."""
    wanted = set(ledger.answered.values())
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if workspace.wiring.lake.version(PREDICTIONS) is not None:
            ids = workspace.wiring.lake.read(PREDICTIONS, ["prediction_id"])["prediction_id"]
            if wanted <= set(ids):
                return
        time.sleep(1)


def count_events(workspace: Workspace, ledger: Ledger) -> tuple[int, int]:
    """Return accepted events that are not in the lake, and rows that are there more than once."""
    lost = doubled = 0
    for source, accepted in ledger.accepted.items():
        stored = workspace.wiring.lake.read(source, ["tx_id"])["tx_id"]
        lost += len(accepted - set(stored))
        doubled += stored.len() - stored.n_unique()
    return lost, doubled


def count_records(workspace: Workspace, ledger: Ledger) -> tuple[int, int]:
    """Return answers without a record, and records that are there more than once or were never asked for."""
    rows = workspace.wiring.lake.read(PREDICTIONS, ["prediction_id", "attempt", "key"])
    without = len(set(ledger.answered.values()) - set(rows["prediction_id"]))
    doubled = rows.height - rows["attempt"].n_unique()
    for key, n in rows.group_by("key").len().iter_rows():
        doubled += max(0, n - ledger.asked[key])
    return without, doubled


def count_blobs(workspace: Workspace) -> tuple[int, int]:
    """Return the blobs of the live state, and those that the lake's rows do not give, byte for byte."""
    store = workspace.wiring.online
    current = store.current()
    assert current is not None
    reader = store.reader(current)
    plan = load_plan(reader.plan)
    n = wrong = 0
    with reader.snapshot() as snapshot:
        for source in ("transactions", "chargebacks"):
            blobs = fold(plan, source, workspace.wiring.lake.read(source))
            found = snapshot.get(list(blobs))
            n += len(blobs)
            wrong += sum(bytes(a) != bytes(b) for a, b in zip(blobs.values(), found, strict=True))
    reader.close()
    return n, wrong


def prove(folder: Path, seed: int, minutes: float, factor: float) -> bool:
    """Run, kill, and count."""
    workspace = make_project(folder)
    set_clock(folder, FIRST + DAYS * DAY, factor)
    began = time.perf_counter()
    everything = Everything(folder, workers=2)
    ledger, ending, draw = Ledger(), threading.Event(), random.Random(seed)
    clients = [
        Load(f"client{n}", everything.port, ScaledClock(folder / CLOCK), ledger, ending)
        for n in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    killed = disturb(everything, draw, minutes * MINUTE / 1e6 / factor)
    ending.set()
    for client in clients:
        client.join()
    settle(workspace, ledger)
    stopped = everything.stop()
    left = left_running(folder)
    lost, doubled = count_events(workspace, ledger)
    without, repeated = count_records(workspace, ledger)
    blobs, wrong = count_blobs(workspace)
    found = workspace.parity()
    accepted = sum(len(each) for each in ledger.accepted.values())
    rows = [
        ("live_seconds", time.perf_counter() - began, "s"),
        ("processes_killed", sum(killed.values())),
        ("workers_killed", killed["worker"]),
        ("serving_processes_killed", killed["serve"] + killed["supervisor"]),
        ("requests_without_answer", ledger.errors),
        ("accepted_events", accepted),
        ("accepted_events_lost", lost),
        ("events_doubled", doubled),
        ("predictions_answered", len(ledger.answered)),
        ("predictions_without_record", without),
        ("records_doubled", repeated),
        ("state_blobs", blobs),
        ("state_blobs_differing", wrong),
        ("predictions_compared", found.predictions),
        ("values_compared", found.values_compared),
        ("values_differing", found.values_differing),
        ("predictions_inexact_head", found.inexact_head),
        ("predictions_without_state", found.without_state),
        ("predictions_not_settled", found.pending),
        ("processes_left_running", len(left)),
    ]
    report("proof", rows, title="kill -9 of worker and serving processes")
    for difference in found.differences[:5]:
        print(difference)
    bad = (lost, doubled, without, repeated, wrong, found.values_differing, found.pending, left, stopped)
    return not any(bad) and found.predictions > 0


def main() -> None:
    """Run in a folder of its own; exit with status 1 if anything was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of the project's time")
    parser.add_argument("--factor", type=float, default=FACTOR)
    parser.add_argument("--folder", type=Path, help="keep the project here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary) / "project").resolve()
        held = prove(folder, options.seed, options.minutes, options.factor)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
