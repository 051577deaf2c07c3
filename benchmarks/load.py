"""A load generator that is not the bottleneck: raw sockets, keep-alive, one request in flight each.

    python -m benchmarks.load PORT PATH CONNECTIONS SECONDS BODIES.jsonl

prints one JSON object: requests, seconds, latencies in microseconds (p50, p99), and how many were not 200.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np
import uvloop


class _Connection(asyncio.Protocol):
    def __init__(self, requests: list[bytes], first: int, stride: int, until: float) -> None:
        self.requests, self.at, self.stride, self.until = requests, first, stride, until
        self.latencies: list[int] = []
        self.failed = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter_ns()
        self.transport.write(self.requests[self.at % len(self.requests)])  # type: ignore[attr-defined]
        self.at += self.stride

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        place = self.buffer.lower().find(b"content-length: ")
        length = int(self.buffer[place + 16 : self.buffer.index(b"\r\n", place)])
        if len(self.buffer) < head + 4 + length:
            return
        now = time.perf_counter_ns()
        self.latencies.append((now - self.sent) // 1000)
        self.failed += not self.buffer.startswith(b"HTTP/1.1 200")
        self.buffer = b""
        if now < self.until * 1e9:
            self.send()
        else:
            self.transport.close()
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))


async def run(
    port: int, path: str, connections: int, seconds: float, bodies: list[bytes]
) -> dict[str, float]:
    """Send the bodies for some seconds, each connection its own share of them."""
    requests = [
        b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
        % (path.encode(), len(body), body)
        for body in bodies
    ]
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    until = time.perf_counter_ns() / 1e9 + seconds
    made = [
        await loop.create_connection(
            lambda n=n: _Connection(requests, n, connections, until), "127.0.0.1", port
        )
        for n in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    spent = time.perf_counter() - began
    latencies = np.array([us for _, protocol in made for us in protocol.latencies])
    return {
        "requests": len(latencies),
        "seconds": spent,
        "p50_us": float(np.quantile(latencies, 0.5)),
        "p99_us": float(np.quantile(latencies, 0.99)),
        "failed": sum(protocol.failed for _, protocol in made),
    }


def main() -> None:
    port, path, connections, seconds, file = sys.argv[1:]
    bodies = Path(file).read_bytes().splitlines()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(int(port), path, int(connections), float(seconds), bodies))))


if __name__ == "__main__":
    main()
