"""From an accepted event to its being seen by predictions, at 2,000 events a second, with server and worker.

Probes are events of cards that nobody else has; a probe is visible when the online state that predictions
read holds its card. The clock of a probe starts when its acceptance was received, and the state is looked at
every few milliseconds, which counts against us. Durability: process.
"""

import http.client
import json
import random
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_serving import FOLDER, ours_running, processor_s
from benchmarks.figures import report
from benchmarks.serving_world import prepare
from holdfast.app.workspace import Workspace
from holdfast.features.online import OnlineRow, load_plan

RATE, IN_ARRAY, SENDERS, SECONDS, WARM_S = 2_000, 20, 2, 30.0, 5.0
PROBES_PER_S = 20
LOOK_S = 0.004


class Sender(threading.Thread):
    """Sends arrays of events at a fixed rate, late ones at once."""

    def __init__(self, port: int, number: int, until: float) -> None:
        super().__init__(daemon=True)
        self.port, self.number, self.until = port, number, until
        self.accepted = 0
        self.behind_s = 0.0

    def run(self) -> None:
        """Send until the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        draw = random.Random(self.number)
        due, every = time.monotonic(), IN_ARRAY * SENDERS / RATE
        turn = 0
        while due < self.until:
            events = [_event(f"v{self.number}-{turn}-{i}-{time.time_ns()}", draw) for i in range(IN_ARRAY)]
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self.behind_s = max(self.behind_s, -wait)
            self.accepted += _post(connection, events)["accepted"]
            due += every
            turn += 1


def _event(key: str, draw: random.Random, card: str | None = None) -> dict[str, Any]:
    return {
        "tx_id": key,
        "at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "card_id": card or f"c-{draw.randrange(1_200):05d}",
        "terminal_id": f"m-{draw.randrange(300):04d}",
        "device_id": f"d-{draw.randrange(900):05d}",
        "channel": draw.choice(("present", "online")),
        "amount": draw.randrange(100, 90_000) / 100,
        "country": "PT",
    }


def _post(connection: http.client.HTTPConnection, body: Any) -> Any:
    content = json.dumps(body)
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/events/transactions", content, headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {answer}")
    return answer


def probe(port: int, workspace: Workspace, until: float) -> list[float]:
    """Return the seconds from acceptance to visibility of every probe."""
    store = workspace.wiring.online
    current = store.current()
    assert current is not None
    reader = store.reader(current)
    plan = load_plan(reader.plan)
    (view,) = [view for view in plan.views if view.name == "card_activity"][:1]
    row = OnlineRow(plan, [view])
    connection, draw = http.client.HTTPConnection("127.0.0.1", port), random.Random(1)
    waiting: list[tuple[bytes, float]] = []
    seen: list[float] = []
    due = time.monotonic()
    while time.monotonic() < until or (waiting and time.monotonic() < until + 30):
        if time.monotonic() >= due and time.monotonic() < until:
            card = f"probe-{time.time_ns()}"
            _post(connection, _event(card, draw, card))
            waiting.append((row.keys({"card_id": card})[0], time.monotonic()))
            due += 1 / PROBES_PER_S
        with reader.snapshot() as snapshot:
            found = snapshot.get([key for key, _ in waiting])
            now = time.monotonic()
            there = [len(blob) > 0 for blob in found]
        seen += [now - accepted for (_, accepted), is_there in zip(waiting, there, strict=True) if is_there]
        waiting = [each for each, is_there in zip(waiting, there, strict=True) if not is_there]
        time.sleep(LOOK_S)
    if store.current() != current:
        raise RuntimeError("the state was rebuilt meanwhile; run it again")
    if waiting:
        raise RuntimeError(f"{len(waiting)} events were not visible after 30 s")
    reader.close()
    return seen


def main() -> None:
    """Run once, after some seconds of warming up."""
    folder = prepare(FOLDER / "project")
    command = [sys.executable, "-m", "holdfast", "worker", "-C", str(folder)]
    with ours_running(folder) as (port, _):
        log = (FOLDER / "worker.log").open("w")
        worker = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            _until_live(folder, port)
            began = time.monotonic()
            until = began + WARM_S + SECONDS
            senders = [Sender(port, number, until) for number in range(SENDERS)]
            for sender in senders:
                sender.start()
            time.sleep(WARM_S)
            before = processor_s(worker.pid)
            waits = np.array(probe(port, Workspace(folder), until))
            used = (processor_s(worker.pid) - before) / SECONDS
            for sender in senders:
                sender.join()
            rate = sum(sender.accepted for sender in senders) / (time.monotonic() - began)
        finally:
            worker.terminate()
            worker.wait()
    report(
        "bench",
        [
            ("visible_events_per_s", rate, "events/s accepted, in arrays of 20"),
            ("visible_probes", len(waits)),
            ("visible_p50_ms", float(np.quantile(waits, 0.5)) * 1000, "ms, accepted to visible"),
            ("visible_p99_ms", float(np.quantile(waits, 0.99)) * 1000, "ms; limit 1,000"),
            ("visible_max_ms", float(waits.max()) * 1000, "ms"),
            ("visible_worker_cores", used, "cores of the worker"),
            (
                "visible_sender_behind_ms",
                max(s.behind_s for s in senders) * 1000,
                "ms behind its rate, at most",
            ),
        ],
        title="Event accepted to visible",
    )


def _until_live(folder: Path, port: int) -> None:
    """Wait until the worker has brought an event into the state."""
    workspace = Workspace(folder)
    current = workspace.wiring.online.current()
    assert current is not None
    reader = workspace.wiring.online.reader(current)
    with reader.snapshot() as snapshot:
        before = snapshot.batch
    card = f"first-{time.time_ns()}"
    _post(http.client.HTTPConnection("127.0.0.1", port), _event(card, random.Random(0), card))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with reader.snapshot() as snapshot:
            if snapshot.batch > before:
                reader.close()
                return
        time.sleep(0.1)
    raise TimeoutError((folder.parent / "worker.log").read_text())


if __name__ == "__main__":
    main()
