"""Everything on one machine: serving, the worker and the status page as children of one process.

A child that ends is started again, later each time; all of them end with their parent, however it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from holdfast.app.alone import alone
from holdfast.app.applied import applied_project, live_sources, served_models
from holdfast.app.load import find_folder
from holdfast.app.log import SUPERVISED
from holdfast.app.serve import NOTHING_TO_SERVE
from holdfast.app.stopping import Stop, die_of_signals, on_stop
from holdfast.app.wire import Wiring
from holdfast.app.worker import worker_status
from holdfast.kernel.errors import UsageError
from holdfast.project.compiled import CompiledProject

FIRST_WAIT_S, LONGEST_WAIT_S, HEALTHY_S = 0.5, 30.0, 10.0
"""A child that ended starts again after a wait, twice as long each time, until one has lived for a while."""
SILENT_S = 120.0
"""Age of the worker's last sign of life at which it is taken for stuck, and ended."""
STOP_S = 40.0
"""Seconds that a child has to end by itself."""
_TICK_S = 0.1
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


@dataclass
class Child:
    """One process that is kept running.

    Parameters
    ----------
    name : as it stands before each of its lines
    command : what is run
    is_ready : whether it does its work; asked often, and cheap
    is_stuck : whether it lives and does nothing
    """

    name: str
    command: list[str]
    is_ready: Callable[[], bool]
    is_stuck: Callable[[], bool] = lambda: False
    process: subprocess.Popen[str] | None = None
    was_ready: bool = False
    started: float = 0.0
    wait_s: float = FIRST_WAIT_S
    again_at: float = 0.0


class _GaveUpError(Exception):
    """A child ended before it was ever ready; what it said says why."""


