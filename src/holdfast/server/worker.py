"""One serving process: an event loop, the data plane, and a journal of its own.

Started by `holdfast.server.supervise` with the listening socket as an open file descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import uvicorn

from holdfast.app.log import configure_log
from holdfast.app.serve import LiveService
from holdfast.app.stopping import stop_signals
from holdfast.events.journal import Durability
from holdfast.kernel.errors import HoldfastError
from holdfast.server.app import create_app
from holdfast.server.bounds import MOST_CONNECTIONS, ROOM_TO_REFUSE
from holdfast.server.metrics import Metrics
from holdfast.server.protocol import HttpProtocol

LOGGER = logging.getLogger("holdfast.serve")

LOOK_EVERY_S = 0.3
"""Seconds between two looks at the aliases: a new champion answers within a second."""
WRITE_EVERY = 3
"""Looks between two writes of the metrics."""
OTHER_FILES = 300
"""Files that a worker opens besides its connections: stores, journals, bundles, the watch."""
DRAIN_S = 20
"""Seconds that requests in flight have to end."""
GC_THRESHOLDS = (50_000, 20, 50)
"""A request leaves no cycles behind, so the collector looks seldom, and never for long."""
REFUSED = 2
"""Exit status where the project itself cannot be served, so that starting again would not help."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a worker is told, as JSON.

    Attributes
    ----------
    folder : of the project
    fd : descriptor of the listening socket
    slot : which worker of how many this is, from 0
    metrics : folder in which workers share their counts
    connections : open at the same time; those beyond are refused
    parent : process that started this one; without it this one ends, however early it went
    """

    folder: str
    fd: int
    slot: int = 0
    metrics: str = ""
    durability: Durability = "process"
    access_log: bool = False
    connections: int = MOST_CONNECTIONS
    parent: int = 0

    def to_json(self) -> str:
        """Return the options as one argument."""
        return json.dumps(asdict(self))


class _Server(uvicorn.Server):
    """Leaves signals to the worker, which drains and then flushes its journal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(options: Options) -> None:
    """Answer requests until a signal comes, then finish those in flight and flush the journal."""
    service = LiveService(Path(options.folder), durability=options.durability)
    metrics = Metrics(service, Path(options.metrics) if options.metrics else None, options.slot)
    routes = create_app(service, metrics, access_log=options.access_log)
    most = _allow_files(options.connections)
    config = uvicorn.Config(
        routes,
        loop="uvloop",
        http=partial(HttpProtocol, hot=routes, most_connections=most),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=75,
        backlog=2048,
    )
    gc.set_threshold(*GC_THRESHOLDS)
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, lambda: setattr(server, "should_exit", True))
    # Callers wait in the socket's queue meanwhile: a worker that takes the place of another refuses nobody.
    await _look(service)
    watching = asyncio.create_task(_watch(service, metrics, server, options.parent))
    try:
        await server.serve(sockets=[socket.socket(fileno=options.fd)])
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        with contextlib.suppress(OSError):
            metrics.write()
        service.close()


def _allow_files(connections: int) -> int:
    """Let this process open a file for each connection; return how many connections that allows."""
    wanted = connections + ROOM_TO_REFUSE + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            connections = max(1, soft - ROOM_TO_REFUSE - OTHER_FILES)
            LOGGER.warning("the limit of open files, %d, allows %d connections", soft, connections)
    return connections


async def _watch(service: LiveService, metrics: Metrics, server: uvicorn.Server, parent: int) -> None:
    """Look for new champions, definitions and state, and let them take effect between two requests."""
    looks = 0
    while not server.should_exit:
        await _look(service)
        looks += 1
        if looks % WRITE_EVERY == 1:
            with contextlib.suppress(OSError):
                metrics.write()
        if parent and os.getppid() != parent:
            LOGGER.warning("the parent process is gone")
            server.should_exit = True
        await asyncio.sleep(LOOK_EVERY_S)


async def _look(service: LiveService) -> None:
    try:
        change = await asyncio.to_thread(service.look)
        if change is not None:
            service.apply(change)
    except Exception:
        service.failures += 1
        LOGGER.exception("looking for changes failed; what serves goes on serving")


def main() -> None:
    """Run one worker with the options of the first argument."""
    options = Options(**json.loads(sys.argv[1]))
    configure_log(f"serve-{options.slot}", shown_by="serve")
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options))
    except HoldfastError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(REFUSED)
