"""The status page: what answers, how fast, how fresh, and what the worker did last. Plain HTML."""

from __future__ import annotations

import html
import http.client
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from holdfast.app.applied import applied_project
from holdfast.app.log import configure_log
from holdfast.app.stopping import Stop, on_stop
from holdfast.app.wire import Wiring
from holdfast.app.worker import worker_status
from holdfast.kernel.errors import HoldfastError
from holdfast.kernel.time import format_instant

LOGGER = logging.getLogger("holdfast.status")

QUANTILES = (0.5, 0.95, 0.99)
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.eE+-]+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_STYLE = (
    "body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}"
    "td,th{padding:.15rem .9rem .15rem 0;text-align:left}"
    "th{font-weight:600;border-bottom:1px solid #bbb}"
    ".bad{color:#b00020;font-weight:600}.good{color:#1b6e33}"
    "@media(prefers-color-scheme:dark){body{background:#181a1b;color:#ddd}}"
)


def collect(wiring: Wiring, host: str, port: int) -> dict[str, Any]:
    """Return everything the page shows."""
    found: dict[str, Any] = {"at_us": wiring.clock.now_us(), "problems": []}
    try:
        project = applied_project(wiring)
        found["project"] = project.name
        found["models"] = [_model(wiring, name) for name in project.models]
        found["history"] = [
            {"at_us": e.at_us, "what": f"{e.action} {e.subject}", "who": e.actor, "why": e.reason}
            for e in wiring.registry.list_entries()[-8:]
        ]
    except HoldfastError as error:
        found["problems"].append(error.problem.message)
    text = _fetch(host, port, "/metrics")
    found["serving"] = None if text is None else serving_figures(text)
    worker = worker_status(wiring)
    if worker is not None:
        worker["silent_s"] = max(0.0, time.time() - float(worker["beat"]))
        found["problems"] += worker["problems"]
    found["worker"] = worker
    return found


def _model(wiring: Wiring, name: str) -> dict[str, Any]:
    alias = wiring.registry.find_alias(name, "champion")
    versions = wiring.registry.list_versions(name)
    return {
        "name": name,
        "champion": None if alias is None else alias.version,
        "revision": 0 if alias is None else alias.revision,
        "versions": [{"name": version.name, "state": version.state} for version in versions[-8:]],
    }


def serving_figures(text: str) -> dict[str, Any]:
    """Return requests, latencies and marks from metrics in Prometheus' text format."""
    samples = [
        (m[1], dict(_LABEL.findall(m[2] or "")), float(m[3]))
        for m in map(_SAMPLE.match, text.splitlines())
        if m
    ]
    total: dict[str, Any] = {"requests": {}, "latency_ms": {}, "answers": {}, "events": {}, "marks": {}}
    buckets: dict[str, list[tuple[float, float]]] = {}
    for name, labels, value in samples:
        match name:
            case "holdfast_requests_total":
                key = f"{labels['route']} {labels['status']}"
                total["requests"][key] = int(value)
            case "holdfast_request_seconds_bucket":
                bound = float("inf") if labels["le"] == "+Inf" else float(labels["le"])
                buckets.setdefault(labels["route"], []).append((bound, value))
            case "holdfast_predictions_total":
                key = f"{labels['model']} {labels['recommendation']} ({labels['step']})"
                total["answers"][key] = int(value)
            case "holdfast_events_total":
                total["events"][f"{labels['source']} {labels['verdict']}"] = int(value)
            case "holdfast_marked_total":
                total["marks"][f"{labels['model']} {labels['mark']}".strip()] = int(value)
            case "holdfast_staleness_seconds":
                total["staleness_s"] = value
            case "holdfast_ready":
                total["ready"] = int(value)
    for route, cumulative in buckets.items():
        total["latency_ms"][route] = {f"p{q * 100:g}": _quantile(sorted(cumulative), q) for q in QUANTILES}
    return total


def _quantile(cumulative: Sequence[tuple[float, float]], share: float) -> float | None:
    """Return a quantile in milliseconds, linear within its bucket; None where there is no request."""
    count = cumulative[-1][1]
    if not count:
        return None
    low, before = 0.0, 0.0
    for bound, upto in cumulative:
        if upto >= share * count:
            inside = (share * count - before) / (upto - before) if upto > before else 1.0
            return 1000 * (low if bound == float("inf") else low + inside * (bound - low))
        low, before = bound, upto
    return 1000 * low


