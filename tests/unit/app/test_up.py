import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from tests.demand_world import compiled
from tests.waiting import until

from holdfast.app.alone import alone, find_up
from holdfast.app.examples import create
from holdfast.app.log import SUPERVISED
from holdfast.app.up import Child, Up, _dies_with, _GaveUpError, _why_not, free_port, what_is_accepted
from holdfast.app.worker import run_worker
from holdfast.app.workspace import Workspace
from holdfast.kernel.errors import ConflictError, RefusedError, UsageError


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def up(lines: list[str], tmp_path: Path) -> Iterator[Up]:
    yield Up(tmp_path, write=lines.append)
    for thread in threading.enumerate():
        if thread.name.startswith("lines of"):
            thread.join(30)  # those who read what children say end with them


def child(code: str, ready: Callable[[], bool] = lambda: True) -> Child:
    return Child("child", [sys.executable, "-c", code], ready)


def test_taken_port_is_refused_with_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(UsageError, match="taken") as caught:
            free_port("127.0.0.1", taken.getsockname()[1], "--port")

    assert "--port 0" in str(caught.value)


def test_port_zero_is_a_free_port() -> None:
    assert free_port("127.0.0.1", 0, "--port") > 0


def test_every_line_of_a_child_names_it(up: Up, lines: list[str]) -> None:
    one = child("print('hello'); print('world')")
    up._start(one)

    until(lambda: len(lines) == 2)

    assert [line.partition(" ")[2] for line in lines] == ["child  | hello", "child  | world"]
    assert one.process is not None
    one.process.wait()


def test_children_are_told_that_their_lines_get_a_time(up: Up, lines: list[str]) -> None:
    one = child(f"import os; print(os.environ[{SUPERVISED!r}])")
    up._start(one)

    until(lambda: len(lines) == 1)

    assert lines[0].endswith("| 1")
    assert one.process is not None
    one.process.wait()


def test_child_that_ends_starts_again_later_each_time(up: Up, lines: list[str]) -> None:
    one = child("raise SystemExit(3)")
    one.was_ready = True
    waits = []
    for _ in range(3):
        up._start(one)
        assert one.process is not None
        one.process.wait()
        up._look_after(one)
        waits.append(one.wait_s)

    assert waits == [1.0, 2.0, 4.0]
    assert sum("ended with status 3" in line for line in lines) == 3


def test_child_that_was_never_ready_and_fails_ends_everything(up: Up) -> None:
    one = child("raise SystemExit(1)", ready=lambda: False)
    up._start(one)

    with pytest.raises(_GaveUpError, match="the reason is above"):
        up._await(one)


def test_stuck_child_is_ended(up: Up) -> None:
    one = child("import time; time.sleep(60)")
    one.is_stuck = lambda: True
    up._start(one)
    one.started -= 1_000
    assert one.process is not None

    up._look_after(one)

    assert one.process.wait(30) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the system's signal at a parent's death")
def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from holdfast.app.up import Child, Up\n"
        "up = Up(Path('.'))\n"
        "one = Child('child', [sys.executable, '-c', 'import time; time.sleep(120)'], lambda: True)\n"
        "up._start(one)\n"
        "print(one.process.pid, flush=True)\n"
        "time.sleep(120)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    until(lambda: not is_alive(pid))


@pytest.mark.skipif(sys.platform != "linux", reason="the system's signal at a parent's death")
def test_a_signal_between_fork_and_exec_ends_the_child() -> None:
    prepare = _dies_with(os.getpid())
    assert prepare is not None

    def die() -> None:
        prepare()
        os.kill(os.getpid(), signal.SIGTERM)  # the parent has died just now

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        one = subprocess.Popen([sys.executable, "-c", "pass"], preexec_fn=die)
    except subprocess.SubprocessError:
        return  # the child ended before it was another program
    finally:
        signal.signal(signal.SIGTERM, before)

    assert one.wait() == -signal.SIGTERM


PROJECT = "import holdfast as hf\n\nproject = hf.Project('shop')\n"


def test_second_up_is_told_about_the_first_and_what_to_do(up: Up, tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROJECT)

    with alone(tmp_path) as tell:
        tell(("http://127.0.0.1:8000", "http://127.0.0.1:8001"))
        with pytest.raises(ConflictError) as caught:
            up.run()

    told = str(caught.value)
    assert f"`holdfast up` runs for this project already (pid {os.getpid()})" in told
    assert "http://127.0.0.1:8000 (status page http://127.0.0.1:8001)" in told
    assert f"kill {os.getpid()}" in told


