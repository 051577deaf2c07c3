"""The parent of the serving processes: binds the address once, starts workers, restarts those that die."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.app.stopping import Stop, on_stop
from holdfast.events.journal import Durability
from holdfast.kernel.errors import UnavailableError, UsageError
from holdfast.server.bounds import MOST_CONNECTIONS

LOGGER = logging.getLogger("holdfast.serve")

BACKLOG = 2048
DRAIN_S = 30.0
"""Seconds after which a worker that was asked to end is ended."""
FIRST_WAIT_S, LONGEST_WAIT_S, HEALTHY_S = 0.5, 30.0, 60.0
"""A dead worker starts again after a wait, twice as long each time, until one has lived for a minute."""
REFUSED = 2
_TICK_S = 0.1


@dataclass(slots=True)
class _Worker:
    slot: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    wait_s: float = FIRST_WAIT_S
    again_at: float = 0.0


@dataclass
class Supervisor:
    """Runs serving processes over one listening socket.

    Parameters
    ----------
    folder : of the project
    say : where the address is told, once
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    durability: Durability = "process"
    access_log: bool = False
    connections: int = MOST_CONNECTIONS
    say: Callable[[str], None] = print
    _stopping: Stop = field(default_factory=Stop, init=False)

    def run(self) -> None:
        """Serve until asked to stop, then drain.

        Raises
        ------
        UsageError
            If the address is taken or is not one of this machine.
        UnavailableError
            If the project cannot be served; a worker has said why.
        """
        listening = bind(self.host, self.port)
        listening.set_inheritable(True)
        shared = Path(tempfile.mkdtemp(prefix="holdfast-metrics-"))
        running = [_Worker(slot) for slot in range(self.workers)]
        with on_stop(self._stopping.set):
            try:
                host, port = listening.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                self.say(f"listening on http://{shown}:{port} with {self.workers} worker(s)")
                while not self._stopping.is_set():
                    for worker in running:
                        self._look_after(worker, listening, shared)
                    self._stopping.wait(_TICK_S)
            finally:
                listening.close()
                _end(running)
                shutil.rmtree(shared, ignore_errors=True)

    def _look_after(self, worker: _Worker, listening: socket.socket, shared: Path) -> None:
        now = time.monotonic()
        if worker.process is None:
            if now >= worker.again_at:
                worker.process, worker.started = self._start(worker.slot, listening, shared), now
            return
        status = worker.process.poll()
        if status is None:
            return
        if status == REFUSED:
            raise UnavailableError(
                "the project cannot be served; the reason is above.", hint="correct it, then start again"
            )
        lived = now - worker.started
        worker.wait_s = FIRST_WAIT_S if lived > HEALTHY_S else min(2 * worker.wait_s, LONGEST_WAIT_S)
        LOGGER.warning(
            "worker %d ended with status %d; it starts again in %.1f s", worker.slot, status, worker.wait_s
        )
        worker.process, worker.again_at = None, now + worker.wait_s

    def _start(self, slot: int, listening: socket.socket, shared: Path) -> subprocess.Popen[bytes]:
        options = _options(self, listening.fileno(), slot, shared)
        command = [sys.executable, "-m", "holdfast.server", options]
        # A session of its own: Ctrl-C in a terminal reaches the parent only, which then ends them in order.
        return subprocess.Popen(command, pass_fds=[listening.fileno()], start_new_session=True)


def _options(supervisor: Supervisor, fd: int, slot: int, shared: Path) -> str:
    import json

    return json.dumps(
        {
            "folder": str(supervisor.folder),
            "fd": fd,
            "slot": slot,
            "metrics": str(shared),
            "durability": supervisor.durability,
            "access_log": supervisor.access_log,
            "connections": supervisor.connections,
            "parent": os.getpid(),
        }
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address.

    Raises
    ------
    UsageError
        If it is taken, or is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} of {host} is taken by another process.",
                at="--port",
                hint="end that process, or choose another port; --port 0 takes a free one",
            ) from None
        if error.errno == errno.EACCES:
            raise UsageError(
                f"port {port} needs privileges.", at="--port", hint="take one above 1023"
            ) from None
        raise UsageError(f"{host}:{port} cannot be listened on: {error}.", at="--host") from None
    except OverflowError:
        listening.close()
        raise UsageError(f"a port is at most 65535, found {port}.", at="--port") from None
    return listening


def _end(running: list[_Worker]) -> None:
    """Ask all workers to drain, and end those that do not."""
    alive = [worker.process for worker in running if worker.process is not None]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + DRAIN_S
    for process in alive:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            LOGGER.warning("a worker did not end within %.0f s", DRAIN_S)
            process.kill()
            process.wait()
