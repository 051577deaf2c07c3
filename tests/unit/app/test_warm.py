import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.commands import holdfast
from tests.unit.conftest import World

from holdfast.app import warm
from holdfast.app.warm import COMPILING

KERNEL = """
from numba import njit

@njit("int64(int64)", cache=True)
def twice(x):
    return 2 * x
"""
START = """
from holdfast.app.warm import compiled_once, said_on_stderr
with compiled_once(said_on_stderr, ['later']):
    import kernel
print(kernel.twice(21))
"""
# Says of every kernel that is imported whether that would be announced.
WATCHED = """
import contextlib, importlib.abc, runpy, sys
from holdfast.app import warm

class Watch(importlib.abc.MetaPathFinder):
    announced = False
    def find_spec(self, name, path, target=None):
        if name == "numba":
            print("numba loaded", file=sys.stderr)
        if name in warm.KERNELS:
            print(name, "announced" if self.announced else "silent", file=sys.stderr)

watch, compiled_once = Watch(), warm.compiled_once

@contextlib.contextmanager
def watched(*words):
    with compiled_once(*words):
        watch.announced = True
        try:
            yield
        finally:
            watch.announced = False

warm.compiled_once = watched
sys.meta_path.insert(0, watch)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def start(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.run(
        [sys.executable, "-c", START], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )


def test_only_a_start_that_compiles_says_so(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(KERNEL)
    (tmp_path / "later.py").write_text(KERNEL.replace("2", "3"))

    first, second = start(tmp_path), start(tmp_path)

    assert (first.stdout, first.stderr) == ("42\n", f"{COMPILING}\n")
    assert (second.stdout, second.stderr) == ("42\n", "")
    assert len(list((tmp_path / "cache").rglob("later*.nbc"))) == 1


def test_of_two_starts_one_compiles_and_the_other_waits(tmp_path: Path) -> None:
    for name in ("kernel", "later"):
        (tmp_path / f"{name}.py").write_text(KERNEL)
    (tmp_path / "cache").mkdir()
    held = "import os\nos.environ['NUMBA_CACHE_DIR'] = 'cache'\nfrom holdfast.app.warm import cache_lock\n"
    held += "with cache_lock():\n    print('held', flush=True)\n    input()\n"
    environment = {**os.environ, "NUMBA_CACHE_DIR": "cache", "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe: dict[str, Any] = {"cwd": tmp_path, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, **pipe) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with subprocess.Popen([sys.executable, "-u", "-c", START], stderr=subprocess.PIPE, **pipe) as waiting:
            assert waiting.stderr is not None
            assert waiting.stderr.readline() == f"{COMPILING}\n"
            before = list((tmp_path / "cache").rglob("*.nbi"))
            assert holder.stdin is not None
            holder.stdin.write("\n")
            holder.stdin.flush()
            out, _ = waiting.communicate(timeout=60)

    assert before == []
    assert out == "42\n"


def watched(command: str, folder: Path) -> tuple[int, set[str]]:
    """Return the status of a command, and which kernels it loaded, announced or in silence."""
    words = [sys.executable, "-c", WATCHED, *command.split()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seen = {line for line in ran.stderr.splitlines() if line.startswith((*warm.KERNELS, "numba "))}
    return ran.returncode, seen


@pytest.mark.parametrize(
    "command",
    [
        "warmup",
        "train fraud --set num_leaves=7",
        "predict fraud",
        "why p-0000000000000000",
        "performance fraud",
        "drift fraud",
        "parity",
        "materialize",
    ],
)
def test_no_kernel_is_compiled_in_silence(command: str, world: World) -> None:
    _, seen = watched(f"holdfast {command}", world.folder)

    assert seen == {"numba loaded", *(f"{name} announced" for name in warm.KERNELS)}


def test_the_demo_compiles_nothing_in_silence(tmp_path: Path) -> None:
    status, seen = watched("holdfast.cli.demo --help", tmp_path)

    assert status == 0
    assert not [line for line in seen if line.endswith("silent")]


def test_the_parent_of_serving_processes_loads_no_kernel(tmp_path: Path) -> None:
    """Each process that answers loads its own, and says so where that compiles them."""
    status, seen = watched("holdfast.server.supervise", tmp_path)

    assert (status, seen) == (0, set())


def test_commands_that_compute_nothing_load_no_kernel(rivals: World) -> None:
    """They answer in half the time, and at once where the kernels were never compiled."""
    (rivals.folder / "more.jsonl").write_text('{"tx_id": "t-1"}\n')
    commands = [
        "validate",
        "plan",
        "apply --by eva",
        "ingest transactions more.jsonl",
        "quarantine transactions --limit 1",
        "models",
        "history",
        "approve fraud 2 --by ben --reason better",
        "deploy fraud 2 --challenger",
        "deploy fraud 2",
        "rollback fraud --reason worse",
        "reject fraud 2 --by ben --reason worse",
        "init blank new",
    ]

    for command in commands:
        status, seen = watched(f"holdfast {command}", rivals.folder)

        assert (status, seen) == (0, set()), command


@pytest.mark.parametrize("command", [["up"], ["worker"]])
def test_commands_that_run_say_so(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    @contextmanager
    def compiled_once(say: Any) -> Iterator[None]:
        said.append(say)
        yield

    monkeypatch.setattr(warm, "compiled_once", compiled_once)

    ran = holdfast(*command, cwd=tmp_path)

    assert ran.status == 1  # there is no project here
    assert said[0] is warm.said_on_stderr
