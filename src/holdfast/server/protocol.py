"""HTTP connections that send the head and the body of an answer in one piece.

An answer leaves the application as two messages, and would leave the process as two writes. A write is the
dearest thing that a small request does, so those of one turn of the event loop are joined.

A connection is bounded, too: in the size of a request's head, in the time that a request may take to arrive,
and in how many there are. Who exceeds a bound is told so in the one shape of every refusal.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from holdfast.server.errors import problem_body

MOST_HEAD: Final = 32 * 1024
"""Greatest length of the request line and headers together, in bytes."""
MOST_HEADERS: Final = 100
"""Greatest number of headers."""
ARRIVES_S: Final = 10.0
"""Seconds from a request's first byte in which all of it must have arrived."""
MOST_CONNECTIONS: Final = 1_000
"""Open connections of one process; a request on a further one is answered with 503."""
ROOM_TO_REFUSE: Final = 100
"""Connections beyond the greatest number that are still told why; others are closed at once."""

_REASONS: Final = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
}


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

    def close(self) -> None:
        """Send what was written so far, and close."""
        self.flush()
        self._transport.close()


class _HeadTooLargeError(Exception):
    """The head of a request exceeds its bound."""


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's protocol over a `JoinedWrites`, with bounds on what a caller may hold on to.

    Attributes
    ----------
    most_connections : of this process; set before the server starts
    """

    most_connections = MOST_CONNECTIONS

    _is_arriving = False  # a request has begun and has not wholly arrived
    _is_in_head = False
    _has_begun = False  # a request began in the piece that is read now
    _head = 0  # bytes of the head that were read
    _unread = 0  # bytes of the head that may not have been read yet
    _is_head_too_large = False
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or refuse it where there are too many."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        beyond = len(self.connections) - self.most_connections
        if beyond > ROOM_TO_REFUSE:
            transport.abort()
        elif beyond > 0:
            self.app = _busy
            self._patience = self.loop.call_later(ARRIVES_S, self._lost_patience)
        else:  # one that says nothing is closed like one that has nothing more to say
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._calm()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

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
        """Begin a request."""
        super().on_message_begin()
        self._is_arriving = self._is_in_head = self._has_begun = True
        self._head = self._unread = 0

    def on_url(self, url: bytes) -> None:
        """Read a part of the request line."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read one header."""
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Know that all of a request has arrived."""
        self._is_arriving = False
        super().on_message_complete()

    def _count(self, length: int) -> None:
        self._head += length
        if self._head > MOST_HEAD or len(self.headers) > MOST_HEADERS:
            self._is_head_too_large = True
            raise _HeadTooLargeError  # the parser stops, and calls `send_400_response`

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
            content = msgspec.json.encode(body)
            head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            self.transport.write(head % (status, _REASONS[status], len(content)))
            self.transport.write(b"connection: close\r\n\r\n" + content)
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
