"""What a connection may hold on to: over a socket of this process, with a clock of the test's own."""

import asyncio
from typing import Any

import pytest
from tests.connection import Talk

from holdfast.server import protocol
from holdfast.server.bounds import ROOM_TO_REFUSE
from holdfast.server.protocol import MOST_HEAD, MOST_HEADERS

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


class Hot:
    """Keeps the replies that it owes."""

    def __init__(self) -> None:
        self.owed: list[Any] = []

    def take(self, _route: Any, _body: bytes, reply: Any) -> None:
        self.owed.append(reply)


@pytest.mark.parametrize("hot", [None, Hot()], ids=["asgi", "short"])
@pytest.mark.parametrize("sent", [b"P", b"POST / HTTP/1.1\r\nhost: x\r\n", HEAD, HEAD + b"123"])
def test_a_request_that_does_not_arrive_in_time_is_dropped(sent: bytes, hot: Any) -> None:
    async def run() -> Talk:
        talk = Talk(hot=hot)
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


def test_a_caller_that_goes_away_is_told_nothing_and_one_that_waits_is_answered_before_the_end() -> None:
    async def run() -> tuple[Talk, Talk]:
        hot: Any = Hot()
        gone, waits = Talk(hot=hot), Talk(hot=hot)
        for talk in (gone, waits):
            await talk.send(HEAD + b"1234")
        await gone.end()
        waits.protocol.shutdown()
        assert not waits.transport.closed
        for reply in hot.owed:
            reply(200, b"{}")
        await waits.end()
        return gone, waits

    gone, waits = asyncio.run(run())
    assert gone.transport.sent == b""
    assert waits.transport.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in waits.transport.sent
    assert waits.transport.closed == "closed"


def test_a_connection_rests_from_its_last_answer_on_with_one_timer_for_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> tuple[Talk, int]:
        talk = Talk()
        rests = talk.protocol.timeout_keep_alive
        now = talk.loop.time()
        monkeypatch.setattr(_Clock, "now", now)
        talk.protocol.loop = _Clock(talk.protocol.loop)  # type: ignore[assignment]
        for _ in range(5):
            _Clock.now += rests / 2
            await talk.send(HEAD + b"1234")
        set_before = len([delay for delay, *_ in talk.timers if delay == rests])
        talk.ring(rests)
        assert not talk.transport.closed  # its last answer was a moment ago
        _Clock.now += rests
        (left,) = [delay for delay, _, handle in talk.timers if not handle.cancelled()]
        talk.ring(left)
        await talk.end()
        return talk, set_before

    talk, set_before = asyncio.run(run())
    assert (talk.transport.closed, set_before) == ("closed", 1)


class _Clock:
    now = 0.0

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self.now


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


def test_a_connection_too_many_is_told_and_many_too_many_are_cut() -> None:
    async def run() -> tuple[Talk, Talk, Talk]:
        last, refused, cut = Talk(2, 3), Talk(3, 3), Talk(3 + ROOM_TO_REFUSE, 3)
        for talk in (last, refused, cut):
            await talk.send(HEAD + b"1234")
            await talk.end()
        return last, refused, cut

    last, refused, cut = asyncio.run(run())
    assert last.status == 200
    assert (refused.status, refused.error["code"], refused.transport.closed) == (503, "HF600", "closed")
    assert (cut.status, cut.transport.closed) == (0, "aborted")
