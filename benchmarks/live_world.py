"""A small project that serves, and a load on it, for the proof and the benchmarks of the live half."""

from __future__ import annotations

import http.client
import json
import random
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.adapters.clock import ScaledClock
from holdfast.app.examples import create
from holdfast.app.load import importable
from holdfast.app.wire import set_clock
from holdfast.app.workspace import Workspace
from holdfast.kernel.time import DAY, parse_instant

FIRST = parse_instant("2026-01-05", assume_utc=True)
CARDS = 150
DAYS = 36


def make_project(folder: Path, *, versions: int = 1) -> Workspace:
    """Make the fraud example with a small world and a small model, trained and deployed."""
    if folder.exists():
        raise FileExistsError(folder)
    create("fraud", folder)
    text = (folder / "project.py").read_text()
    for old, new in (
        ('"n_estimators": 400', '"n_estimators": 40'),
        ('"min_child_samples": 40', '"min_child_samples": 10'),
        ('"average_precision") >= 0.50', '"average_precision") >= 0.0'),
        ('"auc") >= 0.85', '"auc") >= 0.0'),
        ("hf.champion() - 0.01", "hf.champion() - 1.0"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "project.py").write_text(text)
    set_clock(folder, FIRST + DAYS * DAY)
    workspace = Workspace(folder)
    workspace.apply(by="eva")
    events = folder / "events"
    sys.modules.pop("simulator", None)
    with importable(folder.resolve()):
        import simulator  # type: ignore[import-not-found]

        simulator.write(events, 0, DAYS, DAYS, cards=CARDS, plant_bad_rows=False)
    for source in ("transactions", "chargebacks"):
        workspace.ingest(source, events / source)
    for number in range(1, versions + 1):
        trained = workspace.train("fraud", seed=number, by="eva")
        assert trained.version is not None, trained.message
        workspace.approve("fraud", number, by="ana", reason="for the proof")
    workspace.deploy("fraud", 1, by="ana")
    return workspace


@dataclass
class Ledger:
    """What clients sent, and what they were told was accepted."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    accepted: dict[str, set[str]] = field(
        default_factory=lambda: {"transactions": set(), "chargebacks": set()}
    )
    answered: dict[str, str] = field(default_factory=dict)
    """Prediction id by event id."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each event id was sent for a prediction."""
    statuses: Counter[int] = field(default_factory=Counter)
    errors: int = 0


class Load(threading.Thread):
    """One client that asks, reports events and chargebacks, and repeats what it got no answer to."""

    def __init__(
        self, name: str, port: int, clock: ScaledClock, ledger: Ledger, ending: threading.Event
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.port, self.clock, self.ledger, self.ending = port, clock, ledger, ending
        self.random = random.Random(name)
        self.number = 0
        self.connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Send until told to end."""
        while not self.ending.is_set():
            kind = self.random.random()
            if kind < 0.7:
                self._predict()
            elif kind < 0.92:
                self._events("transactions", self.random.randint(1, 20))
            else:
                self._events("chargebacks", self.random.randint(1, 3))
            self.ending.wait(self.random.expovariate(1 / 0.004))

    def _event(self, source: str) -> dict[str, Any]:
        self.number += 1
        draw = self.random
        late = draw.choice((0, 0, 0, 1, 30, 600)) * 1_000_000
        at = _text(self.clock.now_us() - late)
        event = {
            "tx_id": f"{self.name}-{self.number}",
            "at": at,
            "card_id": f"c-{draw.randrange(40):04d}",
            "terminal_id": f"m-{draw.randrange(20):04d}",
        }
        if source == "chargebacks":
            return event | {"reported_at": _text(self.clock.now_us())}
        return event | {
            "device_id": draw.choice((None, "d-1")),
            "channel": draw.choice(("present", "online")),
            "amount": draw.randrange(100_000) / 100,
            "country": draw.choice((None, "PT", "FR")),
        }

    def _predict(self) -> None:
        event = self._event("transactions")
        key = event["tx_id"]

        def sent() -> None:
            with self.ledger.lock:
                self.ledger.asked[key] += 1

        answer = self._until_answered("/v1/models/fraud/predict", event, sent)
        if answer is not None:
            with self.ledger.lock:
                self.ledger.answered[key] = answer["prediction_id"]
                self.ledger.accepted["transactions"].add(key)

    def _events(self, source: str, n: int) -> None:
        events = [self._event(source) for _ in range(n)]
        if self.random.random() < 0.1:
            events.append(events[0])  # told twice
        answer = self._until_answered(f"/v1/events/{source}", events, lambda: None)
        if answer is not None:
            with self.ledger.lock:
                self.ledger.accepted[source].update(event["tx_id"] for event in events)

    def _until_answered(self, path: str, body: Any, sent: Any) -> Any:
        content = json.dumps(body)
        while True:
            sent()
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                self.connection.request("POST", path, content, {"Content-Type": "application/json"})
                response = self.connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError):
                self.connection = None
                with self.ledger.lock:
                    self.ledger.errors += 1
                if self.ending.wait(0.2):
                    return None
                continue
            with self.ledger.lock:
                self.ledger.statuses[response.status] += 1
            if response.status == 200:
                return answer
            if response.status < 500:
                raise AssertionError(f"{response.status} {answer}")
            if self.ending.wait(0.2):
                return None


def _text(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat().replace("+00:00", "Z")