def page(found: dict[str, Any]) -> str:
    """Return the page."""
    parts = [f"<h1>{_text(found.get('project', 'holdfast'))}</h1><p>{_when(found['at_us'])}</p>"]
    parts += [f'<p class="bad">{_text(problem)}</p>' for problem in found["problems"]]
    for model in found.get("models", []):
        champion = "no champion" if model["champion"] is None else f"{model['name']}@{model['champion']}"
        parts.append(f"<h2>{_text(model['name'])}: {_text(champion)}</h2>")
        parts.append(_table(("version", "state"), [(v["name"], v["state"]) for v in model["versions"]]))
    serving = found["serving"]
    if serving is None:
        parts.append('<h2>Serving</h2><p class="bad">does not answer</p>')
    else:
        parts.append(f'<h2>Serving</h2><p class="good">{serving.get("ready", 0)} ready</p>')
        rows = [
            (route, *("-" if value is None else f"{value:.2f} ms" for value in latencies.values()))
            for route, latencies in serving["latency_ms"].items()
        ]
        parts.append(_table(("route", "p50", "p95", "p99"), rows))
        for title in ("requests", "answers", "events", "marks"):
            if serving[title]:
                parts.append(_table((title, ""), [(k, f"{n:,}") for k, n in sorted(serving[title].items())]))
    parts.append(_worker(found["worker"]))
    rows = [(_when(e["at_us"]), e["what"], e["who"], e["why"]) for e in reversed(found.get("history", []))]
    parts.append("<h2>History</h2>" + _table(("when", "what", "who", "why"), rows))
    name = _text(found.get("project", "holdfast"))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f"<title>{name}: status</title><style>{_STYLE}</style>{''.join(parts)}</html>"
    )


def _worker(worker: dict[str, Any] | None) -> str:
    if worker is None:
        return '<h2>Worker</h2><p class="bad">does not run; what is accepted waits in the journals</p>'
    facts = [
        ("batch", f"{worker['batch']:,}"),
        ("in the lake up to batch", f"{worker['settled']:,}"),
        ("freshness p50 / p99", f"{worker['freshness_p50_s']:.2f} s / {worker['freshness_p99_s']:.2f} s"),
        ("online state", worker["generation"] or "being built"),
        ("last sign of life", f"{worker['silent_s']:.1f} s ago"),
        *((name, f"{n:,}") for name, n in sorted(worker["counts"].items())),
    ]
    last = [
        (f"{b['batch']:,}", _when(b["at_us"]), f"{b['events']:,}", f"{b['records']:,}")
        for b in reversed(worker["last"])
    ]
    return (
        "<h2>Worker</h2>"
        + _table(("", ""), facts)
        + "<h2>Last batches</h2>"
        + _table(("batch", "at", "events", "records"), last)
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _when(us: int) -> str:
    return format_instant(us)[:19].replace("T", " ")


def _text(value: object) -> str:
    return html.escape(str(value))


def _fetch(host: str, port: int, path: str) -> str | None:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read().decode() if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def make_server(wiring: Wiring, host: str, port: int, service_port: int) -> ThreadingHTTPServer:
    """Return the server of the page, of ``/status.json`` and ``/livez``; not running yet."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/livez":
                self._answer("application/json", b'{"status":"alive"}')
            elif path == "/status.json":
                found = collect(wiring, host, service_port)
                self._answer("application/json", json.dumps(found).encode())
            elif path == "/":
                self._answer("text/html; charset=utf-8", page(collect(wiring, host, service_port)).encode())
            else:
                self.send_error(404)

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server


def main() -> None:
    """Serve the page until asked to stop: arguments are folder, host, port, port of the service."""
    folder, host, port, service_port = sys.argv[1:5]
    configure_log("status")
    server = make_server(Wiring(Path(folder)), host, int(port), int(service_port))
    stop = Stop()
    with on_stop(stop.set), server:
        answering = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2})
        answering.start()
        while answering.is_alive() and not stop.wait(1.0):
            pass
        server.shutdown()
        answering.join()


if __name__ == "__main__":
    main()
