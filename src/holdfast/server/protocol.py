"""HTTP connections: short ways for the hot routes, and bounds for everybody.

A usual request of a hot route goes from the parser to `HotRoutes.take` and its answer from there to the
socket, in one write. Whatever is unusual about a request (a long or chunked body, an escape in the path, one
that comes before the answer to the one before it, another version of HTTP) sends it on uvicorn's way through
ASGI, where the same routes answer the same. There an answer leaves as two messages, and would leave the
process as two writes; those of one turn of the event loop are joined.

A connection is bounded: in the size of a request's head, in the time that a request may take to arrive,
and in how many there are. Who exceeds a bound is told so in the one shape of every refusal.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from holdfast.server.bounds import MOST_CONNECTIONS, ROOM_TO_REFUSE
from holdfast.server.errors import problem_body
from holdfast.server.hot import MAX_BODY, HotRoute, HotRoutes, hot_route

MOST_HEAD: Final = 32 * 1024
"""Greatest length of the request line and headers together, in bytes."""
MOST_HEADERS: Final = 100
"""Greatest number of headers."""
ARRIVES_S: Final = 10.0
"""Seconds from a request's first byte in which all of it must have arrived."""

_UNUSUAL: Final = frozenset((b"expect", b"transfer-encoding", b"upgrade"))
"""Headers that send a request through ASGI."""


class JoinedWrites:
    """A transport that sends what was written during one turn of the event loop in one write, in order.

    Everything else is that of the transport it stands before.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes at the end of this turn."""
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def flush(self) -> None:
        """Send what was written so far."""
        written, self._written = self._written, []
        if written and not self._transport.is_closing():
            self._transport.write(written[0] if len(written) == 1 else b"".join(written))

    def write_now(self, data: bytes) -> None:
        """Send bytes at once, after what was written so far."""
        if self._written:
            self.flush()
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Send what was written so far, and close."""
        self.flush()
        self._transport.close()


class _HeadTooLargeError(Exception):
    """The head of a request exceeds its bound."""


class _Nobody:
    """Stands where a task may wait for a request's body; nobody waits for that of a short one."""

    def set(self) -> None:
        """Wake nobody."""


