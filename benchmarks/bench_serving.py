"""Live inference over HTTP: one worker, 16 connections, beside the usual service around the same model.

Ours reads the online state of eight views, computes 30 features, scores, decides, and journals event and
record before it answers (durability: process). The peer (`benchmarks/peer_fastapi.py`) is handed features.
A second peer (`benchmarks/peer_echo.py`) does nothing but HTTP. All run in turns, several rounds each;
medians count. Access logs are off.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.figures import report
from benchmarks.peer_fastapi import dump
from benchmarks.serving_world import prepare

FOLDER = Path("build/bench-serving")
CONNECTIONS, SECONDS, ROUNDS, BODIES = 16, 4.0, 5, 400_000


def main() -> None:
    project = prepare(FOLDER / "project")
    ours = write_bodies(FOLDER / "ours.jsonl", BODIES)
    (model,) = list((project / ".holdfast" / "bundles").glob("*/model.txt"))[-1:]
    names = dump(model, FOLDER / "model.joblib")
    theirs = write_features(FOLDER / "theirs.jsonl", names, 20_000)
    rounds: dict[str, list[dict[str, float]]] = {"ours": [], "peer": [], "echo": []}
    firsts = []
    for number in range(ROUNDS):
        share = ours.with_name("round.jsonl")
        share.write_bytes(b"\n".join(ours.read_bytes().splitlines()[number::ROUNDS]))
        with ours_running(project) as (port, server):
            firsts.append(first_request(port, number))
            rounds["ours"].append(load(port, "/v1/models/fraud/predict", share, server))
        with peer_running(FOLDER / "model.joblib") as (port, server):
            rounds["peer"].append(load(port, "/predict", theirs, server))
        with echo_running() as (port, server):
            rounds["echo"].append(load(port, "/", share, server))
    shutil.rmtree(project / ".holdfast" / "journal" / "segments", ignore_errors=True)
    rps = {who: median(r["requests"] / r["seconds"] for r in found) for who, found in rounds.items()}

    def times(other: str) -> float:
        return median(
            (a["requests"] / a["seconds"]) / (b["requests"] / b["seconds"])
            for a, b in zip(rounds["ours"], rounds[other], strict=True)
        )

    report(
        "bench",
        [
            ("serve_rps", rps["ours"], "requests/s, 1 worker, 16 connections"),
            ("serve_p50_ms", median(r["p50_us"] for r in rounds["ours"]) / 1000, "ms"),
            ("serve_p99_ms", median(r["p99_us"] for r in rounds["ours"]) / 1000, "ms"),
            ("first_request_ms", median(firsts), "ms, after readiness"),
            ("serve_cpu_us", median(r["cpu_us"] for r in rounds["ours"]), "us of processor a request"),
            (
                "fastapi_joblib_cpu_us",
                median(r["cpu_us"] for r in rounds["peer"]),
                "us of processor a request",
            ),
            ("fastapi_joblib_rps", rps["peer"], "requests/s, same model"),
            ("fastapi_joblib_p99_ms", median(r["p99_us"] for r in rounds["peer"]) / 1000, "ms"),
            ("uvicorn_echo_rps", rps["echo"], "requests/s, nothing but HTTP"),
            ("serve_vs_uvicorn_echo", times("echo"), "of its requests/s"),
            ("serve_vs_fastapi_joblib", times("peer"), "times; at least 10"),
        ],
        title="Live inference",
    )


def write_bodies(path: Path, n: int) -> Path:
    """Write requests about known and unknown cards; ids are never used twice."""
    random = np.random.default_rng(7)
    cards, terminals = random.integers(0, 1_200, n), random.integers(0, 300, n)
    amounts = random.integers(100, 90_000, n)
    run = time.time_ns()
    with path.open("w") as file:
        for i, (card, terminal, cents) in enumerate(zip(cards, terminals, amounts, strict=True)):
            channel = "online" if i % 3 else "present"
            row = {
                "tx_id": f"b-{run}-{i}",
                "at": f"2026-03-06T10:15:{i % 60:02d}Z",
                "card_id": f"c-{card:04d}",
                "terminal_id": f"m-{terminal:04d}",
                "device_id": f"d-{card % 977:05d}",
                "channel": channel,
                "amount": int(cents) / 100,
                "country": "PT",
            }
            file.write(f"{json.dumps(row)}\n")
    return path


def write_features(path: Path, names: list[str], n: int) -> Path:
    random = np.random.default_rng(7)
    with path.open("w") as file:
        for row in random.integers(0, 40, (n, len(names))) / 4:
            file.write(json.dumps(dict(zip(names, row.tolist(), strict=True))) + "\n")
    return path


def load(port: int, path: str, bodies: Path, server: int) -> dict[str, float]:
    """Return what the load generator measured, and the processor time that the server took."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.load",
        str(port),
        path,
        str(CONNECTIONS),
        str(SECONDS),
        str(bodies),
    ]
    before = processor_s(server)
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} of {found['requests']} requests failed")
    found["cpu_us"] = (processor_s(server) - before) / found["requests"] * 1e6
    return found


def processor_s(pid: int) -> float:
    """Return the processor seconds of a process and its children, as the kernel counts them."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(processor_s(int(child)) for child in children)


def first_request(port: int, number: int) -> float:
    """Return the milliseconds of the first request after readiness, on a connection of its own."""
    body = (
        f'{{"tx_id": "first-{time.time_ns()}-{number}", "at": "2026-03-06T10:15:00Z", "card_id": "c-00017", '
        '"terminal_id": "m-0003", "channel": "online", "amount": 12.50}'
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/models/fraud/predict",
        body.encode(),
        {"content-type": "application/json"},
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request) as answer:
        answer.read()
    return (time.perf_counter() - began) * 1000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def ours_running(project: Path) -> Iterator[tuple[int, int]]:
    port = free_port()
    command = [sys.executable, "-m", "holdfast", "serve", "-C", str(project), "--port", str(port)]
    with running(command, f"http://127.0.0.1:{port}/readyz") as pid:
        yield port, pid


@contextmanager
def peer_running(model: Path) -> Iterator[tuple[int, int]]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.peer_fastapi", str(model), str(port)]
    with running(command, f"http://127.0.0.1:{port}/openapi.json") as pid:
        yield port, pid


@contextmanager
def echo_running() -> Iterator[tuple[int, int]]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.peer_echo", str(port)]
    with running(command, f"http://127.0.0.1:{port}/") as pid:
        yield port, pid


@contextmanager
def running(command: list[str], ready: str) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(ready, timeout=2):
                    break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
