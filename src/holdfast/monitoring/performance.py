"""Performance: recorded predictions beside the outcomes that have matured, and beside what was expected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.datasets.forecast import BASELINE, SCALE
from holdfast.datasets.label import Label, attach_labels
from holdfast.datasets.spine import HORIZON, KNOWN_AT, ROW_KEY, T
from holdfast.events.source import Source
from holdfast.kernel.time import DAY, SECOND
from holdfast.training.forecast import at_each, in_series
from holdfast.training.metric import Interval, Scored, Task, evaluate, evaluate_with_intervals, task_of
from holdfast.training.policy import Bands

RETRY_US = 60 * SECOND
"""How long after the first answer another attempt is a retry of it, and its answer the one that counts."""

_SCORE, _DECISION, _EXPOSURE, _Y = "_score", "_decision", "_exposure", "_y"
_ANSWERS = {
    "key": ROW_KEY, "t_us": T, "known_at_us": KNOWN_AT,
    "score": _SCORE, "decision": _DECISION, "exposure": _EXPOSURE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day of event time: mature records, positive ones, and metrics without intervals."""

    start: int
    mature: int
    positives: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Horizon:
    """One horizon of a forecast: its mature records, and values by name, None where not defined.

    Attributes
    ----------
    horizon : steps after the origin, from 1
    metrics, baseline : measured, of the version and of the project's baseline on the same rows
    expected : as the version was registered with at this horizon
    """

    horizon: int
    mature: int
    metrics: dict[str, float | None]
    baseline: dict[str, float | None]
    expected: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Performance:
    """Measured metrics of one version over an interval.

    Attributes
    ----------
    since, until : microseconds of event time, half-open
    predictions, mature : records in the interval, and those whose outcome is decided
    positives : mature records with a positive outcome
    by_decision : for each recommendation, mature records and positives among them
    metrics : with 95 % intervals
    expected : the same metrics as registered with the version
    days : the same by day, oldest first
    learnt_from
        Mature records whose row lies before the end of what the version learnt from: they flatter it.
    waiting : records whose outcome is not decided yet
    censored : records whose decision prevented the outcome
    late
        Mature records with an outcome that arrived after their label was fixed. It is not counted: the record
        keeps the label it had.
    horizon : microseconds after which a label is fixed
    task : kind of label; positives are counted where it is above 0
    as_of : what had arrived by then is known, microseconds
    baseline : the metrics of the project's baseline on the same rows; empty unless the model forecasts
    horizons : the same at each horizon that has mature records; empty unless the model forecasts
    """

    model: str
    version: int
    since: int
    until: int
    predictions: int
    mature: int
    positives: int
    by_decision: dict[str, tuple[int, int]]
    metrics: dict[str, Interval]
    expected: dict[str, Interval]
    days: tuple[Day, ...] = ()
    learnt_from: int = 0
    waiting: int = 0
    censored: int = 0
    late: int = 0
    horizon: int = 0
    task: Task = "binary"
    as_of: int = 0
    baseline: dict[str, float | None] = field(default_factory=dict)
    horizons: tuple[Horizon, ...] = ()


def answers_of(records: pl.DataFrame) -> pl.DataFrame:
    """Return the answer to each key that its outcome belongs to.

    That is the first one that no fallback gave and that was not in the shadow; where it was retried within
    `RETRY_US`, the last attempt.
    """
    given = records.filter((pl.col("step") == "champion") & (pl.col("exposure") != "shadow"))
    first = pl.col("answered_us").min().over("key")
    tried = given.filter(pl.col("answered_us") <= first + RETRY_US).sort("answered_us", "attempt")
    return tried.unique("key", keep="last", maintain_order=True)


