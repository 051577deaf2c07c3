"""Metrics in the text format of Prometheus: counters of this process, summed over all workers.

Every worker writes what it has counted to a file of its own once a second, so whichever worker is asked can
answer for all. A worker that takes the place of a dead one goes on from its file.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Final

from holdfast.app.serve import LiveService

BUCKETS_MS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1_000)
"""Upper bounds of the latency histogram."""

METRICS: Final = {
    "holdfast_requests_total": ("counter", "Requests by route and status."),
    "holdfast_request_seconds": ("histogram", "Time from the whole request to its answer, by route."),
    "holdfast_predictions_total": ("counter", "Answers by model, recommendation and step."),
    "holdfast_missing_features_total": ("counter", "Missing features in answers, by model and feature."),
    "holdfast_marked_total": (
        "counter",
        "Answers by model and mark: repeat, holdout, degraded, inexact; unreadable_state without a model.",
    ),
    "holdfast_events_total": ("counter", "Events by source and verdict."),
    "holdfast_load_failures_total": (
        "counter",
        "Changes that could not be loaded.",
    ),
    "holdfast_journal_bytes": ("gauge", "Bytes in the journals of the running workers."),
    "holdfast_online_batch": ("gauge", "The oldest batch that a worker saw in its latest answer."),
    "holdfast_staleness_seconds": ("gauge", "Greatest age of the online state at a worker's latest look."),
    "holdfast_ready": ("gauge", "Workers that are ready."),
}
"""Kind and meaning of every metric."""

_LEAST = ("holdfast_online_batch",)
_GREATEST = ("holdfast_staleness_seconds",)
Samples = dict[str, float]


class Metrics:
    """Counts what HTTP sees, and renders it with what the data plane counts.

    Parameters
    ----------
    folder : where all workers write; None keeps them apart
    slot : which worker this is
    """

    def __init__(self, service: LiveService, folder: Path | None = None, slot: int = 0) -> None:
        self._service = service
        self._folder = folder
        self._slot = slot
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()
        self._before = {k: v for k, v in self._read(self._path(slot)).items() if not _is_gauge(k)}

    def request(self, route: str, status: int, ns: int) -> None:
        """Count one answered request."""
        self._requests[route, status] += 1
        buckets = self._buckets.get(route)
        if buckets is None:
            buckets = self._buckets[route] = [0] * (len(BUCKETS_MS) + 1)
        buckets[bisect_left(BUCKETS_MS, ns / 1e6)] += 1
        self._seconds[route] += ns

    def write(self) -> None:
        """Write this worker's samples for the others."""
        if self._folder is None:
            return
        path = self._path(self._slot)
        assert path is not None
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(self.samples()))
        os.replace(fresh, path)

    def render(self) -> str:
        """Return all samples of all workers in Prometheus' text format."""
        total: Samples = {}
        own = self._path(self._slot)
        others = [] if self._folder is None else [p for p in self._folder.glob("*.json") if p != own]
        for samples in (self.samples(), *(self._read(path) for path in others)):
            for key, value in samples.items():
                name = key.partition("{")[0]
                if key not in total:
                    total[key] = value
                elif name in _LEAST:
                    total[key] = min(total[key], value)
                elif name in _GREATEST:
                    total[key] = max(total[key], value)
                else:
                    total[key] += value
        lines = []
        for name, (kind, meaning) in METRICS.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [f"{key} {_number(value)}" for key, value in total.items() if _belongs(key, name)]
        return "\n".join(lines) + "\n"

    def samples(self) -> Samples:
        """Return this worker's samples by name and labels."""
        counters, service = self._service.plane.counters, self._service
        out: Samples = {}
        for (route, status), n in self._requests.items():
            out[_key("holdfast_requests_total", route=route, status=status)] = n
        for route, buckets in self._buckets.items():
            total = 0
            for bound, n in zip((*BUCKETS_MS, None), buckets, strict=True):
                total += n
                upper = "+Inf" if bound is None else f"{bound / 1000:g}"
                out[_key("holdfast_request_seconds_bucket", route=route, le=upper)] = total
            out[_key("holdfast_request_seconds_sum", route=route)] = self._seconds[route] / 1e9
            out[_key("holdfast_request_seconds_count", route=route)] = total
        for (model, told, step), n in counters.predictions.items():
            out[_key("holdfast_predictions_total", model=model, recommendation=told, step=step)] = n
        for (model, absent), n in counters.missing.items():
            for feature in absent:
                key = _key("holdfast_missing_features_total", model=model, feature=feature)
                out[key] = out.get(key, 0) + n
        for (model, mark), n in counters.marks.items():
            out[_key("holdfast_marked_total", model=model, mark=mark)] = n
        for (source, verdict), n in counters.events.items():
            out[_key("holdfast_events_total", source=source, verdict=verdict)] = n
        out["holdfast_load_failures_total"] = service.failures
        for key, value in self._before.items():
            out[key] = out.get(key, 0) + value
        out["holdfast_journal_bytes"] = counters.journal_bytes
        out["holdfast_online_batch"] = counters.batch
        out["holdfast_ready"] = int(service.is_ready)
        staleness = service.staleness_s
        if staleness is not None:
            out["holdfast_staleness_seconds"] = staleness
        return out

    def _path(self, slot: int) -> Path | None:
        return None if self._folder is None else self._folder / f"{slot}.json"

    @staticmethod
    def _read(path: Path | None) -> Samples:
        if path is None:
            return {}
        try:
            found: Samples = json.loads(path.read_text())
        except (OSError, ValueError):
            return {}
        return found


def _key(name: str, **labels: str | int) -> str:
    told = ",".join(f'{label}="{_escaped(str(value))}"' for label, value in labels.items())
    return f"{name}{{{told}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _belongs(key: str, name: str) -> bool:
    base = key.partition("{")[0]
    return base == name or (METRICS[name][0] == "histogram" and base.startswith(f"{name}_"))


def _is_gauge(key: str) -> bool:
    kind = METRICS.get(key.partition("{")[0], ("counter", ""))[0]
    return kind == "gauge"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