class _Short:
    """A request on the short way, as what uvicorn's protocol asks of the one that is under way."""

    __slots__ = (
        "_protocol",
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "route",
    )

    message_event: ClassVar = _Nobody()
    response_started: ClassVar = False

    def __init__(self, protocol: HttpProtocol, route: HotRoute, *, keep_alive: bool) -> None:
        self._protocol = protocol
        self.route = route
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.response_complete = self.disconnected = False

    def reply(self, status: int, content: bytes) -> None:
        """Send the answer."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.send(status, content, keep_alive=self.keep_alive)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with short ways for hot routes, and with bounds on what a caller may hold on to.

    Parameters
    ----------
    hot : answers the hot routes; without it all goes through ASGI
    most_connections : of this process
    rest : what uvicorn gives to a protocol
    """

    _joined: JoinedWrites
    _is_arriving = False  # a request has begun and has not wholly arrived
    _is_in_head = False
    _has_begun = False  # a request began in the piece that is read now
    _head = 0  # bytes of the head that were read
    _unread = 0  # bytes of the head that may not have been read yet
    _is_head_too_large = False
    _patience: asyncio.TimerHandle | None = None
    _short: _Short | None = None  # the request whose body is read now, where it is a short one
    _length = -1  # of the body, as its head says
    _is_unusual = False
    _idle_since: float | None = None

    def __init__(
        self, *rest: Any, hot: HotRoutes | None = None, most_connections: int = MOST_CONNECTIONS, **named: Any
    ) -> None:
        super().__init__(*rest, **named)
        self._hot = hot
        self._most_connections = most_connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or refuse it where there are too many."""
        self._joined = JoinedWrites(transport, self.loop)
        super().connection_made(self._joined)  # type: ignore[arg-type]
        beyond = len(self.connections) - self._most_connections
        if beyond > ROOM_TO_REFUSE:
            transport.abort()
        elif beyond > 0:
            self.app, self._hot = _busy, None
            self._patience = self.loop.call_later(ARRIVES_S, self._lost_patience)
        else:  # one that says nothing is closed like one that has nothing more to say
            self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._calm()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)

    # --- a request --------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read what arrived; where a request has not wholly arrived, wait for the rest for a while only."""
        self._has_begun = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._is_in_head and not self._has_begun:
            self._unread += len(data)
            if self._unread > MOST_HEAD:
                self._is_head_too_large = True
                self.send_400_response("")
                return
        if not self._is_arriving:
            self._calm()
        elif self._patience is None:
            self._patience = self.loop.call_later(ARRIVES_S, self._lost_patience)

    def on_message_begin(self) -> None:
        """Begin a request; what ASGI wants to know of it is gathered only where it goes that way."""
        self.url = b""
        self.headers = []
        self._is_arriving = self._is_in_head = self._has_begun = True
        self._head = self._unread = 0
        self._short = None
        self._length = -1
        self._is_unusual = self.expect_100_continue = False

    def on_url(self, url: bytes) -> None:
        """Read a part of the request line."""
        self.url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read one header."""
        name = name.lower()
        self.headers.append((name, value))
        if name == b"content-length":
            self._length = int(value)  # the parser has refused what is none
        elif name in _UNUSUAL:
            self._is_unusual = True
            self.expect_100_continue |= name == b"expect" and value.lower() == b"100-continue"
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """Send the request on its way."""
        self._is_in_head = False
        if not self._take_short_way():
            url, headers, expect = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expect
            self.headers += headers  # which the scope holds already
            super().on_headers_complete()

    def _take_short_way(self) -> bool:
        if (
            self._hot is None
            or self._is_unusual
            or not 0 < self._length <= MAX_BODY
            or self._is_answering()
            or self.flow.write_paused
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
        ):
            return False
        try:
            route = hot_route(self.url.decode("ascii"))
        except UnicodeDecodeError:
            return False
        if route is None or "%" in route.path or "?" in route.path:
            return False
        self._short = _Short(self, route, keep_alive=self.parser.should_keep_alive())
        self.cycle = self._short  # type: ignore[assignment]
        return True

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def on_body(self, body: bytes) -> None:
        """Read a part of the body."""
        short = self._short
        if short is None:
            super().on_body(body)
        elif not short.body:
            short.body = body
        else:
            short.body = bytearray(short.body) if isinstance(short.body, bytes) else short.body
            short.body += body

    def on_message_complete(self) -> None:
        """Know that all of a request has arrived."""
        self._is_arriving = False
        short = self._short
        if short is None:
            super().on_message_complete()
        elif self._hot is not None:
            short.more_body = False
            self._hot.take(short.route, bytes(short.body), short.reply)

    def send(self, status: int, content: bytes, *, keep_alive: bool) -> None:
        """Send the answer to a request that took the short way."""
        given = self.server_state.default_headers
        self._joined.write_now(_answer(given, status, content, keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Begin with the next request, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()

    # --- bounds -----------------------------------------------------------------------------------------

    def _count(self, length: int) -> None:
        self._head += length
        if self._head > MOST_HEAD or len(self.headers) > MOST_HEADERS:
            self._is_head_too_large = True
            raise _HeadTooLargeError  # the parser stops, and calls `send_400_response`

    def _rest(self) -> None:
        """Wait for a request, for so long. One timer serves many: to set one for each would be dear."""
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def _look_again(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """Rest no longer."""
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has rested for too long."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None or self.transport.is_closing():
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again(left)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, or has too large a head."""
        if self._is_head_too_large:
            limit = f"the head of a request has at most {MOST_HEAD:,} bytes and {MOST_HEADERS} headers."
            self._refuse(431, problem_body("HF208", limit, at="headers"))
        else:
            self._refuse(400, problem_body("HF214", "this is no HTTP request.", at="request"))

    def _lost_patience(self) -> None:
        """Drop a request that has not wholly arrived in time."""
        self._patience = None
        if self.transport.is_closing():
            return
        limit = f"a request arrives within {ARRIVES_S:g} seconds; this one has not."
        self._refuse(408, problem_body("HF600", limit, at="request", hint="send it again, at once"))

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse(self, status: int, body: dict[str, Any]) -> None:
        """Answer and close; only close where an answer to an earlier request is under way."""
        self._calm()
        cycle: RequestResponseCycle | None = self.cycle
        own = cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started)
        if own and not self.pipeline:
            self.transport.write(_answer([], status, msgspec.json.encode(body), keep_alive=False))
        self.transport.close()


async def _busy(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer that there are too many connections."""
    content = msgspec.json.encode(
        problem_body(
            "HF600",
            "this process has as many connections as it takes.",
            at="connection",
            hint="keep connections open and use them again, or run more workers: holdfast serve --workers N",
        )
    )
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _answer(
    default_headers: list[tuple[bytes, bytes]], status: int, content: bytes, *, keep_alive: bool
) -> bytes:
    """Return a whole answer, as it goes over the wire."""
    given = b"".join(b"%s: %s\r\n" % header for header in default_headers)
    closing = b"" if keep_alive else b"connection: close\r\n"
    return b"%s%scontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n%s" % (
        STATUS_LINE[status],
        given,
        len(content),
        closing,
        content,
    )
