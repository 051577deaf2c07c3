"""The law of the short way: it answers what ASGI would answer, byte for byte, however requests arrive."""

import asyncio
import itertools
import json
import re
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from tests.connection import Talk
from tests.serving_world import World

from holdfast.server.hot import MAX_BODY, HotRoutes


class _Service:
    durability = "process"

    def __init__(self) -> None:
        self.plane = World().plane


class _Metrics:
    def __init__(self) -> None:
        self.counted: list[tuple[str, int]] = []

    def request(self, route: str, status: int, _spent: int) -> None:
        self.counted.append((route, status))


async def _behind(_scope: Any, _receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"6")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"behind"})


def _row(number: int, amount: float = 40.0) -> bytes:
    row = {"id": f"p-{number}", "at": "2026-11-02T10:15:00Z", "card": "c-1", "amount": amount}
    return json.dumps(row).encode()


ROWS = st.one_of(
    st.builds(_row, st.integers(0, 4), st.sampled_from((40.0, -1.0, 7.5))),
    st.sampled_from((b"", b"{", b"[]", b"null", b"[" + _row(9) + b"," + _row(8, -2.0) + b"]")),
    st.just(b'{"source": "disputes", "event": {"id": "d-1", "at": "2026-11-02T10:00:00Z"}}'),
    st.just(b" " * (MAX_BODY - 100) + _row(7)),
    st.just(b" " * MAX_BODY + _row(6)),
)
PATHS = st.sampled_from(
    (
        "/v1/models/fraud/predict",
        "/v1/models/fraud/predict",
        "/v1/models/fraud/predict?x=1",
        "/v1/models/fr%61ud/predict",
        "/v1/models/none/predict",
        "/v1/models//predict",
        "/v1/events/payments",
        "/v1/events/none",
        "/v1/feedback",
        "/other",
    )
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return the bytes of one request, usual or not."""
    path, body = draw(PATHS), draw(ROWS)
    method = draw(st.sampled_from(("POST", "POST", "POST", "GET")))
    version = draw(st.sampled_from(("1.1", "1.1", "1.1", "1.0")))
    extra = draw(st.sampled_from(("", "", "", "connection: close", "Connection: keep-alive", "x-trace: 1")))
    head = f"{method} {path} HTTP/{version}\r\nHost: x\r\n" + (f"{extra}\r\n" if extra else "")
    match draw(st.sampled_from(("length", "length", "length", "chunked", "expect"))):
        case "length":
            return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
        case "expect":
            told = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
            return head.encode() + told + body
        case _:
            cut = len(body) // 2
            chunks = [part for part in (body[:cut], body[cut:]) if part]
            told = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in chunks)
            return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + told + b"0\r\n\r\n"


async def _talk(pieces: list[bytes], *, short: bool) -> tuple[bytes, str, list[tuple[str, int]]]:
    metrics = _Metrics()
    app = HotRoutes(_Service(), metrics, _behind)  # type: ignore[arg-type]
    talk = Talk(app=app, hot=app if short else None)
    for piece in pieces:
        await talk.send(piece)
    for _ in range(80):
        await asyncio.sleep(0)
    sent, closed = talk.transport.sent, talk.transport.closed
    await talk.end()
    return re.sub(rb'"e-[0-9a-f]+"', b'"e-"', sent), closed, metrics.counted


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 3000), max_size=6))
@example([b"POST /v1/models/fraud/predict HTTP/1.1\r\ncontent-length: 67\r\n\r\n" + _row(1)] * 3, [])
def test_the_short_way_answers_what_asgi_answers(asked: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(asked)
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    pieces = [whole[a:b] for a, b in itertools.pairwise(places)]

    short = asyncio.run(_talk(pieces, short=True))
    asgi = asyncio.run(_talk(pieces, short=False))

    assert short == asgi


def test_a_usual_request_takes_the_short_way() -> None:
    async def run() -> tuple[bytes, int]:
        app = HotRoutes(_Service(), _Metrics(), _behind)  # type: ignore[arg-type]
        talk = Talk(app=_never, hot=app)
        for number in range(3):
            body = _row(number)
            head = b"POST /v1/models/fraud/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
            await talk.send(head % len(body) + body)
        await talk.end()
        return talk.transport.sent, talk.protocol.server_state.total_requests

    sent, answered = asyncio.run(run())
    assert (sent.count(b"HTTP/1.1 200 OK"), answered) == (3, 3)


async def _never(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("a usual request goes no other way")
