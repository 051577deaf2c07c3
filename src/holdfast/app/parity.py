"""Parity over the project's stores: which records, by which bundle and runtime, from which tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.app.state import settled_in_lake
from holdfast.app.wire import Wiring
from holdfast.events.source import ARRIVED, BASIS
from holdfast.features.view import FeaturePlan
from holdfast.kernel.errors import NotFoundError
from holdfast.kernel.ports import NoProgress, Progress
from holdfast.serving.frames import BOUNDED_BY_BATCH
from holdfast.serving.parity import ParityReport, Score, compare_records, visible_rows
from holdfast.serving.parity_trial import Scratch, Trial, try_parity
from holdfast.serving.ports import PREDICTIONS, RowPredictor
from holdfast.training.bundle import Bundle, open_bundle

TRIAL_RECORDS = 200
"""Latest records that a self-test copies."""
CHUNK = 50_000
"""Records compared at a time."""

_COLUMNS = (
    "prediction_id", "attempt", "model", "version", "bundle", "runtime", "t_us", "known_at_us", "known_batch",
    "request", "features", "plan", "score", "step", "answered_us", "exposure",
)  # fmt: skip


def check_parity(
    wiring: Wiring, *, since: int | None = None, model: str | None = None, progress: Progress | None = None
) -> ParityReport:
    """Recompute recorded predictions from lake rows and compare every feature and score.

    Parameters
    ----------
    since : microseconds; answers given before are left alone
    """
    tell = progress or NoProgress()
    settled, records = _records(wiring, since, model)
    found, report = _Bundles(wiring), ParityReport()
    tell.start("parity", records.height)
    for bundle, plan, group in _groups(records, found):
        for offset in range(0, group.height, CHUNK):
            part = group.slice(offset, CHUNK)
            if plan is None:
                report += ParityReport(without_state=part.height)
            else:
                report += compare_records(part, plan, found.scorer(bundle), wiring.lake, settled=settled)
            tell.advance(part.height)
    tell.finish()
    return report


def try_out_parity(wiring: Wiring, *, since: int | None = None, model: str | None = None) -> list[Trial]:
    """Falsify a scratch copy of the latest records and of what they saw; parity must notice each time.

    Raises
    ------
    NotFoundError
        If there is no live record to falsify.
    """
    settled, records = _records(wiring, since, model)
    exact = pl.col("known_at_us") == BOUNDED_BY_BATCH
    if "inexact" in records.columns:
        exact &= ~pl.col("inexact").fill_null(False)
    seen = pl.col("known_batch").list.first()
    records = records.filter(exact & seen.is_not_null() & (seen <= settled) & (pl.col("step") == "champion"))
    if not records.height:
        raise NotFoundError("there is no exact live answer to falsify.", hint="ask for one: holdfast serve")
    last = records.sort("answered_us")
    newest = last["bundle"][-1]
    last = last.filter(pl.col("bundle") == newest).tail(TRIAL_RECORDS)
    bundle = wiring.open_bundle(newest)
    batch = int(np.max(last["known_batch"].list.first().to_numpy()))
    tables = {
        name: rows.with_columns(pl.lit("measured").alias(BASIS), pl.lit(0, pl.Int64).alias(ARRIVED))
        for name, rows in visible_rows(bundle.plan, last["t_us"], wiring.lake, batch)
    }
    score = _Bundles(wiring).scorer(bundle)
    return try_parity(last, bundle.plan, score, Scratch(tables), settled=settled)


def _records(wiring: Wiring, since: int | None, model: str | None) -> tuple[int, pl.DataFrame]:
    """Return up to which batch the lake is whole, and the records to look at."""
    lake = wiring.lake
    if lake.version(PREDICTIONS) is None:
        raise NotFoundError("nothing was answered yet.", hint="holdfast serve, or holdfast predict MODEL")
    settled = settled_in_lake(wiring)  # before the tables are read: rows are only ever added
    where = pl.lit(True)
    if since is not None:
        where &= pl.col("answered_us") >= since
    if model is not None:
        where &= pl.col("model") == model
    records = lake.read(PREDICTIONS, where=where)
    return settled, records.select([c for c in (*_COLUMNS, "inexact") if c in records.columns])


def _groups(
    records: pl.DataFrame, found: _Bundles
) -> Iterator[tuple[Bundle | None, FeaturePlan | None, pl.DataFrame]]:
    """Yield records of one bundle and plan each; answers by rules name the plan alone."""
    keys = ["model", "bundle", "plan"]
    for (model, name, plan), group in records.partition_by(keys, as_dict=True, maintain_order=True).items():
        if name:
            bundle = found.open(str(name))
            yield bundle, bundle.plan, group
        else:
            yield None, found.plan_of(str(model), str(plan)), group


@dataclass
class _Bundles:
    """Bundles of this project, opened once."""

    wiring: Wiring
    opened: dict[str, Bundle] = field(default_factory=dict)

    def open(self, name: str) -> Bundle:
        """Return a bundle, every file verified."""
        if name not in self.opened:
            self.opened[name] = self.wiring.open_bundle(name)
        return self.opened[name]

    def plan_of(self, model: str, fingerprint: str) -> FeaturePlan | None:
        """Return a plan of a version of the model, by its fingerprint."""
        if not fingerprint:
            return None
        for version in self.wiring.registry.list_versions(model):
            plan = self.open(version.bundle).plan
            if plan.fingerprint == fingerprint:
                return plan
        return None

    def scorer(self, bundle: Bundle | None) -> Score:
        """Return what scores rows by the runtime that a record names."""
        from holdfast.adapters.lightgbm.row import LightGBMRows

        rows: dict[str, RowPredictor] = {}

        def score(runtime: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
            assert bundle is not None
            if runtime == bundle.manifest.runtime.name:
                return np.asarray(bundle.predictor.predict(x), np.float64)
            if runtime not in rows:
                files = self.wiring.bundles.load(bundle.name)
                opened = open_bundle(files, (LightGBMRows(runtime),))
                rows[runtime] = cast("RowPredictor", opened.predictor)
            one = rows[runtime].score
            return np.array([one(np.ascontiguousarray(row)) for row in x], np.float64)

        return score
