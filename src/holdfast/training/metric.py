"""Metrics of scored rows with weights, and bootstrap intervals for them.

A metric is prepared once for its rows (sorted, grouped by ties) and is then a function of the weights alone,
so that an interval costs 200 evaluations and no second sort. Every value is a pure function of the multiset
of rows: their order never matters, ties included, and NaN says that the value is not defined.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.kernel.errors import NotFoundError, did_you_mean
from holdfast.training.calibration import calibration, calibration_slope, log_loss
from holdfast.training.ranking import auc, average_precision, precision_per_day, precision_per_entity
from holdfast.training.scored import Costs, Evaluator, Floats, Scored, dot, mean_of, ratio

__all__ = [
    "METRICS",
    "Costs",
    "Interval",
    "Metric",
    "Scored",
    "Task",
    "as_values",
    "evaluate",
    "evaluate_with_intervals",
    "find_metric",
    "get_metric",
    "metric_names",
    "shown_name",
    "task_of",
]

Task = Literal["binary", "regression"]
REPEATS = 200
"""Bootstrap replicates of an interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the bounds of its 95 % interval; None where not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the registry.

    Attributes
    ----------
    better : which way is better; ``one`` means nearest to 1
    task : kind of label it is defined for
    prepare : returns the function of the weights for those rows
    unit : what an interval resamples: rows, or entities with all their rows
    range : least and greatest value it can have
    """

    name: str
    better: Literal["higher", "lower", "one"]
    task: Task
    doc: str
    prepare: Callable[[Scored], Evaluator]
    unit: Literal["row", "entity"] = "row"
    range: tuple[float, float] = (-math.inf, math.inf)


def _cost(rows: Scored) -> Floats:
    if rows.costs is None:
        return np.full(len(rows.y), math.nan)
    wrong = np.where(rows.costs.acted, rows.costs.false_alarm, rows.costs.missed)
    return np.where(rows.costs.acted == (rows.y > 0), 0.0, wrong)


def _rmse(rows: Scored) -> Evaluator:
    squares = (rows.y - rows.score) ** 2
    return lambda weight: math.sqrt(ratio(dot(weight, squares), float(weight.sum())))


def _wape(rows: Scored) -> Evaluator:
    off, size = np.abs(rows.y - rows.score), np.abs(rows.y)
    return lambda weight: ratio(dot(weight, off), dot(weight, size))


def _rmsse(rows: Scored) -> Evaluator:
    if rows.series is None or rows.scale is None:
        return lambda weight: math.nan
    has_scale = ~np.isnan(rows.scale)
    series, off = rows.series[has_scale], rows.y[has_scale] - rows.score[has_scale]
    scaled = off**2 / rows.scale[has_scale]

    def value(weight: Floats) -> float:
        given = weight[has_scale]
        total = np.bincount(series, given)
        there = total > 0
        mean = np.bincount(series, given * scaled)[there] / total[there]
        # A series that an interval draws twice counts twice, however many rows it has.
        rows_of = np.bincount(series)[there]
        share = total[there] / rows_of
        return ratio(dot(share, np.sqrt(mean)), float(share.sum()))

    return value


_SHARE, _POSITIVE = (0.0, 1.0), (0.0, math.inf)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "average_precision",
            "higher",
            "binary",
            "sum over falling scores of the gain in recall times the precision reached, rows of equal score "
            "together; no interpolation (Manning, Raghavan and Schütze 2008, section 8.4)",
            average_precision,
            range=_SHARE,
        ),
        Metric(
            "auc",
            "higher",
            "binary",
            "probability that a positive row scores above a negative one, ties counting one half "
            "(Mann and Whitney 1947; Hanley and McNeil 1982)",
            auc,
            range=_SHARE,
        ),
        Metric(
            "precision@k/day",
            "higher",
            "binary",
            "mean over days (UTC) of the share of positives among the k highest scores of the day; a row of "
            "weight w takes w of the k places, rows tied at the last place share it in proportion, and a day "
            "with fewer rows uses what it has",
            precision_per_day,
            range=_SHARE,
        ),
        Metric(
            "precision@k/day/entity",
            "higher",
            "binary",
            "mean over days (UTC) of the share of positives among the k entities of the highest scores of "
            "the day, an entity having the highest score and label of its rows of that day; an entity found "
            "on one day is no longer looked at on the days after. An entity takes as many places as the "
            "greatest weight of its rows, those tied at the last place share it in proportion and count as "
            "not found, and a day with fewer entities uses what it has (Dal Pozzolo 2015, card precision)",
            precision_per_entity,
            "entity",
            range=_SHARE,
        ),
        Metric(
            "log_loss",
            "lower",
            "binary",
            "mean negative logarithm of the probability given to what happened, in nats (Good 1952)",
            mean_of(log_loss),
            range=_POSITIVE,
        ),
        Metric(
            "brier",
            "lower",
            "binary",
            "mean squared difference of probability and outcome (Brier 1950)",
            mean_of(lambda rows: (rows.y - rows.score) ** 2),
            range=_SHARE,
        ),
        Metric(
            "calibration",
            "lower",
            "binary",
            "expected calibration error: mean distance of predicted and observed share over ten bins of "
            "equal weight (Naeini, Cooper and Hauskrecht 2015; equal weight: Nguyen and O'Connor 2015)",
            calibration,
            range=_SHARE,
        ),
        Metric(
            "calibration_slope",
            "one",
            "binary",
            "slope of a logistic regression of the outcome on the logit of the score; below 1 the scores are "
            "too extreme (Cox 1958)",
            calibration_slope,
        ),
        Metric(
            "cost",
            "lower",
            "binary",
            "mean declared cost of a row under the decision policy",
            mean_of(_cost),
        ),
        Metric(
            "rmse", "lower", "regression", "square root of the mean squared error", _rmse, range=_POSITIVE
        ),
        Metric(
            "mae",
            "lower",
            "regression",
            "mean absolute error",
            mean_of(lambda rows: np.abs(rows.y - rows.score)),
            range=_POSITIVE,
        ),
        Metric(
            "wape",
            "lower",
            "regression",
            "sum of absolute errors over the sum of absolute outcomes (Kolassa and Schütz 2007)",
            _wape,
            range=_POSITIVE,
        ),
        Metric(
            "rmsse",
            "lower",
            "regression",
            "mean over series of the root of the mean squared error, scaled by the mean squared step of the "
            "series from one instant to the next over the training part; series that never move there are "
            "left out (Makridakis, Spiliotis and Assimakopoulos 2022)",
            _rmsse,
            range=_POSITIVE,
        ),
    )
}
"""Every metric. `precision@k/day` appears under its k, ``precision@100/day``, and that of entities under the
name of the entity too, ``precision@100/day/card``."""

_PER_DAY = re.compile(r"precision@[1-9][0-9]*/day(/\w+)?")


def shown_name(name: str, k: int, per: str = "") -> str:
    """Return the name under which a metric of the registry appears; `per` is the name of the entity."""
    if name == "precision@k/day/entity":
        return f"precision@{k}/day/{per or 'entity'}"
    return f"precision@{k}/day" if name == "precision@k/day" else name


def _known_name(name: str) -> str:
    match = _PER_DAY.fullmatch(name)
    if match is None:
        return name
    return "precision@k/day/entity" if match[1] else "precision@k/day"


def get_metric(name: str) -> Metric:
    """Return the metric of that name; ``precision@100/day`` is `precision@k/day`, and so with an entity.

    Raises
    ------
    NotFoundError
        If there is none; the hint names the nearest.
    """
    found = METRICS.get(_known_name(name))
    if found is None or name.startswith("precision@k/"):
        names = tuple(shown_name(known, 100) for known in METRICS)
        raise NotFoundError(
            f"there is no metric `{name}`.", code="HF102", has=names, hint=did_you_mean(name, names)
        )
    return found


def find_metric(name: str) -> Metric | None:
    """Return the metric of that name, as `get_metric` does, or None."""
    return METRICS.get(_known_name(name))


def task_of(labels: Floats) -> Task:
    """Return ``binary`` if every label is 0 or 1, else ``regression``."""
    return "binary" if bool(np.all((labels == 0) | (labels == 1))) else "regression"


def metric_names(
    task: Task, k: int, has_costs: bool, per: str = "", *, has_series: bool = False
) -> tuple[str, ...]:
    """Names of the metrics of such rows, in order; `per` is the name of the declared entity."""
    return tuple(
        shown_name(name, k, per)
        for name, metric in METRICS.items()
        if metric.task == task
        and (name != "cost" or has_costs)
        and (name != "rmsse" or has_series)
        and (metric.unit == "row" or per)
    )


def _prepare(rows: Scored, task: Task) -> dict[str, Evaluator]:
    per = "" if rows.entity is None else rows.per
    names = metric_names(task, rows.k, rows.costs is not None, per, has_series=rows.scale is not None)
    return {name: get_metric(name).prepare(rows) for name in names}


def evaluate(rows: Scored, task: Task) -> dict[str, float]:
    """Return every metric of the rows, NaN where not defined."""
    return {name: value(rows.weight) for name, value in _prepare(rows, task).items()}


def evaluate_with_intervals(
    rows: Scored, task: Task, *, seed: int, repeats: int = REPEATS
) -> dict[str, Interval]:
    """Return every metric with its 95 % bootstrap interval.

    Parameters
    ----------
    seed : non-negative; the same seed and rows give the same interval

    Notes
    -----
    Percentile bootstrap over *rows* (Efron 1979) with Poisson counts in place of multinomial ones (Hanley and
    MacGibbon 2006): each replicate gives each row a weight of its own times a Poisson count of mean 1. Days
    and entities are not resampled, also not for the metric per day, so dependence between rows of one day or
    one entity is not part of the interval; only `precision@k/day/entity` resamples entities, each with all
    its rows. Rows of a forecast are resampled by series, each with all its origins and horizons, as those of
    one series go wrong together. Bins of the calibration error stay those of the rows themselves.
    Resampling adds noise, which biases the calibration error upwards; where a value lies outside its
    percentiles the interval is widened to hold it. Replicates where a metric is not defined are left out;
    if more than half are, there is no interval. O(n log n) once, then O(n) for each replicate.
    """
    evaluators = _prepare(rows, task)
    found: dict[str, list[float]] = {name: [] for name in evaluators}
    values = {name: value(rows.weight) for name, value in evaluators.items()}
    units = {name: get_metric(name).unit for name in evaluators}
    series = rows.series
    draw = _poisson_counts(len(rows.y) if series is None else int(series.max()) + 1, seed)
    draw_entities = _poisson_counts(0 if rows.entity is None else int(rows.entity.max()) + 1, seed + 1)
    for _ in range(repeats):
        weights = {"row": rows.weight * (draw() if series is None else draw()[series])}
        if rows.entity is not None:
            weights["entity"] = rows.weight * draw_entities()[rows.entity]
        for name, value in evaluators.items():
            found[name].append(value(weights[units[name]]))
    return {name: _interval(values[name], np.array(found[name])) for name in evaluators}


def _interval(value: float, replicates: Floats) -> Interval:
    if not math.isfinite(value):
        return Interval(None)
    defined = replicates[np.isfinite(replicates)]
    if not len(defined) or 2 * len(defined) < len(replicates):
        return Interval(value)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def _poisson_table() -> NDArray[np.float64]:
    """Poisson (mean 1) quantile of each of 65,536 equal steps of probability."""
    upto = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(12)])
    return np.searchsorted(upto, (np.arange(65_536) + 0.5) / 65_536).astype(np.float64)


def _poisson_counts(n: int, seed: int) -> Callable[[], Floats]:
    """Source of (n,) Poisson counts; it uses the raw stream of Philox, which numpy keeps stable."""
    stream, table = np.random.Philox(key=seed), _poisson_table()

    def draw() -> Floats:
        raw = stream.random_raw(max(1, -(-n // 4))).astype("<u8", copy=False)
        counts: Floats = table[raw.view("<u2")[:n]]
        return counts

    return draw


def as_values(metrics: Mapping[str, Interval]) -> dict[str, float]:
    """Return the values alone, NaN where not defined, as gates judge them."""
    return {name: math.nan if found.value is None else found.value for name, found in metrics.items()}
