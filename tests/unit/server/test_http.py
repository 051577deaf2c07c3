"""The service over HTTP: a real server in a process of its own, and every bad thing that may reach it."""

import json
import math
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from tests.serving_world import deploy, make_project

from holdfast.adapters.journal import JournalFolder
from holdfast.events.journal import EVENT, PREDICTION, REJECTED, decode_payload

DEADLINE_S = 90.0


class Server:
    """One `holdfast serve` on a free port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "holdfast", "serve", "-C", str(folder), "--port", "0", *options]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.log = (folder / "serve.log").open("a+b")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=environment)
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        line = self.process.stdout.readline().decode() if readable else ""
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found is not None, (line, (folder / "serve.log").read_text())
        self.port = int(found[1])

    def wait_ready(self) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            status, told = self.get("/readyz")
            return told if status == 200 else None

        found: dict[str, Any] = until(ready, lambda: (self.folder / "serve.log").read_text())
        return found

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, Any]:
        try:
            status, content = self.call("GET", path)
        except OSError:
            return 0, None
        return status, json.loads(content)

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        status, content = self.call(
            "POST", path, body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        return status, json.loads(content)

    def predict(self, body: Any) -> tuple[int, Any]:
        return self.post("/v1/models/fraud/predict", body)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(40)
        self.log.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def until(found: Any, otherwise: Any = lambda: "") -> Any:
    """Return what a function finds, asked again and again until a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        answer = found()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(otherwise())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("served") / "shop")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    running = Server(folder)
    try:
        running.wait_ready()
        yield running
    finally:
        assert running.stop() == 0


def now(**after: float) -> str:
    return (datetime.now(UTC) + timedelta(**after)).isoformat()


_IDS = iter(range(10**9))


def row(**changes: Any) -> dict[str, Any]:
    found = {"id": f"h-{next(_IDS)}", "at": now(), "card": "c-1", "amount": 40.0, "country": "PT"} | changes
    return {name: value for name, value in found.items() if value is not ...}


def journalled(folder: Path) -> list[Any]:
    reader = JournalFolder(folder / ".holdfast" / "journal")
    frames = []
    for name in reader.journals():
        position = 0
        while found := reader.read(name, position, 2**22):
            frames += found
            position = found[-1].next
    return frames


def test_a_prediction_is_answered_recorded_and_repeated(server: Server, folder: Path) -> None:
    asked = row()

    status, answer = server.predict(asked)
    again = server.predict(asked)

    assert status == 200
    assert {"prediction_id", "risk_score", "recommendation", "model", "version", "step", "missing"} == set(
        answer
    )
    assert (answer["step"], answer["version"]) == ("champion", 1)
    assert again == (200, answer | {"repeat": True})
    mine = [f for f in journalled(folder) if decode_payload(f.payload).get("key", None) == asked["id"]]
    assert [f.kind for f in mine] == [PREDICTION]
    record = decode_payload(mine[0].payload)
    assert (record["runtime"], record["known_batch"]) == ("lightgbm-walk", [7])


