"""Plays the simulated world to the running service: payments as requests, chargebacks as events.

The world of `simulator.py` lives in 2026, so its service needs a clock that stands there too. `traffic.py
clock` sets it, in `.holdfast/clock.json` of this project, and the other commands move it along as they play.
A project without that file has the system's clock.

    python traffic.py clock --day 81
    python traffic.py payments --hours 12
    python traffic.py reports --days 8
    python traffic.py load
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from simulator import DAY, EPOCH_US, HOUR, LONGEST_DELAY_DAYS, simulate

from holdfast.app.wire import CLOCK, Wiring, set_clock
from holdfast.app.worker import worker_status

HERE = Path(__file__).resolve().parent
CLIENTS = 4
APPLIED_S = 30.0


class Service:
    """The service on this machine, over connections that stay open, one for each thread."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._local = threading.local()

    def demand(self) -> None:
        """End the program if nothing listens, before the clock is moved in vain."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError as error:
            raise SystemExit(self._is_silent(error)) from None

    def report(self, rows: list[dict[str, Any]]) -> None:
        """Tell of chargebacks; end the program if they are not taken."""
        try:
            status, answer, _ = self.post("/v1/events/chargebacks", rows)
        except (OSError, http.client.HTTPException) as error:
            raise SystemExit(self._is_silent(error)) from None
        if status != 200 or answer["rejected"]:
            raise SystemExit(f"chargebacks were refused: {status} {str(answer)[:300]}")

    def _is_silent(self, error: Exception) -> str:
        return (
            f"no service answers at 127.0.0.1:{self.port} ({type(error).__name__}): "
            f"`holdfast up --port {self.port}` runs it"
        )

    def post(self, path: str, body: Any) -> tuple[int, dict[str, Any], float]:
        """Return status, answer and seconds of one request."""
        began = time.perf_counter()
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self._local.connection = connection
        try:
            connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException):
            self._local.connection = None
            raise
        return response.status, answer, time.perf_counter() - began


class Answers:
    """What came back, counted."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.versions = Counter[str]()
        self.failures = Counter[str]()
        self.highest = (-1.0, "")
        self._lock = threading.Lock()

    def ask(self, service: Service, body: dict[str, Any]) -> None:
        """Ask for one prediction and keep what is said."""
        try:
            status, answer, seconds = service.post("/v1/models/fraud/predict", body)
        except (OSError, http.client.HTTPException) as error:
            with self._lock:
                self.failures[type(error).__name__] += 1
            time.sleep(0.1)
            return
        with self._lock:
            if status != 200:
                self.failures[f"{status} {answer['error']['code']}"] += 1
                return
            self.seconds.append(seconds)
            self.versions[f"{answer['model']}@{answer['version']}"] += 1
            self.highest = max(self.highest, (answer["risk_score"], answer["prediction_id"]))

    def lines(self) -> list[str]:
        """Return what to say at the end."""
        by_version = ", ".join(f"{n:,} by {name}" for name, n in sorted(self.versions.items()))
        failed = ", ".join(f"{n} {name}" for name, n in self.failures.most_common(3))
        lines = [
            f"{len(self.seconds):,} answered ({by_version or '-'}), {self.failures.total()} failed {failed}"
        ]
        if self.seconds:
            p50, p99 = np.quantile(self.seconds, [0.5, 0.99]) * 1000
            lines.append(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, as {CLIENTS} clients saw it")
            lines.append(f"highest {self.highest[0]:.2f}: {self.highest[1]}")
        return [line.rstrip() for line in lines]


class World:
    """The simulated world around an instant."""

    def __init__(self, now: int, last: int, cards: int, seed: int) -> None:
        begin, end = ((at - EPOCH_US) // DAY for at in (now, last + DAY - 1))
        found = simulate(max(0, begin - LONGEST_DELAY_DAYS), end, seed=seed, cards=cards)
        self.payments = found.transactions.sort("at", "tx_id")
        self.reports = found.chargebacks.sort("reported_at", "tx_id")

    def between(self, what: str, begin: int, end: int) -> Iterator[dict[str, Any]]:
        """Yield the bodies of the payments made, or reported, in an interval."""
        rows, column = (self.payments, "at") if what == "payments" else (self.reports, "reported_at")
        inside = pl.col(column).is_between(_instant(begin), _instant(end), closed="left")
        for row in rows.filter(inside).iter_rows(named=True):
            yield {name: _plain(value) for name, value in row.items()}


def _instant(us: int) -> pl.Expr:
    return pl.lit(us).cast(pl.Datetime("us", "UTC"))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value if value is None or isinstance(value, str) else float(value)


def payments(service: Service, hours: int, lose_country: float, cards: int, seed: int) -> None:
    """Send the payments and reports of some hours, hour by hour, and move the clock along.

    The clock jumps only when the worker has applied an hour, so an answer lacks no more than in real time.
    """
    wiring = Wiring(HERE)
    begin = wiring.clock.now_us() // HOUR * HOUR
    world = World(begin, begin + hours * HOUR, cards, seed)
    answers, reported, frames = Answers(), 0, _applied(wiring)
    pool = ThreadPoolExecutor(CLIENTS)
    try:
        for hour in range(begin, begin + hours * HOUR, HOUR):
            set_clock(HERE, hour + HOUR)
            time.sleep(0.03)  # every process looks at the clock's file within this
            reported += (n := _report(service, world, hour, hour + HOUR))
            bodies = list(world.between("payments", hour, hour + HOUR))
            for body in bodies:
                if zlib.crc32(body["tx_id"].encode()) < lose_country * 2**32:
                    body["country"] = None
            list(pool.map(lambda body: answers.ask(service, body), bodies))
            frames += 2 * len(bodies) + n
            deadline = time.monotonic() + APPLIED_S
            while _applied(wiring) < frames and time.monotonic() < deadline:
                time.sleep(0.02)
    finally:  # also after Ctrl-C: what was asked so far is told
        pool.shutdown(cancel_futures=True)
        print(*answers.lines(), f"{reported:,} chargebacks reported", _now(), sep="\n")


def reports(service: Service, days: int, cards: int, seed: int) -> None:
    """Let days pass in which nobody pays and what was stolen before is reported."""
    begin = Wiring(HERE).clock.now_us() // HOUR * HOUR
    world, reported, step = World(begin, begin, cards, seed), 0, 6 * HOUR
    world.reports = world.reports.filter(pl.col("at") < _instant(begin))
    try:
        for at in range(begin, begin + days * DAY, step):
            set_clock(HERE, at + step)
            time.sleep(0.03)
            reported += _report(service, world, at, at + step)
    finally:
        print(f"{reported:,} chargebacks reported", _now(), sep="\n")


def load(service: Service, cards: int, seed: int) -> None:
    """Send payments without a pause, all of them made now, until Ctrl-C."""
    clock = Wiring(HERE).clock
    day = (clock.now_us() - EPOCH_US) // DAY * DAY + EPOCH_US
    rows = list(World(day, day + DAY, cards, seed).between("payments", day, day + DAY))
    answers, ending = Answers(), threading.Event()
    run = f"load-{time.time_ns():x}"  # by the machine's clock: the project's may stand where it stood before

    def send(client: int) -> None:
        n = client
        while not ending.is_set():
            now = datetime.fromtimestamp(clock.now_us() / 1e6, UTC)
            answers.ask(service, rows[n % len(rows)] | {"tx_id": f"{run}-{n}", "at": _plain(now)})
            n += CLIENTS

    print(f"{CLIENTS} clients ask, until Ctrl-C", flush=True)
    threads = [threading.Thread(target=send, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        while not ending.wait(0.2):  # a wait without end may not notice Ctrl-C
            pass
    except KeyboardInterrupt:
        ending.set()
    for thread in threads:
        thread.join()
    print(*answers.lines(), sep="\n")


def _report(service: Service, world: World, begin: int, end: int) -> int:
    rows = list(world.between("reports", begin, end))
    for n in range(0, len(rows), 500):
        service.report(rows[n : n + 500])
    return len(rows)


def _applied(wiring: Wiring) -> int:
    said = worker_status(wiring)
    return 0 if said is None else int(said["counts"].get("frames", 0))


def _set_clock(now_us: int) -> None:
    if (HERE / CLOCK).exists() and now_us < Wiring(HERE).clock.now_us():
        print("the clock is set back: what was recorded since then lies ahead of it")
    set_clock(HERE, now_us)
    print(_now())


def _now() -> str:
    now = datetime.fromtimestamp(Wiring(HERE).clock.now_us() / 1e6, UTC)
    return f"the clock stands at {now:%Y-%m-%dT%H:%M:%SZ}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="traffic.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["clock", "payments", "reports", "load"])
    add = parser.add_argument
    add("--port", type=int, default=8000, metavar="N", help="where the service listens (default: 8000)")
    add("--day", type=int, default=60, metavar="N", help="clock: the day that begins now (default: 60)")
    add("--hours", type=int, default=12, metavar="N", help="payments: how many hours (default: 12)")
    add("--days", type=int, default=8, metavar="N", help="reports: how many days (default: 8)")
    add("--lose-country", type=float, default=0.0, metavar="SHARE", help="payments that lose their country")
    add("--cards", type=int, default=1000, metavar="N", help="as the simulator was told (default: 1000)")
    add("--seed", type=int, default=7, metavar="N", help="as the simulator was told (default: 7)")
    chosen = parser.parse_args()
    try:
        play(chosen)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None


def play(chosen: argparse.Namespace) -> None:
    """Do what was chosen."""
    service = Service(chosen.port)
    if chosen.what != "clock":
        service.demand()
    match chosen.what:
        case "clock":
            _set_clock(EPOCH_US + chosen.day * DAY)
        case "payments":
            payments(service, chosen.hours, chosen.lose_country, chosen.cards, chosen.seed)
        case "reports":
            reports(service, chosen.days, chosen.cards, chosen.seed)
        case "load":
            load(service, chosen.cards, chosen.seed)


if __name__ == "__main__":
    main()
