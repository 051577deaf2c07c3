import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.payments import PAYMENTS
from tests.waiting import until

from holdfast.app.stopping import Stop, on_stop, stop_signals
from holdfast.app.up import answers, free_port
from holdfast.app.worker import worker_status
from holdfast.app.workspace import Workspace

INTERRUPTED = """
import signal, sys
from pathlib import Path
from holdfast.app.stopping import on_stop
from holdfast.app.up import Up
from holdfast.app.worker import Worker

def wait(stop, at):
    # Whether the wait had so many instructions; the signal is handled before the last of them.
    seen = 0
    def trace(frame, event, _):
        nonlocal seen
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen += 1
            if seen == at:
                signal.raise_signal(signal.SIGTERM)
        return trace
    sys.settrace(trace)
    try:
        stop.wait(0.01)
    finally:
        sys.settrace(None)
    return seen >= at

make = {"worker": lambda: Worker(Path(sys.argv[2])).stopping, "up": lambda: Up(Path(sys.argv[2]))._stopping}
stop = make[sys.argv[1]]()
at = 1
with on_stop(lambda: stop.set()):
    while wait(stop, at):
        assert stop.is_set(), at
        stop, at = type(stop)(), at + 1
print(at)
"""
SUPERVISED = """
import sys
from pathlib import Path
from holdfast.app.up import Child, Up

class Small(Up):
    def _children(self, folder):
        code = (
            "import signal, sys, time\\n"
            "signal.signal(signal.SIGTERM, lambda *_: (print('drained', flush=True), sys.exit(0)))\\n"
            "print('up', flush=True)\\n"
            "time.sleep(120)"
        )
        return [Child("child", [sys.executable, "-c", code], lambda: True)]

sys.exit(Small(Path(sys.argv[1]), port=0).run())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project.py").write_text(PAYMENTS)
    Workspace(tmp_path).apply(by="eva")
    return tmp_path


@pytest.fixture
def hang_up() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("process", ["worker", "up"])
def test_a_signal_at_any_instruction_of_a_wait_is_heard_and_never_waited_for(
    process: str, folder: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, process, str(folder)], capture_output=True, text=True, timeout=120
    )

    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 10


def test_a_hang_up_asks_to_stop_unless_it_is_ignored(hang_up: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert signal.SIGHUP in stop_signals()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert signal.SIGHUP not in stop_signals()


def test_handlers_are_put_back(hang_up: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    stop = Stop()

    with on_stop(stop.set):
        signal.raise_signal(signal.SIGHUP)

    assert stop.wait(0)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_up_drains_when_asked_to_stop(number: signal.Signals, folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, str(folder)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr as lines:
        said = [next(lines)]
        while "ready: events" not in said[-1] or not any("child  | up" in line for line in said):
            said.append(next(lines))
        process.send_signal(number)
        said += list(lines)

    assert process.wait(60) == 0
    assert [line.partition(" ")[2].strip() for line in said[-2:]] == ["child  | drained", "up     | stopped"]


def test_up_under_nohup_outlives_its_terminal(folder: Path) -> None:
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + SUPERVISED
    process = subprocess.Popen(
        [sys.executable, "-c", ignoring, str(folder)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr as lines:
        while "ready: events" not in next(lines):
            pass
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        lives = process.poll() is None
        process.terminate()
        rest = lines.read()

    assert lives
    assert process.wait(60) == 0
    assert "stopped" in rest


def test_up_whose_terminal_is_gone_drains_all_the_same(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, str(folder)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr as lines:
        while "ready: events" not in next(lines):
            pass
    process.send_signal(signal.SIGHUP)

    assert process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_worker_drains_when_asked_to_stop(number: signal.Signals, folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "worker", "-C", str(folder)], stderr=subprocess.PIPE, text=True
    )
    wiring = Workspace(folder).wiring
    until(lambda: bool((worker_status(wiring) or {}).get("ready")))
    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "everything accepted and read is in the lake" in said


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_status_page_ends_when_asked_to_stop(number: signal.Signals, folder: Path) -> None:
    port = free_port("127.0.0.1", 0, "--port")
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast.console.status", str(folder), "127.0.0.1", str(port), "9"]
    )
    until(lambda: answers("127.0.0.1", port, "/livez"))

    process.send_signal(number)

    assert process.wait(60) == 0
