"""One connection of the server over a transport of this process, with a clock of the test's own."""

import asyncio
import json
from typing import Any

import uvicorn

from holdfast.server.bounds import MOST_CONNECTIONS
from holdfast.server.hot import HotRoutes
from holdfast.server.protocol import HttpProtocol


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = ""

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = self.closed or "closed"

    def abort(self) -> None:
        self.closed = "aborted"

    def is_closing(self) -> bool:
        return bool(self.closed)

    def get_extra_info(self, _name: str) -> None:
        return None

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Talk:
    """One connection, its timers kept to be rung by hand."""

    def __init__(
        self,
        others: int = 0,
        most: int = MOST_CONNECTIONS,
        app: Any = echo,
        hot: HotRoutes | None = None,
    ) -> None:
        config = uvicorn.Config(app, lifespan="off", ws="none", access_log=False)
        config.load()
        loop = asyncio.get_running_loop()
        self.timers: list[tuple[float, Any, asyncio.TimerHandle]] = []
        self.loop = loop
        state = uvicorn.server.ServerState()
        state.connections |= {object() for _ in range(others)}  # type: ignore[arg-type]
        self.protocol = HttpProtocol(
            config,
            state,
            {},
            _Loop(loop, self.timers),
            hot=hot,
            most_connections=most,
        )
        self.transport = Transport()
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]

    async def send(self, data: bytes) -> None:
        if not self.transport.closed:
            self.protocol.data_received(data)
        for _ in range(6):
            await asyncio.sleep(0)

    def ring(self, seconds: float) -> None:
        """Let every timer of this length ring that was not cancelled."""
        for delay, call, handle in [*self.timers]:
            if delay == seconds and not handle.cancelled():
                handle.cancel()
                call()

    async def end(self) -> None:
        self.protocol.connection_lost(None)
        for _, _, handle in self.timers:
            handle.cancel()
        await asyncio.sleep(0)

    @property
    def status(self) -> int:
        return int(self.transport.sent.split()[1]) if self.transport.sent else 0

    @property
    def error(self) -> Any:
        return json.loads(self.transport.sent.partition(b"\r\n\r\n")[2])["error"]


class _Loop:
    def __init__(self, loop: asyncio.AbstractEventLoop, timers: list[Any]) -> None:
        self._loop, self._timers = loop, timers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, call: Any, *args: Any) -> asyncio.TimerHandle:
        handle = self._loop.call_later(10_000, call, *args)
        self._timers.append((delay, call, handle))
        return handle