def test_up_for_nothing_ends_at_once_and_says_why(up: Up, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROJECT)
    Workspace(tmp_path).apply(by="eva")

    with pytest.raises(UsageError) as caught:
        up.run()

    assert "`shop` has nothing to serve: no source takes events one by one" in str(caught.value)
    assert "`holdfast ingest`, `train`, `predict`" in caught.value.hint
    assert lines == []


def test_up_of_a_batch_only_project_takes_events() -> None:
    expected = "events of sales (no model answers them; `holdfast predict` answers in batches)"
    assert what_is_accepted(compiled()) == expected


def test_up_of_a_project_without_models_sends_nobody_to_predict() -> None:
    project = replace(compiled(), models={}, releases={})

    assert what_is_accepted(project) == "events of sales (no model yet)"


def test_up_before_apply_is_refused_at_once(up: Up, tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROJECT)

    with pytest.raises(RefusedError, match="not applied yet"):
        up.run()


def test_a_worker_beside_up_is_told_about_up(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROJECT)
    workspace = Workspace(tmp_path)
    workspace.apply(by="eva")

    with alone(tmp_path), workspace.wiring.batch_log.lease(), pytest.raises(ConflictError) as caught:
        run_worker(tmp_path)

    assert f"the worker of `holdfast up` (pid {os.getpid()})" in str(caught.value)


def test_the_lock_of_up_ends_with_it_and_a_look_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROJECT)

    assert find_up(tmp_path) is None
    with alone(tmp_path):
        found = find_up(tmp_path)
    assert found is not None
    assert found.pid == os.getpid()
    assert find_up(tmp_path) is None
    with alone(tmp_path):
        pass


def test_children_are_ended_in_order(up: Up, tmp_path: Path) -> None:
    log = tmp_path / "order"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    open(sys.argv[1], 'a').write(sys.argv[2] + ' ')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    heard: list[str] = []
    up.write = heard.append
    children = [
        Child(name, [sys.executable, "-c", code, str(log), name], lambda: True)
        for name in ("worker", "serve")
    ]
    for each in children:
        up._start(each)
    until(lambda: len(heard) == 2)

    up._end(children)

    assert log.read_text().split() == ["serve", "worker"]
    assert all(each.process is not None and not is_alive(each.process.pid) for each in children)


def test_reasons_to_wait_are_told_in_words() -> None:
    assert _why_not(b'{"status":"waiting","waiting_for":["no state yet","a has no champion"]}') == (
        "no state yet; a has no champion"
    )


@pytest.mark.parametrize("body", [b'{"status":"ready","models":{}}', b"<html>", b"[]"])
def test_an_answer_without_reasons_is_told_as_it_is(body: bytes) -> None:
    assert _why_not(body) == body.decode()


@pytest.mark.slow
def test_before_the_first_deployment_events_are_taken_and_the_page_says_what_is_waited_for(
    tmp_path: Path,
) -> None:
    create("fraud", tmp_path / "fraud")
    Workspace(tmp_path / "fraud").apply(by="eva")
    words = [sys.executable, "-m", "holdfast", "up", "-C", str(tmp_path / "fraud"), "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        reason = "| waiting for serve: fraud has no champion: holdfast deploy fraud NUMBER\n"
        assert any(line.endswith(reason) for line in process.stderr)
        said = [next(process.stderr), next(process.stderr)]
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        service, page = (line.split()[-1] for line in said)
        chargeback = (
            b'{"tx_id": "t-1", "at": "2026-01-01T00:00:00Z", "reported_at": "2026-01-02T00:00:00Z", '
            b'"card_id": "c-1", "terminal_id": "m-1"}'
        )
        sent = Request(f"{service}/v1/events/chargebacks", chargeback, {"Content-Type": "application/json"})
        with urlopen(sent, timeout=30) as answer:
            taken = json.loads(answer.read())
        with urlopen(page, timeout=30) as answer:
            shown = answer.status
        process.send_signal(signal.SIGINT)
        reader.join(60)

    assert taken == {"status": "accepted", "id": "t-1"}
    assert shown == 200
    assert process.returncode == 0
