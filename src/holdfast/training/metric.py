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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.kernel.errors import NotFoundError, did_you_mean

Task = Literal["binary", "regression"]
Floats = NDArray[np.float64]
Evaluator = Callable[[Floats], float]
"""From (n,) weights to the metric's value."""

LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 where a logarithm is taken."""
BINS = 10
"""Bins of the calibration error and of the reliability table."""
REPEATS = 200
"""Bootstrap replicates of an interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """What each row costs if answered wrongly, and how the decision policy answered it.

    Attributes
    ----------
    acted : (n,) whether the policy acts on the row
    false_alarm : cost of acting on a negative row
    missed : (n,) cost of not acting on the row if it is positive
    """

    acted: NDArray[np.bool_]
    false_alarm: float
    missed: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Rows with their outcome and their score.

    Attributes
    ----------
    y : (n,) labels
    score : (n,) finite scores; for binary labels the probability of the positive class
    weight : (n,) non-negative; how many rows each one stands for
    day : (n,) number of the row's day
    k : rows a day for `precision@k/day`
    """

    y: Floats
    score: Floats
    weight: Floats
    day: NDArray[np.int64]
    k: int = 100
    costs: Costs | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the bounds of its 95 % interval; None where not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows of similar score: what was predicted for them and what came of it.

    Attributes
    ----------
    low, high : least and greatest score in the bin
    weight : total weight of its rows
    score, share : weighted means of score and label
    """

    low: float
    high: float
    weight: float
    score: float
    share: float


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the registry.

    Attributes
    ----------
    better : which way is better; ``one`` means nearest to 1
    task : kind of label it is defined for
    prepare : returns the function of the weights for those rows
    """

    name: str
    better: Literal["higher", "lower", "one"]
    task: Task
    doc: str
    prepare: Callable[[Scored], Evaluator]


# ----------------------------------------------------------------------------------------------- ranking
def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else math.nan


def _dot(a: Floats, b: Floats) -> float:
    """Sum of products, the same for any number of threads (which BLAS does not promise)."""
    return float(np.einsum("i,i->", a, b))


def _runs(*keys: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First position, and position after the last, of each sorted row's run of equal keys."""
    fresh = np.zeros(len(keys[0]), dtype=np.bool_)
    fresh[:1] = True
    for key in keys:
        fresh[1:] |= key[1:] != key[:-1]
    starts = np.flatnonzero(fresh)
    lengths = np.diff(starts, append=len(fresh))
    return np.repeat(starts, lengths), np.repeat(starts + lengths, lengths)


