"""Drift over the project's stores: recorded answers of a version beside the profile in its bundle."""

from __future__ import annotations

import numpy as np
import polars as pl

from holdfast.app.wire import Wiring
from holdfast.kernel.errors import NotFoundError
from holdfast.monitoring.drift import DriftReport, compare, compare_column
from holdfast.registry.version import ModelVersion
from holdfast.serving.ports import PREDICTIONS


def measure_drift(
    wiring: Wiring, version: ModelVersion, *, since: int | None = None, until: int | None = None
) -> DriftReport:
    """Compare what a version was asked, and answered, with what it was trained on.

    Parameters
    ----------
    since, until : microseconds of event time
    """
    where = (pl.col("model") == version.model) & (pl.col("version") == version.number)
    if since is not None:
        where &= pl.col("t_us") >= since
    if until is not None:
        where &= pl.col("t_us") < until
    lake = wiring.lake
    columns = ["key", "t_us", "features", "plan", "score", "known_batch", "answered_us"]
    rows = pl.DataFrame()
    if lake.version(PREDICTIONS) is not None:
        rows = lake.read(PREDICTIONS, columns, where=where)
    bundle = wiring.open_version(version)
    if rows.height:
        asked = (pl.col("plan") == bundle.plan.fingerprint) & (pl.col("known_batch").list.len() > 0)
        rows = rows.filter(asked).sort("answered_us").unique("key", keep="first", maintain_order=True)
    if not rows.height:
        raise NotFoundError(
            f"{version.name} has answered nothing in this interval.",
            hint=f"holdfast serve, or holdfast predict {version.model}",
        )
    x = np.frombuffer(b"".join(rows["features"]), "<f8").reshape(rows.height, len(bundle.plan.names))
    times = rows["t_us"].to_numpy()
    score = compare_column(bundle.expected.scores, rows["score"].to_numpy())
    features = compare(bundle.profile.columns, x)
    return DriftReport(
        version.model,
        version.number,
        int(times.min()),
        int(times.max()) + 1,
        rows.height,
        (*features, score),
    )
