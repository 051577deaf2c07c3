"""What a connection may hold on to: over a socket of this process, with a clock of the test's own."""

import asyncio
import json
from typing import Any

import pytest
import uvicorn

from holdfast.server import protocol
from holdfast.server.protocol import MOST_HEAD, MOST_HEADERS, ROOM_TO_REFUSE, JoiningProtocol


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

    def __init__(self, others: int = 0) -> None:
        config = uvicorn.Config(echo, lifespan="off", ws="none")
        config.load()
        loop = asyncio.get_running_loop()
        self.timers: list[tuple[float, Any, asyncio.TimerHandle]] = []
        self.loop = loop
        state = uvicorn.server.ServerState()
        state.connections |= {object() for _ in range(others)}  # type: ignore[arg-type]
        self.protocol = JoiningProtocol(config, state, {}, _Loop(loop, self.timers))  # type: ignore[arg-type]
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


HEAD = b"POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


def test_a_request_that_comes_in_pieces_is_answered() -> None:
    async def run() -> Talk:
        talk = Talk()
        for byte in HEAD + b"1234":
            await talk.send(bytes([byte]))
        talk.ring(protocol.ARRIVES_S)
        assert not talk.transport.closed
        await talk.end()
        return talk

    talk = asyncio.run(run())
    assert talk.status == 200
    assert b"408" not in talk.transport.sent


@pytest.mark.parametrize("sent", [b"P", b"POST / HTTP/1.1\r\nhost: x\r\n", HEAD, HEAD + b"123"])
def test_a_request_that_does_not_arrive_in_time_is_dropped(sent: bytes) -> None:
    async def run() -> Talk:
        talk = Talk()
        await talk.send(sent)
        talk.ring(protocol.ARRIVES_S)
        await talk.end()
        return talk

    talk = asyncio.run(run())
    assert (talk.status, talk.transport.closed, talk.error["code"]) == (408, "closed", "HF600")


def test_a_second_request_that_stalls_is_dropped_after_the_first_was_answered() -> None:
    async def run() -> Talk:
        talk = Talk()
        await talk.send(HEAD + b"1234")
        await talk.send(HEAD[:20])
        talk.ring(protocol.ARRIVES_S)
        await talk.end()
        return talk

    talk = asyncio.run(run())
    assert talk.transport.sent.startswith(b"HTTP/1.1 200")
    assert talk.transport.sent.count(b"HTTP/1.1 408") == 1
    assert talk.transport.closed == "closed"


def test_a_connection_that_says_nothing_is_closed() -> None:
    async def run() -> Talk:
        talk = Talk()
        talk.ring(talk.protocol.timeout_keep_alive)
        await talk.end()
        return talk

    assert asyncio.run(run()).transport.closed == "closed"


@pytest.mark.parametrize(
    "sent",
    [
        [b"GET /" + b"a" * MOST_HEAD + b" HTTP/1.1\r\nhost: x\r\n\r\n"],
        [b"GET / HTTP/1.1\r\nhost: " + b"a" * MOST_HEAD + b"\r\n\r\n"],
        [b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MOST_HEADERS + 1) + b"\r\n"],
        [b"GET / HTTP/1.1\r\nhost: ", *[b"a" * 1000] * (MOST_HEAD // 1000 + 2)],  # and never an end of line
    ],
    ids=["path", "value", "many", "endless"],
)
def test_a_head_that_is_too_large_is_refused(sent: list[bytes]) -> None:
    async def run() -> Talk:
        talk = Talk()
        for piece in sent:
            await talk.send(piece)
        await talk.end()
        return talk

    talk = asyncio.run(run())
    assert (talk.status, talk.transport.closed, talk.error["code"]) == (431, "closed", "HF208")


def test_a_long_body_is_no_head() -> None:
    async def run() -> Talk:
        talk = Talk()
        body = b"x" * (2 * MOST_HEAD)
        whole = HEAD.replace(b"4\r\n\r\n", b"%d\r\n\r\n" % len(body)) + body
        await talk.send(whole + whole[:10])  # and the beginning of a second request
        await talk.send(whole[10:])
        await talk.end()
        return talk

    talk = asyncio.run(run())
    assert talk.transport.sent.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "sent", [b"\0\1\2\r\n\r\n", b"GET  / HTTP/9.9\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_request_is_refused_in_the_usual_shape(sent: bytes) -> None:
    async def run() -> Talk:
        talk = Talk()
        await talk.send(sent)
        await talk.end()
        return talk

    talk = asyncio.run(run())
    assert (talk.status, talk.transport.closed, talk.error["code"]) == (400, "closed", "HF214")


def test_a_connection_too_many_is_told_and_many_too_many_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JoiningProtocol, "most_connections", 3)

    async def run() -> tuple[Talk, Talk, Talk]:
        last, refused, cut = Talk(2), Talk(3), Talk(3 + ROOM_TO_REFUSE)
        for talk in (last, refused, cut):
            await talk.send(HEAD + b"1234")
            await talk.end()
        return last, refused, cut

    last, refused, cut = asyncio.run(run())
    assert last.status == 200
    assert (refused.status, refused.error["code"], refused.transport.closed) == (503, "HF600", "closed")
    assert (cut.status, cut.transport.closed) == (0, "aborted")