def _sums(values: Floats) -> Floats:
    """Return (n + 1,) sums of the values before each position."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def _average_precision(rows: Scored) -> Evaluator:
    order = np.argsort(-rows.score, kind="stable")
    is_positive = rows.y[order] > 0
    positives = order[is_positive]
    seen = _runs(rows.score[order])[1][is_positive]  # rows that score at least as much as each positive,
    hit = _runs(rows.score[positives])[1]  # and how many of them are positive

    def evaluate(weight: Floats) -> float:
        w = weight[positives]
        hits, reached = _sums(w), _sums(weight[order])[seen]
        precision = np.divide(hits[hit], reached, out=np.zeros_like(reached), where=reached > 0)
        return _ratio(_dot(w, precision), float(hits[-1]))

    return evaluate


def _auc(rows: Scored) -> Evaluator:
    positives, negatives = np.flatnonzero(rows.y > 0), np.flatnonzero(rows.y <= 0)
    negatives = negatives[np.argsort(rows.score[negatives], kind="stable")]
    lower = np.searchsorted(rows.score[negatives], rows.score[positives], side="left")
    upper = np.searchsorted(rows.score[negatives], rows.score[positives], side="right")

    def evaluate(weight: Floats) -> float:
        w, below = weight[positives], _sums(weight[negatives])
        won = (below[lower] + below[upper]) / 2
        return _ratio(_dot(w, won), float(w.sum() * below[-1]))

    return evaluate


def _precision_per_day(rows: Scored) -> Evaluator:
    order = np.lexsort((-rows.score, rows.day))
    is_positive = rows.y[order] > 0
    positives, n_positives = order[is_positive], np.append(0, np.cumsum(is_positive))
    tie_starts, tie_ends = _runs(rows.day[order], rows.score[order])
    starts, ends = (np.unique(edges) for edges in _runs(rows.day[order]))

    def evaluate(weight: Floats) -> float:
        seen, hits = _sums(weight[order]), _sums(weight[positives])[n_positives]
        full = np.searchsorted(seen[1:], seen[starts] + rows.k)  # the row that takes the last place
        taken, found = seen[ends] - seen[starts], hits[ends] - hits[starts]
        cut = full < ends
        first, last = tie_starts[full[cut]], tie_ends[full[cut]]
        left = rows.k - (seen[first] - seen[starts[cut]])
        share = (hits[last] - hits[first]) / (seen[last] - seen[first])
        found[cut] = hits[first] - hits[starts[cut]] + left * share
        taken[cut] = rows.k
        has_rows = taken > 0
        return float(np.mean(found[has_rows] / taken[has_rows])) if has_rows.any() else math.nan

    return evaluate


# ----------------------------------------------------------------------------------------- probabilities
def _mean_of(value: Callable[[Scored], Floats]) -> Callable[[Scored], Evaluator]:
    def prepare(rows: Scored) -> Evaluator:
        values = value(rows)
        return lambda weight: _ratio(_dot(weight, values), float(weight.sum()))

    return prepare


def _log_loss(rows: Scored) -> Floats:
    p = np.clip(rows.score, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return -(rows.y * np.log(p) + (1 - rows.y) * np.log1p(-p))


def _bins(rows: Scored, n_bins: int) -> NDArray[np.intp]:
    """Bin of each row: equal weight in each as far as ties allow, equal scores together."""
    order = np.argsort(rows.score, kind="stable")
    first, last = _runs(rows.score[order])
    upto = _sums(rows.weight[order])
    whole = upto[-1] if upto[-1] > 0 else 1.0
    bins = np.empty(len(order), dtype=np.intp)
    bins[order] = np.minimum((upto[first] + upto[last]) / 2 / whole * n_bins, n_bins - 1)
    return bins


def _calibration(rows: Scored) -> Evaluator:
    bins, gap = _bins(rows, BINS), rows.y - rows.score

    def evaluate(weight: Floats) -> float:
        gaps = np.bincount(bins, weights=weight * gap, minlength=BINS)
        return _ratio(float(np.abs(gaps).sum()), float(weight.sum()))

    return evaluate


def _calibration_slope(rows: Scored) -> Evaluator:
    p = np.clip(rows.score, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    x, is_positive = np.log(p) - np.log1p(-p), rows.y > 0
    order = np.argsort(x, kind="stable")
    positives, negatives = order[is_positive[order]], order[~is_positive[order]]
    whole = _logistic(x, rows.y, rows.weight, 0.0, 1.0) if len(x) else (math.nan, math.nan)
    start = (0.0, 1.0) if math.isnan(whole[1]) else whole

    def evaluate(weight: Floats) -> float:
        above, below = positives[weight[positives] > 0], negatives[weight[negatives] > 0]
        if not len(above) or not len(below):
            return math.nan
        if x[above[0]] >= x[below[-1]] or x[above[-1]] <= x[below[0]]:
            return math.nan  # separated: the likelihood has no greatest value (Albert and Anderson 1984)
        return _logistic(x, rows.y, weight, *start)[1]

    return evaluate


def _logistic(x: Floats, y: Floats, w: Floats, a: float, b: float) -> tuple[float, float]:
    """Intercept and slope of greatest likelihood; NaN if it cannot be found."""
    found = _newton(x, y, w, a, b, damped=False)
    return _newton(x, y, w, 0.0, 0.0, damped=True) if math.isnan(found[1]) else found


def _newton(x: Floats, y: Floats, w: Floats, a: float, b: float, *, damped: bool) -> tuple[float, float]:
    """Newton's method for weighted logistic regression; damped, it halves steps that raise the loss."""
    wx = w * x
    wy, wxy = _dot(w, y), _dot(wx, y)

    def loss(a: float, b: float) -> float:
        return _dot(w, np.logaddexp(0.0, a + b * x)) - a * wy - b * wxy

    for _ in range(100 if damped else 10):
        p = 1 / (1 + np.exp(np.clip(-a - b * x, -700, 700)))
        g0, g1 = wy - _dot(w, p), wxy - _dot(wx, p)
        p *= 1 - p
        h00, h01 = _dot(w, p), _dot(wx, p)
        p *= x
        h11 = _dot(wx, p)
        determinant = h00 * h11 - h01 * h01
        if not determinant > 0:
            return math.nan, math.nan
        step_a, step_b = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        if damped:
            now, halvings = loss(a, b), 0
            while loss(a + step_a, b + step_b) > now + 1e-12 * abs(now) and halvings < 40:
                step_a, step_b, halvings = step_a / 2, step_b / 2, halvings + 1
        a, b = a + step_a, b + step_b
        if abs(step_a) + abs(step_b) < 1e-5 * (1 + abs(a) + abs(b)):
            return a, b  # the error is of the order of the last step's square
    return math.nan, math.nan