@dataclass
class Up:
    """Supervises everything of one project on this machine.

    Parameters
    ----------
    folder : of the project, or any folder below it
    port, status_port : 0 takes a free one
    workers : serving processes
    write : where lines go; by default standard error
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    status_port: int = 0
    workers: int = 1
    write: Callable[[str], None] | None = None
    _stopping: Stop = field(default_factory=Stop, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _accepts: str = field(default="predictions", init=False)

    def run(self) -> int:
        """Run until asked to stop; return the exit status.

        Raises
        ------
        ConflictError
            If another process does this for the project already (HF303).
        RefusedError
            If the project was not applied (HF404).
        UsageError
            If a port is taken, or nothing is to be done.
        """
        folder = find_folder(Path(self.folder))
        with alone(folder) as tell:
            self._accepts = what_is_accepted(applied_project(Wiring(folder)))
            self.port = free_port(self.host, self.port, "--port")
            self.status_port = free_port(self.host, self.status_port, "--status-port")
            tell(self._addresses())
            with on_stop(self._stopping.set):
                return self._supervise(self._children(folder))

    def _supervise(self, children: list[Child]) -> int:
        try:
            for child in children:
                self._start(child)
                self._await(child)
            if not self._stopping.is_set():
                service, page = self._addresses()
                self.say("up", f"ready: {self._accepts} at {service}")
                self.say("up", f"Ctrl-C stops everything; status page at {page}")
            while not self._stopping.wait(_TICK_S):
                for child in children:
                    self._look_after(child)
        except _GaveUpError as error:
            self.say("up", str(error))
            return 1
        finally:
            self._end(children)
        self.say("up", "stopped")
        return 0

    def _addresses(self) -> tuple[str, str]:
        return f"http://{self.host}:{self.port}", f"http://{self.host}:{self.status_port}"

    def say(self, name: str, line: str) -> None:
        """Write one line of one process."""
        text = f"{datetime.now(UTC):%H:%M:%S} {name:<6} | {line}"
        with self._lock:
            if self.write is not None:
                self.write(text)
                return
            # A terminal that was closed takes no lines any more; what runs is drained all the same.
            with contextlib.suppress(OSError):
                print(text, file=sys.stderr, flush=True)

    # --- children -------------------------------------------------------------------------------------

    def _children(self, folder: Path) -> list[Child]:
        wiring = Wiring(folder)
        python = [sys.executable, "-m"]
        worker = Child("worker", [*python, "holdfast", "worker", "-C", str(folder)], lambda: False)
        worker.is_ready = lambda: _beats(wiring, worker)
        worker.is_stuck = lambda: _is_silent(wiring, worker)
        serve = [
            *python, "holdfast", "serve", "-C", str(folder), "--host", self.host,
            "--port", str(self.port), "--workers", str(self.workers),
        ]  # fmt: skip
        status = [
            *python, "holdfast.console.status", str(folder), self.host, str(self.status_port), str(self.port),
        ]  # fmt: skip
        return [  # serving last: before the first deployment it takes events, and is not ready for long
            worker,
            Child("status", status, lambda: answers(self.host, self.status_port, "/livez")),
            Child("serve", serve, lambda: answers(self.host, self.port, "/readyz")),
        ]

    def _start(self, child: Child) -> None:
        child.process = subprocess.Popen(
            child.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            # Ctrl-C in a terminal reaches the parent only, which then ends the children in order.
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid()),
            env={**os.environ, "PYTHONUNBUFFERED": "1", SUPERVISED: "1"},
        )
        child.started = time.monotonic()
        name = f"lines of {child.name}"
        reader = threading.Thread(target=self._relay, args=(child, child.process), name=name, daemon=True)
        reader.start()

    def _relay(self, child: Child, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if line.strip():
                    self.say(child.name, line.rstrip())

    def _await(self, child: Child) -> None:
        """Wait until a child is ready the first time."""
        told = time.monotonic() + 10
        while not self._stopping.wait(_TICK_S):
            if child.is_ready():
                child.was_ready = True
                self.say("up", f"{child.name} is ready")
                return
            self._look_after(child)
            if time.monotonic() > told:
                told = time.monotonic() + 30
                found = _get(self.host, self.port, "/readyz") if child.name == "serve" else None
                if found is None:
                    self.say("up", f"waiting for {child.name}")
                    continue
                service, page = self._addresses()
                self.say("up", f"waiting for {child.name}: {_why_not(found[1])}")
                self.say("up", f"events are taken at {service}")  # each address ends its line, to be copied
                self.say("up", f"what is waited for stands at {page}")

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.again_at:
                self._start(child)
            return
        status = child.process.poll()
        if status is None:
            if now - child.started > SILENT_S and child.is_stuck():
                self.say("up", f"{child.name} gives no sign of life; it is ended and started again")
                child.process.kill()
            return
        if not child.was_ready and status > 0:
            raise _GaveUpError(f"{child.name} ended with status {status}; the reason is above")
        lived = now - child.started
        child.wait_s = FIRST_WAIT_S if lived > HEALTHY_S else min(2 * child.wait_s, LONGEST_WAIT_S)
        self.say("up", f"{child.name} ended with status {status}; it starts again in {child.wait_s:.1f} s")
        child.process, child.again_at = None, now + child.wait_s

    def _end(self, children: list[Child]) -> None:
        """End serving first, so that the worker applies everything that was accepted."""
        for child in sorted(children, key=lambda each: each.name != "serve"):
            process = child.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.say("up", f"{child.name} did not end within {STOP_S:.0f} s")
                process.kill()
                process.wait()


def what_is_accepted(project: CompiledProject) -> str:
    """Return what the service of a project is for.

    Raises
    ------
    UsageError
        If it is for nothing: all is loaded from files and answered in batches.
    """
    if served_models(project):
        return "predictions"
    if sources := live_sources(project):
        how = (
            "no model answers them; `holdfast predict` answers in batches"
            if project.models
            else "no model yet"
        )
        return f"events of {', '.join(sources)} ({how})"
    raise UsageError(
        f"`{project.name}` has nothing to serve: {NOTHING_TO_SERVE}.",
        at="sources",
        has=tuple(project.sources),
        hint="a source takes events whose schema has hf.event_id() and hf.event_time(); files and batches "
        "need no process that waits: `holdfast ingest`, `train`, `predict`",
    )


def free_port(host: str, port: int, option: str) -> int:
    """Return the port if it can be listened on, or a free one for 0.

    Raises
    ------
    UsageError
        If it is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError(
                    f"port {port} of {host} is taken by another process.",
                    at=option,
                    hint=f"end that process, or choose another port; {option} 0 takes a free one",
                ) from None
            raise UsageError(f"{host}:{port} cannot be listened on: {error.strerror}.", at=option) from None
        except OverflowError:
            raise UsageError(f"a port is at most 65535, found {port}.", at=option) from None
        return int(trial.getsockname()[1])


def answers(host: str, port: int, path: str) -> bool:
    """Whether a GET of this path is answered with 200."""
    found = _get(host, port, path)
    return found is not None and found[0] == 200


def _get(host: str, port: int, path: str) -> tuple[int, bytes] | None:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _why_not(body: bytes) -> str:
    """Return the reasons in an answer of `/readyz`, in words."""
    try:
        return "; ".join(json.loads(body)["waiting_for"])
    except (ValueError, KeyError, TypeError):  # by now it is ready, or another program answers here
        return body[:300].decode(errors="replace")


def _beats(wiring: Wiring, child: Child) -> bool:
    said = worker_status(wiring)
    pid = None if child.process is None else child.process.pid
    return said is not None and said["pid"] == pid and bool(said["ready"])


def _is_silent(wiring: Wiring, child: Child) -> bool:
    said = worker_status(wiring)
    if said is None or said["building"] or child.process is None or said["pid"] != child.process.pid:
        return False
    return time.time() - float(said["beat"]) > SILENT_S


def _dies_with(parent: int) -> Callable[[], None] | None:
    """Return what a child runs first, so that the system ends it when its parent ends."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def set_signal() -> None:
        die_of_signals()
        libc.prctl(_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(0)

    return set_signal
