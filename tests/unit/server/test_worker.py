import asyncio
import os
from typing import Any

import pytest

from holdfast.server import worker


class Service:
    failures = 0

    def look(self) -> None:
        return None


class Metrics:
    def write(self) -> None: ...


class Server:
    should_exit = False


@pytest.mark.parametrize("parent", ["gone before it looked", "there", "none named"])
def test_a_worker_without_its_parent_ends(parent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOOK_EVERY_S", 0.01)
    pid = {"gone before it looked": os.getpid(), "there": os.getppid(), "none named": 0}[parent]
    service: Any = Service()
    metrics: Any = Metrics()
    server: Any = Server()

    async def run() -> None:
        watching = asyncio.create_task(worker._watch(service, metrics, server, pid))
        await asyncio.wait([watching], timeout=0.3)
        watching.cancel()

    asyncio.run(run())

    assert server.should_exit is (parent == "gone before it looked")