def measure(
    model: str,
    version: int,
    records: pl.DataFrame,
    spine: pl.DataFrame,
    label: Label,
    source: Source,
    outcomes: pl.DataFrame,
    *,
    as_of: int,
    k: int,
    expected: Mapping[str, Interval],
    learnt_until: int | None = None,
    entity: Sequence[str] = (),
    about: str | None = None,
    task: Task | None = None,
    expected_at: Mapping[int, Mapping[str, float | None]] | None = None,
    policy: Bands | None = None,
    seed: int = 0,
) -> Performance:
    """Join prediction records with outcomes as they had arrived at `as_of`, and measure.

    Parameters
    ----------
    records : rows of the prediction table; `answers_of` says which of them count
    spine
        Rows with the label's key column, ``_t``, ``_known_at`` and ``_key``, one for each record; of a
        forecast also ``horizon``, ``_scale`` and ``_baseline``, as a dataset has them.
    outcomes : rows of the label's source
    learnt_until : end of the train and validation parts the version was made from, microseconds
    entity : key columns of a grid's rows
    about : column of the instant a row is about; none means its own time
    task : kind of label; none finds it from the outcomes
    expected_at : metrics registered with the version at each horizon
    policy : its bands, whose order recommendations are listed in
    """
    last = answers_of(records)
    # A row may have columns called as those of a record, but none that begins with an underscore.
    answers = last.select(pl.col(name).alias(own) for name, own in _ANSWERS.items())
    joined = answers.join(spine.drop(T, KNOWN_AT), on=ROW_KEY, how="inner", maintain_order="left")
    acted = joined.filter(pl.col(_EXPOSURE) == "served").select(ROW_KEY, decision=_DECISION)
    timed = joined if about is None else joined.with_columns(pl.col(about).alias(T))
    labels = attach_labels(timed, label, source, outcomes, as_of=as_of, decisions=acted, entity=entity)
    mature = joined.with_columns(labels.values.alias(_Y)).filter(labels.fates == "labelled")
    y = mature[_Y].to_numpy().astype(np.float64)
    scored = Scored(y, mature[_SCORE].to_numpy(), np.ones(len(y)), mature[T].to_numpy() // DAY, k)
    naive: dict[str, float | None] = {}
    horizons: tuple[Horizon, ...] = ()
    if SCALE in mature.columns and len(y):
        scored = in_series(scored, mature, entity)
        trivial = replace(scored, score=mature[BASELINE].to_numpy().astype(np.float64))
        naive = {name: _defined(value) for name, value in evaluate(trivial, "regression").items()}
        horizons = _by_horizon(mature[HORIZON].to_numpy(), scored, trivial, expected_at or {})
    by_decision = {
        str(name or "none"): (int(n), int(positive))
        for name, n, positive in mature.group_by(_DECISION, maintain_order=True)
        .agg(pl.len(), (pl.col(_Y) > 0).sum().alias("positives"))
        .iter_rows()
    }
    if policy is not None:
        by_decision = {name: by_decision[name] for name in policy.in_order(by_decision)}
    times = last["t_us"].sort()
    return Performance(
        model,
        version,
        times[0] if len(times) else 0,
        times[-1] + 1 if len(times) else 0,
        last.height,
        len(y),
        int((y > 0).sum()),
        by_decision,
        evaluate_with_intervals(scored, task or task_of(y), seed=seed) if len(y) else {},
        dict(expected),
        _by_day(scored, task or task_of(y)) if len(y) else (),
        0 if learnt_until is None else int((mature[T] < learnt_until).sum()),
        labels.count("immature"),
        labels.count("censored"),
        int(labels.late.sum()),
        label.horizon,
        task or task_of(y),
        as_of,
        naive,
        horizons,
    )


def _by_horizon(
    horizon: NDArray[np.int64],
    scored: Scored,
    trivial: Scored,
    expected: Mapping[int, Mapping[str, float | None]],
) -> tuple[Horizon, ...]:
    return tuple(
        Horizon(at.horizon, at.rows, at.metrics, at.baseline, dict(expected.get(at.horizon, {})))
        for at in at_each(horizon, scored, trivial)
    )


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _by_day(scored: Scored, task: Task) -> tuple[Day, ...]:
    days = []
    for number in np.unique(scored.day):
        on = scored.day == number
        part = Scored(
            scored.y[on], scored.score[on], scored.weight[on], scored.day[on], scored.k,
            series=None if scored.series is None else scored.series[on],
            scale=None if scored.scale is None else scored.scale[on],
        )  # fmt: skip
        found = evaluate(part, task)
        days.append(Day(int(number) * DAY, int(on.sum()), int((part.y > 0).sum()), found))
    return tuple(days)
