"""HTTP connections that send the head and the body of an answer in one piece.

An answer leaves the application as two messages, and would leave the process as two writes. A write is the
dearest thing that a small request does, so those of one turn of the event loop are joined.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's protocol over a `JoinedWrites`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
