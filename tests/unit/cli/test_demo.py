import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.cli import demo

UP = """
import sys, time
print("Ctrl-C stops everything; status page at http://127.0.0.1:2", file=sys.stderr, flush=True)
time.sleep(1)
print("a line after the demo has ended", file=sys.stderr, flush=True)
time.sleep(60)
"""
KEEPER = """
import sys
from pathlib import Path
from holdfast.cli.demo_live import Running
folder = Path(sys.argv[1])
up = Running(folder, folder / "up.log", [sys.executable, "-c", sys.argv[2]])
assert up.wait()
print(up.process.pid, up.status)
"""


def test_what_is_kept_goes_on_and_logs_after_the_demo_has_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEEPER, str(tmp_path), UP]
    pid, status = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    try:
        deadline = time.monotonic() + 20
        while "after the demo" not in (tmp_path / "up.log").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)

        assert status == "http://127.0.0.1:2"
        assert "a line after the demo has ended" in (tmp_path / "up.log").read_text()
        os.kill(int(pid), 0)
    finally:
        os.kill(int(pid), signal.SIGKILL)


def test_ctrl_c_in_a_command_ends_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "app", lambda *args, **kwargs: demo.INTERRUPTED)

    with pytest.raises(KeyboardInterrupt):
        demo.Demo(tmp_path).run("train", "fraud")


def test_help_does_not_run_the_demo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo", "--help"])

    with pytest.raises(SystemExit) as ended:
        demo.main()

    assert ended.value.code == 0
    assert "--keep" in capsys.readouterr().out