def _cost(rows: Scored) -> Floats:
    if rows.costs is None:
        return np.full(len(rows.y), math.nan)
    wrong = np.where(rows.costs.acted, rows.costs.false_alarm, rows.costs.missed)
    return np.where(rows.costs.acted == (rows.y > 0), 0.0, wrong)


# -------------------------------------------------------------------------------------------- regression
def _rmse(rows: Scored) -> Evaluator:
    squares = (rows.y - rows.score) ** 2
    return lambda weight: math.sqrt(_ratio(_dot(weight, squares), float(weight.sum())))


def _wape(rows: Scored) -> Evaluator:
    off, size = np.abs(rows.y - rows.score), np.abs(rows.y)
    return lambda weight: _ratio(_dot(weight, off), _dot(weight, size))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "average_precision",
            "higher",
            "binary",
            "sum over falling scores of the gain in recall times the precision reached, rows of equal score "
            "together; no interpolation (Manning, Raghavan and Schütze 2008, section 8.4)",
            _average_precision,
        ),
        Metric(
            "auc",
            "higher",
            "binary",
            "probability that a positive row scores above a negative one, ties counting one half "
            "(Mann and Whitney 1947; Hanley and McNeil 1982)",
            _auc,
        ),
        Metric(
            "precision@k/day",
            "higher",
            "binary",
            "mean over days (UTC) of the share of positives among the k highest scores of the day; a row of "
            "weight w takes w of the k places, rows tied at the last place share it in proportion, and a day "
            "with fewer rows uses what it has",
            _precision_per_day,
        ),
        Metric(
            "log_loss",
            "lower",
            "binary",
            "mean negative logarithm of the probability given to what happened, in nats (Good 1952)",
            _mean_of(_log_loss),
        ),
        Metric(
            "brier",
            "lower",
            "binary",
            "mean squared difference of probability and outcome (Brier 1950)",
            _mean_of(lambda rows: (rows.y - rows.score) ** 2),
        ),
        Metric(
            "calibration",
            "lower",
            "binary",
            "expected calibration error: mean distance of predicted and observed share over ten bins of "
            "equal weight (Naeini, Cooper and Hauskrecht 2015; equal weight: Nguyen and O'Connor 2015)",
            _calibration,
        ),
        Metric(
            "calibration_slope",
            "one",
            "binary",
            "slope of a logistic regression of the outcome on the logit of the score; below 1 the scores are "
            "too extreme (Cox 1958)",
            _calibration_slope,
        ),
        Metric(
            "cost",
            "lower",
            "binary",
            "mean declared cost of a row under the decision policy",
            _mean_of(_cost),
        ),
        Metric("rmse", "lower", "regression", "square root of the mean squared error", _rmse),
        Metric(
            "mae",
            "lower",
            "regression",
            "mean absolute error",
            _mean_of(lambda rows: np.abs(rows.y - rows.score)),
        ),
        Metric(
            "wape",
            "lower",
            "regression",
            "sum of absolute errors over the sum of absolute outcomes (Kolassa and Schütz 2007)",
            _wape,
        ),
    )
}
"""Every metric. `precision@k/day` appears under its k: ``precision@100/day``."""

