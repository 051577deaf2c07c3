import asyncio
import socket
from typing import Any

import uvicorn

from holdfast.server.protocol import HttpProtocol, JoinedWrites


class Transport:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


def test_writes_of_one_turn_are_sent_as_one() -> None:
    async def run() -> list[Any]:
        transport = Transport()
        joined = JoinedWrites(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
        joined.write(b"head ")
        joined.write(b"body")
        assert transport.told == []
        await asyncio.sleep(0)
        joined.write(b"next")
        await asyncio.sleep(0)
        assert joined.get_extra_info("peer") == "the peer"
        return transport.told

    assert asyncio.run(run()) == [b"head body", b"next"]


def test_nothing_is_lost_by_closing_and_nothing_sent_after() -> None:
    async def run() -> list[Any]:
        transport = Transport()
        joined = JoinedWrites(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
        joined.write(b"last")
        joined.close()
        joined.write(b"too late")
        await asyncio.sleep(0)
        return transport.told

    assert asyncio.run(run()) == [b"last", "closed"]


async def _application(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def test_pipelined_requests_are_answered_in_order_and_a_closing_one_is_answered_whole() -> None:
    asked = [("/slow", b"one"), ("/", b"two"), ("/slow", b"3" * 300_000), ("/", b"four")]
    sent = b"".join(
        b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%s\r\n%s"
        % (path.encode(), len(body), b"connection: close\r\n" if body == b"four" else b"", body)
        for path, body in asked
    )

    async def run() -> bytes:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            _application, http=HttpProtocol, ws="none", lifespan="off", log_level="error", access_log=False
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(sent)
        found = await reader.read()
        writer.close()
        server.should_exit = True
        await serving
        return found

    answers = asyncio.run(run()).split(b"HTTP/1.1 200 OK\r\n")[1:]

    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [body for _, body in asked]
