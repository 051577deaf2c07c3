"""The second half of ``make demo``: the loop while it serves, on a clock that jumps between bursts."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from holdfast.app.load import importable
from holdfast.app.wire import set_clock
from holdfast.app.worker import worker_status
from holdfast.app.workspace import Workspace
from holdfast.cli.render import score_line
from holdfast.kernel.time import DAY, MINUTE, format_instant
from holdfast.serving.ports import PREDICTIONS

BURST = 60 * MINUTE
"""Simulated time of one burst; the clock jumps from the end of one to the end of the next."""
REPORTS = 6 * 60 * MINUTE
"""Simulated time of one delivery of chargebacks in the days after."""
CLIENTS = 4
INCIDENT_SHARE = 0.28
"""Share of requests that lose their country in the second half: the planted incident."""
READY_S, APPLIED_S = 180.0, 60.0


@dataclass
class Sent:
    """What a load of requests came back with."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def quantile_ms(self, share: float) -> float:
        """Return a latency seen by the client."""
        return float(np.quantile(np.array(self.seconds), share)) * 1000


class Client:
    """Sends JSON over connections that stay open, one for each thread."""

    def __init__(self, address: str) -> None:
        found = urlsplit(address)
        assert found.hostname is not None
        self.host, self.port = found.hostname, found.port
        self._local = threading.local()

    def post(self, path: str, body: Any) -> tuple[int, dict[str, Any], float]:
        """Return status, answer and seconds of one request."""
        content = json.dumps(body).encode()
        began = time.perf_counter()
        for attempt in (1, 2):
            connection = self._connection()
            try:
                connection.request("POST", path, content, {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException):
                self._local.connection = None
                if attempt == 2:
                    raise
            else:
                return response.status, answer, time.perf_counter() - began
        raise AssertionError

    def _connection(self) -> http.client.HTTPConnection:
        held = getattr(self._local, "connection", None)
        if held is None:
            held = self._local.connection = http.client.HTTPConnection(self.host, self.port or 80, timeout=30)
        return held


class Running:
    """``holdfast up`` as a child, with its lines kept and its addresses known.

    It writes to the log itself, so that it goes on when this process has ended.

    Parameters
    ----------
    command : started instead
    """

    def __init__(self, folder: Path, log: Path, command: Sequence[str] | None = None) -> None:
        up = [
            sys.executable, "-m", "holdfast", "up", "-C", str(folder), "--port", "0", "--status-port", "0",
        ]  # fmt: skip
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command or up, stderr=file, stdout=subprocess.DEVNULL, start_new_session=True
            )
        self.lines: deque[str] = deque(maxlen=2_000)
        self.address = self.status = ""
        self._ready = threading.Event()
        self._log = log
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self) -> bool:
        """Wait until everything is ready; False if it ended or takes too long."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._ready.wait(0.1):
                return True
        return False

    def stop(self) -> int:
        """End it as Ctrl-C does and return its status."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _read(self) -> None:
        begun = ""
        with self._log.open() as log:
            while True:
                has_ended = self.process.poll() is not None
                begun += log.readline()
                if begun.endswith("\n"):
                    self._note(begun.rstrip())
                    begun = ""
                elif has_ended:
                    return
                else:
                    time.sleep(0.05)

    def _note(self, line: str) -> None:
        self.lines.append(line)
        if "predictions at " in line:
            self.address = line.rpartition(" ")[2]
        if "status page at " in line:
            self.status = line.rpartition(" ")[2]
            self._ready.set()


@contextmanager
def running(folder: Path, *, keep: bool) -> Iterator[Running]:
    """Run everything of a project and stop it at the end, unless it is to go on."""
    up = Running(folder, folder / "up.log")
    try:
        yield up
    finally:
        if not keep and up.process.poll() is None:
            up.stop()


class Walk(Protocol):
    """The first half of the demo: its project, and its way of running, saying and checking."""

    folder: Path
    start: int

    def say(self, text: str = "") -> None:
        """Print a line at once."""
        ...

    def stage(self, title: str) -> None:
        """Begin a stage."""
        ...

    def run(self, *args: str) -> None:
        """Run one command of the command line."""
        ...

    def check(self, holds: bool, words: str) -> None:
        """Report one check."""
        ...