_PER_DAY = re.compile(r"precision@[1-9][0-9]*/day")


def get_metric(name: str) -> Metric:
    """Return the metric of that name; ``precision@100/day`` is `precision@k/day`.

    Raises
    ------
    NotFoundError
        If there is none; the hint names the nearest.
    """
    found = METRICS.get("precision@k/day" if _PER_DAY.fullmatch(name) else name)
    if found is None or name == "precision@k/day":
        names = tuple("precision@100/day" if known == "precision@k/day" else known for known in METRICS)
        raise NotFoundError(
            f"there is no metric `{name}`.", code="HF102", has=names, hint=did_you_mean(name, names)
        )
    return found


def task_of(labels: Floats) -> Task:
    """Return ``binary`` if every label is 0 or 1, else ``regression``."""
    return "binary" if bool(np.all((labels == 0) | (labels == 1))) else "regression"


def metric_names(task: Task, k: int, has_costs: bool) -> tuple[str, ...]:
    """Names of the metrics of such rows, in order."""
    return tuple(
        f"precision@{k}/day" if name == "precision@k/day" else name
        for name, metric in METRICS.items()
        if metric.task == task and (name != "cost" or has_costs)
    )


def _prepare(rows: Scored, task: Task) -> dict[str, Evaluator]:
    names = metric_names(task, rows.k, rows.costs is not None)
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
    one entity is not part of the interval. Bins of the calibration error stay those of the rows themselves.
    Resampling adds noise, which biases the calibration error upwards; where a value lies outside its
    percentiles the interval is widened to hold it. Replicates where a metric is not defined are left out;
    if more than half are, there is no interval. O(n log n) once, then O(n) for each replicate.
    """
    evaluators = _prepare(rows, task)
    found: dict[str, list[float]] = {name: [] for name in evaluators}
    values = {name: value(rows.weight) for name, value in evaluators.items()}
    draw = _poisson_counts(len(rows.y), seed)
    for _ in range(repeats):
        weight = rows.weight * draw()
        for name, value in evaluators.items():
            found[name].append(value(weight))
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


def reliability(rows: Scored, n_bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Return the reliability table: bins of equal weight by rising score, empty ones left out.

    Notes
    -----
    The table behind a reliability diagram (DeGroot and Fienberg 1983) and behind the calibration error.
    """
    bins, table = _bins(rows, n_bins), []
    for number in np.unique(bins):
        inside = bins == number
        weight, score = rows.weight[inside], rows.score[inside]
        total = float(weight.sum())
        if total > 0:
            table.append(
                ReliabilityBin(
                    low=float(score.min()),
                    high=float(score.max()),
                    weight=total,
                    score=_dot(weight, score) / total,
                    share=_dot(weight, rows.y[inside]) / total,
                )
            )
    return tuple(table)


def as_values(metrics: Mapping[str, Interval]) -> dict[str, float]:
    """Return the values alone, NaN where not defined, as gates judge them."""
    return {name: math.nan if found.value is None else found.value for name, found in metrics.items()}
