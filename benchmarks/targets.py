"""What figures have to be. A figure without a target is told for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Target(NamedTuple):
    """The greatest or least value that is good enough."""

    side: Literal["<=", ">="]
    limit: float

    def is_met(self, value: float) -> bool:
        """Return whether a value is good enough."""
        return value <= self.limit if self.side == "<=" else value >= self.limit

    def __str__(self) -> str:
        return f"{self.side} {self.limit:,g}"


def _most(limit: float) -> Target:
    return Target("<=", limit)


def _least(limit: float) -> Target:
    return Target(">=", limit)


RUNS = _least(5)
"""Medians are of at least so many runs."""

TARGETS: Mapping[str, Target] = {
    "dataset_runs": RUNS,
    "first_request_ms": _most(5),
    "help_s": _most(0.5),
    "import_s": _most(0.3),
    "ingest_vs_limit": _least(0.5),
    "online_runs": RUNS,
    "serve_vs_fastapi_joblib": _least(10),
    "startup_runs": RUNS,
    "visible_p99_ms": _most(1_000),
    "windows_bytes_per_event": _most(150),
    "windows_runs": RUNS,
    "windows_vs_duckdb_sort": _most(1.0),
    "windows_vs_polars_rolling": _least(5),
}
