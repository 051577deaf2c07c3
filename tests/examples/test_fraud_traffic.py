"""What plays the simulated world to a service ends with a message where there is none, and at Ctrl-C."""

import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import until

from holdfast.app.examples import create

CARDS = ("--cards", "50")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("traffic") / "fraud"
    create("fraud", found)
    return found


@pytest.fixture
def service() -> Iterator[tuple[int, list[str]]]:
    """A service that takes everything; its port, and the ids of payments it was asked about."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = {"rejected": []}
            if "predict" in self.path:
                asked.append(body["tx_id"])
                answer = {"model": "fraud", "version": 1, "risk_score": 0.5, "prediction_id": "p-1"}
            told = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], asked
        server.shutdown()
        thread.join()


def command(*words: str) -> list[str]:
    return [sys.executable, "traffic.py", *words]


def interrupted(folder: Path, words: list[str], asked: list[str]) -> tuple[int, str]:
    """Send Ctrl-C as soon as some payments were sent; return the status and what was said."""
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until(lambda: len(asked) > 4 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[0]
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("what", ["payments", "reports", "load"])
def test_without_a_service_the_clock_stands_and_a_message_says_why(what: str, folder: Path) -> None:
    with socket.socket() as taken:  # bound, and not listened on
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        words = command(what, "--port", str(port), *CARDS)
        ran = subprocess.run(words, cwd=folder, capture_output=True, text=True)

    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"no service answers at 127.0.0.1:{port} (ConnectionRefusedError)" in ran.stderr
    assert f"`holdfast up --port {port}` runs it" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_payments_that_are_stopped_tell_what_was_answered(
    folder: Path, service: tuple[int, list[str]]
) -> None:
    port, asked = service
    words = command("payments", "--hours", "24", "--port", str(port))
    status, said = interrupted(folder, words, asked)

    assert status == 130
    assert " answered (" in said
    assert said.endswith("stopped\n")
    assert "Traceback" not in said


@pytest.mark.slow
def test_loads_of_one_day_have_ids_of_their_own(folder: Path, service: tuple[int, list[str]]) -> None:
    port, asked = service
    seen: list[str] = []
    for _ in range(2):
        status, said = interrupted(folder, command("load", "--port", str(port), *CARDS), asked)
        assert status == 0
        assert " answered (" in said
        seen += asked
        asked.clear()

    assert len(set(seen)) == len(seen) > 8


@pytest.mark.slow
def test_a_clock_that_is_set_back_says_so(tmp_path: Path) -> None:
    create("fraud", tmp_path / "fraud")  # its clock is nobody else's
    here = tmp_path / "fraud"
    said = [
        subprocess.run(command("clock", "--day", day), cwd=here, capture_output=True, text=True).stdout
        for day in ("300", "299")
    ]

    assert "set back" not in said[0]
    assert said[1].startswith("the clock is set back: ")
    assert len(said[1].splitlines()) == 2