PAID = b'{"id": "h", "at": "2026-11-02T10:15:00Z", "card": "c", "amount": %s}'
BAD = {
    "empty": (b"", 400, "HF214", "$"),
    "malformed": (b'{"id": ', 400, "HF214", "$"),
    "not an object": (b"[]", 400, "HF214", "$"),
    "not UTF-8": (b'{"id": "\xff"}', 400, "HF214", "$"),
    "deep": (b"[" * 30_000, 400, "HF214", "$"),
    "deep inside": (b'{"id": ' + b"[" * 30_000, 400, "HF214", "$"),
    "half a surrogate": (b'{"id": "\\ud800"}', 400, "HF214", "$"),
    "missing": (row(amount=...), 422, "HF201", "$.amount"),
    "null": (row(card=None), 422, "HF201", "$.card"),
    "unknown": (row(amuont=1), 422, "HF209", "$.amuont"),
    "wrong type": (row(amount="much"), 422, "HF202", "$.amount"),
    "nested": (row(amount={"value": 40}), 422, "HF202", "$.amount"),
    "NaN": (row(amount=math.nan), 422, "HF206", "$.amount"),
    "infinity": (row(amount=-math.inf), 422, "HF206", "$.amount"),
    "out of bounds": (row(amount=100_001), 422, "HF203", "$.amount"),
    "too long": (row(card="x" * 21), 422, "HF208", "$.card"),
    "no zone": (row(at="2026-11-02T10:15:00"), 422, "HF205", "$.at"),
    "huge number": (PAID % b"1e400", 422, "HF203", "$.amount"),
    "long number": (PAID % (b"9" * 9_999), 422, "HF203", "$.amount"),
    "far future": (row(at="2199-01-01T00:00:00Z"), 422, "HF203", "$.at"),
    "huge": (b'{"id": "' + b"x" * 70_000 + b'"}', 413, "HF208", "$"),
    "very huge": (b'{"id": "' + b"x" * 3_000_000 + b'"}', 413, "HF208", "$"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_and_the_server_goes_on(server: Server, name: str) -> None:
    body, status, code, at = BAD[name]

    found, told = server.predict(body)

    assert (found, told["error"]["code"], told["error"].get("at")) == (status, code, at)
    assert told["error"]["id"].startswith("e-")
    assert server.predict(row())[0] == 200


def test_duplicate_keys_are_refused(server: Server) -> None:
    body = json.dumps(row()).encode()[:-1] + b', "amount": 41.0}'

    status, told = server.predict(body)

    assert (status, told["error"]["code"], told["error"]["at"]) == (400, "HF214", "$.amount")


def test_an_id_with_other_content_is_a_conflict(server: Server) -> None:
    asked = row()
    server.predict(asked)

    status, told = server.predict(asked | {"amount": 41.0})

    assert (status, told["error"]["code"]) == (409, "HF210")


def test_an_unknown_model_path_or_method_is_told(server: Server) -> None:
    assert server.post("/v1/models/fruad/predict", row())[1]["error"]["hint"] == "did you mean `fraud`?"
    assert server.post("/v1/nothing", row())[0] == 404
    assert server.get("/v1/models/fraud/predict")[0] == 405
    assert server.post("/v1/models//predict", row())[0] == 404
    assert server.post("/v1/events/refunds", row())[0] == 404


def test_events_get_one_verdict_each(server: Server, folder: Path) -> None:
    good, bad = row(), row(amount=-1)

    status, told = server.post("/v1/events/payments", [good, bad])

    assert (status, told["accepted"], told["rejected"]) == (200, 1, 1)
    assert [each["status"] for each in told["rows"]] == ["accepted", "rejected"]
    assert told["rows"][1]["error"]["at"] == "$[1].amount"
    assert server.post("/v1/events/payments", row()) == (
        200,
        {"status": "accepted", "id": f"h-{next(_IDS) - 1}"},
    )
    assert server.post("/v1/events/payments", bad)[0] == 422
    assert server.post("/v1/events/payments", [row() for _ in range(1_001)])[0] == 422
    assert server.post("/v1/events/payments", b" " * 2_000_000)[0] == 413
    kinds = {frame.kind for frame in journalled(folder)}
    assert {EVENT, REJECTED} <= kinds


def test_feedback_is_accepted_for_sources_of_outcomes(server: Server) -> None:
    event = {"id": "d-1", "at": now()}

    assert server.post("/v1/feedback", {"source": "disputes", "event": event})[0] == 200
    assert server.post("/v1/feedback", {"source": "payments", "event": event})[0] == 404
    assert server.post("/v1/feedback", {"source": "disputes", "event": {"id": "d"}})[0] == 422
    assert server.post("/v1/feedback", {"source": "disputes"})[0] == 422
    assert server.post("/v1/feedback", b"{")[0] == 400


def test_the_service_describes_itself(server: Server) -> None:
    status, document = server.get("/openapi.json")

    assert status == 200
    assert {"/livez", "/readyz", "/metrics", "/v1/models/fraud/predict", "/v1/feedback"} <= set(
        document["paths"]
    )
    properties = document["components"]["schemas"]["Payment"]["properties"]
    assert properties["amount"]["maximum"] == 100_000
    assert server.get("/livez") == (200, {"status": "alive"})
    status, page = server.call("GET", "/docs")
    assert status == 200
    assert b"/v1/models/fraud/predict" in page
    assert not re.search(rb"https?://|<script|<link|src=", page)


def test_metrics_count_what_happened(server: Server) -> None:
    server.predict(row())

    text = server.call("GET", "/metrics")[1].decode()

    assert 'holdfast_requests_total{route="/v1/models/{name}/predict",status="200"}' in text
    assert 'holdfast_predictions_total{model="fraud",' in text
    assert re.search(r"^holdfast_ready 1$", text, re.M)
    assert re.search(r"^holdfast_online_batch 7$", text, re.M)
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) .+|[a-z_]+(\{[^{}]*(\{[^{}]*\}[^{}]*)*\})? \S+", line), line


def test_a_body_that_never_ends_and_a_caller_that_leaves_harm_nobody(server: Server) -> None:
    for sent in (
        b"POST /v1/models/fraud/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{",
        b"GET",
        b"\0\1",
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(sent)

    assert server.predict(row())[0] == 200


@pytest.mark.slow
def test_a_new_champion_answers_within_a_second_and_no_request_is_lost(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "shop")
    server = Server(folder, "--workers", "2")
    answered: list[tuple[float, int, int]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            status, told = server.predict(row())
            answered.append((time.monotonic(), status, told.get("version", -1)))

    try:
        server.wait_ready()
        asking = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asking:
            thread.start()
        until(lambda: len(answered) > 20)
        number = deploy(folder, seed=2)
        deployed = time.monotonic()
        until(lambda: answered[-1][2] == number and time.monotonic() > deployed + 2)
        done.set()
        for thread in asking:
            thread.join()
    finally:
        done.set()
        assert server.stop() == 0
    assert {status for _, status, _ in answered} == {200}
    assert {version for _, _, version in answered} == {1, number}
    ids = [decode_payload(f.payload)["key"] for f in journalled(folder) if f.kind == PREDICTION]
    assert len(ids) == len(set(ids)) == len(answered)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_journal_is_whole(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "shop")
    server = Server(folder)
    try:
        server.wait_ready()
        assert server.predict(row())[0] == 200
        first = children_of(server.process.pid)
        os.kill(first[0], signal.SIGKILL)
        until(lambda: set(children_of(server.process.pid)) - set(first))
        server.wait_ready()
        assert server.predict(row())[0] == 200
    finally:
        assert server.stop() == 0
    assert sum(frame.kind == PREDICTION for frame in journalled(folder)) == 2


def test_what_answers_is_told_at_level_info(server: Server) -> None:
    said = [line for line in (server.folder / "serve.log").read_text().splitlines() if "answering:" in line]

    assert " serve-0 INFO answering: fraud@1 (" in said[0]


def test_a_terminal_that_closes_ends_serving_in_order(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "shop")
    server = Server(folder)
    try:
        server.wait_ready()
        assert server.predict(row())[0] == 200
    finally:
        assert server.stop(signal.SIGHUP) == 0
    assert sum(frame.kind == PREDICTION for frame in journalled(folder)) == 1


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def test_a_taken_port_is_told(folder: Path, server: Server) -> None:
    command = [sys.executable, "-m", "holdfast", "serve", "-C", str(folder), "--port", str(server.port)]

    found = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)

    assert found.returncode == 2
    assert f"port {server.port} of 127.0.0.1 is taken" in found.stderr


def test_a_project_that_was_not_applied_is_not_ready_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text("")
    server = Server(tmp_path)
    try:
        told = until(lambda: (found := server.get("/readyz"))[0] == 503 and found[1])
        assert told["waiting_for"] != ["nothing is loaded yet"]
        status, refused = server.predict(row())
        assert (status, refused["error"]["code"]) == (503, "HF600")
    finally:
        assert server.stop() == 0