class LiveDemo:
    """The walk through the live half; the project was trained and deployed by the first half.

    Parameters
    ----------
    demo : the first half
    first_day, days : which days are lived through
    """

    def __init__(self, demo: Walk, *, first_day: int, days: int = 1) -> None:
        self.demo = demo
        self.folder = demo.folder
        self.first, self.last = demo.start + first_day * DAY, demo.start + (first_day + days) * DAY
        self.begin_day, self.end_day = first_day, first_day + days

    def walk(self, *, keep: bool = False) -> None:
        """Walk the live half."""
        self._train()
        self._serve(keep)

    def _train(self) -> None:
        demo = self.demo
        demo.stage("a second version, for later")
        demo.run("train", "fraud", "--seed", "7", "--by", "eva")
        demo.run("approve", "fraud", "2", "--by", "ben", "--reason", "no worse than fraud@1")

    def _serve(self, keep: bool) -> None:
        demo = self.demo
        demo.stage("holdfast up: serving, worker and status page")
        set_clock(self.folder, self.first)
        demo.say(f"$ holdfast up -C {self.folder} --port 0")
        with running(self.folder, keep=keep) as up:
            ready = up.wait()
            for line in list(up.lines)[-12:]:
                demo.say(f"  {line}")
            demo.check(ready, "everything is ready")
            if ready:
                self._live(up, keep=keep)

    def _live(self, up: Running, *, keep: bool) -> None:
        demo, client = self.demo, Client(up.address)
        workspace = Workspace(self.folder)
        self.wiring = workspace.wiring
        transactions, chargebacks = self._world()
        half = self.first + (self.last - self.first) // 2
        hours = (self.last - self.first) // (60 * MINUTE)
        demo.stage(
            f"{transactions.height:,} live requests, {hours} hours in bursts of {BURST // MINUTE} minutes"
        )
        began = time.monotonic()
        sent, reported = self._bursts(client, transactions, chargebacks, half)
        seconds = time.monotonic() - began
        demo.check(
            not sent.failures and len(sent.answers) == transactions.height,
            f"{len(sent.answers):,} answered, {sum(sent.failures.values())} failed, in {seconds:.0f} s: "
            f"p50 {sent.quantile_ms(0.5):.1f} ms, p95 {sent.quantile_ms(0.95):.1f} ms, "
            f"p99 {sent.quantile_ms(0.99):.1f} ms, as {CLIENTS} clients saw it",
        )
        demo.say(f"  {reported:,} chargebacks of earlier days were reported meanwhile, by POST")
        demo.check(self._applied(workspace, len(sent.answers)), "every answer has its one record in the lake")

        demo.stage("parity: every served feature and score, recomputed from the lake")
        since = format_instant(self.first - DAY)
        demo.run("parity", "--since", since)
        found = workspace.parity(since=since)
        demo.check(
            found.values_differing == 0 and found.predictions + found.inexact_head == len(sent.answers),
            f"{found.values_compared:,} values of {found.predictions:,} predictions: "
            f"{found.values_differing} differ; inexact_head {found.inexact_head}",
        )
        demo.run("parity", "--since", since, "--self-test")

        demo.stage("why, for a live answer")
        riskiest = max(sent.answers, key=lambda answer: answer["risk_score"])
        demo.run("why", riskiest["prediction_id"])
        explanation = workspace.why(riskiest["prediction_id"])
        demo.say(f"\n  {score_line(explanation.answer)}")
        demo.check(explanation.is_equal, "all features equal the oracle's, bit for bit")

        demo.stage(
            f"drift: {INCIDENT_SHARE:.0%} of requests lost their country at {format_instant(half)[11:16]}"
        )
        demo.run("drift", "fraud", "--since", format_instant(half))
        drifted = workspace.drift("fraud", since=format_instant(half))
        before = workspace.drift("fraud", since=format_instant(self.first), until=format_instant(half))
        country = next((c for c in drifted.marked if c.name == "country"), None)
        demo.check(
            country is not None and "missing" in country.why,
            f"the incident is found: country {country.why if country else 'is not marked'}",
        )
        demo.check("country" not in {c.name for c in before.marked}, "the hours before are not marked for it")

        self._roll_back(client, workspace, transactions)
        self._labels(client, workspace, len(sent.answers))
        if keep:
            demo.say(
                f"\nrunning on: predictions {up.address}  status page {up.status}  log {self.folder}/up.log"
            )
            demo.say(f"stop it with: kill -INT {up.process.pid}")
            return
        demo.stage("one Ctrl-C")
        status = up.stop()
        demo.check(status == 0, "everything stopped cleanly")

    # --- load -----------------------------------------------------------------------------------------

    def _world(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the payments of the live days, and all reports of chargebacks from then on."""
        with importable(self.folder.resolve()):
            import simulator  # type: ignore[import-not-found]

            world = simulator.simulate(max(0, self.begin_day - 28), self.end_day)
        start = pl.lit(self.first).cast(pl.Datetime("us", "UTC"))
        transactions = world.transactions.filter(pl.col("at") >= start).sort("at", "tx_id")
        reports = world.chargebacks.filter(pl.col("reported_at") >= start).sort("reported_at", "tx_id")
        self.reports = reports
        return transactions, reports

    def _bursts(
        self, client: Client, transactions: pl.DataFrame, reports: pl.DataFrame, incident: int
    ) -> tuple[Sent, int]:
        """Send everything, burst by burst; return what came back and how many reports were sent."""
        sent, reported, frames = Sent(), 0, 0
        stop = self.last
        with ThreadPoolExecutor(CLIENTS) as pool:
            for begin in range(self.first, stop, BURST):
                end = min(begin + BURST, stop)
                self._move(end)
                reported += self._report(client, reports, begin, end)
                rows = _between(transactions, "at", begin, end)
                bodies = [_request(row, incident) for row in rows.iter_rows(named=True)]
                for status, answer, seconds in pool.map(lambda body: _ask(client, body), bodies):
                    sent.seconds.append(seconds)
                    if status == 200:
                        sent.answers.append(answer)
                    else:
                        sent.failures[f"{status} {answer}"] += 1
                frames += 2 * len(bodies)
                self._caught_up(frames + reported)
        for words, n in sent.failures.most_common(3):
            self.demo.say(f"  {n} x {words[:300]}")
        return sent, reported

    def _caught_up(self, frames: int) -> None:
        """Wait until the worker applied what was sent, so that the clock does not jump over it."""
        deadline = time.monotonic() + APPLIED_S
        while time.monotonic() < deadline:
            said = worker_status(self.wiring)
            if said is not None and said["counts"].get("frames", 0) >= frames:
                return
            time.sleep(0.02)

    def _move(self, instant: int) -> None:
        set_clock(self.folder, instant)
        time.sleep(0.03)  # every process looks at the clock's file within this

    def _report(self, client: Client, reports: pl.DataFrame, begin: int, end: int) -> int:
        """Post the chargebacks that are reported in an interval, at most 500 at a time."""
        rows = _between(reports, "reported_at", begin, end)
        for part in rows.iter_slices(500):
            body = [{k: _plain(v) for k, v in row.items()} for row in part.iter_rows(named=True)]
            status, answer, _ = client.post("/v1/events/chargebacks", body)
            if status != 200:
                self.demo.check(False, f"chargebacks were refused: {status} {str(answer)[:200]}")
        return rows.height

    def _applied(self, workspace: Workspace, answers: int) -> bool:
        """Wait until the records of all answers are in the lake, once each."""
        deadline = time.monotonic() + APPLIED_S
        live = pl.col("exposure") != "batch"
        n = unique = 0
        while time.monotonic() < deadline:
            if workspace.wiring.lake.version(PREDICTIONS) is not None:
                found = workspace.wiring.lake.read(PREDICTIONS, ["attempt"], where=live)["attempt"]
                n, unique = found.len(), found.n_unique()
                if n >= answers:
                    break
            time.sleep(0.2)
        time.sleep(1.5)  # records and events of one batch are several tables: let the last one be settled
        return n == unique == answers

    # --- later ----------------------------------------------------------------------------------------

    def _roll_back(self, client: Client, workspace: Workspace, transactions: pl.DataFrame) -> None:
        """Deploy the second version and roll back to the first, while requests go on."""
        demo = self.demo
        demo.stage("deploy fraud@2, then roll back, under load")
        last = self.last - MINUTE
        rows = transactions.tail(200).to_dicts()
        versions: list[tuple[float, int]] = []
        failures = Counter[str]()
        ending = threading.Event()

        def keep_asking(name: int) -> None:
            n = 0
            while not ending.is_set():
                row = dict(rows[(n * CLIENTS + name) % len(rows)])
                n += 1
                row |= {"tx_id": f"load-{name}-{n}", "at": datetime.fromtimestamp(last / 1e6).astimezone()}
                try:
                    status, answer, _ = _ask(client, _request(row, self.last))
                except (OSError, http.client.HTTPException) as error:
                    failures[type(error).__name__] += 1
                    continue
                if status == 200:
                    versions.append((time.monotonic(), answer["version"]))
                else:
                    failures[str(status)] += 1

        threads = [threading.Thread(target=keep_asking, args=(n,), daemon=True) for n in range(2)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.5)
            forward = self._until(versions, 2, lambda: demo.run("deploy", "fraud", "2", "--by", "ana"))
            reason = "the incident began after it; look first"
            back = self._until(
                versions, 1, lambda: demo.run("rollback", "fraud", "--by", "ana", "--reason", reason)
            )
            time.sleep(0.5)
        finally:
            ending.set()
            for thread in threads:
                thread.join()
        demo.check(
            not failures and back is not None and forward is not None,
            f"{len(versions):,} requests meanwhile, {sum(failures.values())} failed"
            + (f" ({dict(failures)})" if failures else ""),
        )
        demo.check(
            back is not None and back < 1.0,
            f"fraud@1 answered everything {back or 0:.2f} s after the rollback",
        )

    def _until(self, versions: list[tuple[float, int]], wanted: int, act: Callable[[], None]) -> float | None:
        """Act, and return the seconds after which every answer is by a version; None if that takes long."""
        act()
        done = time.monotonic()
        deadline = done + 10
        while time.monotonic() < deadline:
            time.sleep(0.3)
            others = [when for when, version in list(versions) if version != wanted and when > done]
            latest = versions[-1] if versions else (0.0, 0)
            if latest[1] == wanted and time.monotonic() - max(others, default=0.0) > 0.6:
                return max(others, default=done) - done
        return None

    def _labels(self, client: Client, workspace: Workspace, answers: int) -> None:
        """Let eight days pass, report what was reported meanwhile, and measure."""
        demo = self.demo
        demo.stage("eight days later: late labels, by POST")
        n = 0
        for begin in range(self.last, self.last + 8 * DAY, REPORTS):
            self._move(begin + REPORTS)  # what is reported late arrives late, so the clock goes along
            n += self._report(client, self.reports, begin, begin + REPORTS)
        demo.say(f"  {n:,} chargebacks reported")
        deadline = time.monotonic() + APPLIED_S
        since, until = format_instant(self.first), format_instant(self.last - MINUTE)
        found = None
        while time.monotonic() < deadline:
            found = workspace.performance("fraud", since=since, until=until, version=1)
            if found.mature > 0.9 * found.predictions:
                break
            time.sleep(0.5)
        demo.run("performance", "fraud", "--since", since, "--until", until, "--by", "day")
        assert found is not None
        demo.check(
            found.positives > 0 and found.mature > 0.9 * found.predictions,
            f"{found.mature:,} of {found.predictions:,} live answers have a mature label, "
            f"{found.positives:,} of them positive",
        )


def _ask(client: Client, body: dict[str, Any]) -> tuple[int, dict[str, Any], float]:
    return client.post("/v1/models/fraud/predict", body)


def _between(rows: pl.DataFrame, column: str, begin: int, end: int) -> pl.DataFrame:
    bounds = [pl.lit(at).cast(pl.Datetime("us", "UTC")) for at in (begin, end)]
    return rows.filter((pl.col(column) >= bounds[0]) & (pl.col(column) < bounds[1]))


def _request(row: dict[str, Any], incident: int) -> dict[str, Any]:
    """Return the body of a payment; from the incident on some lose their country."""
    body = {name: _plain(value) for name, value in row.items()}
    at: datetime = row["at"]
    lost = _share(str(row["tx_id"])) < INCIDENT_SHARE
    if lost and at.timestamp() * 1e6 >= incident:
        body["country"] = None
    return body


def _share(text: str) -> float:
    """Return a number in [0, 1) that is the same for the same text."""
    return zlib.crc32(text.encode()) / 2**32


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value if value is None or isinstance(value, str | int | float) else float(value)
