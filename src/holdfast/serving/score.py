"""Scores of rows that are asked together: features from one snapshot, the champion, then what is below it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.events.row import Stored
from holdfast.features.ports import OnlineSnapshot
from holdfast.kernel.errors import HoldfastError
from holdfast.serving.live import LiveModel, RowFeatures, Rules
from holdfast.serving.record import Step
from holdfast.serving.route import Fallback, Route

Floats = NDArray[np.float64]


class Scored(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Who answered a row, with which features.

    Attributes
    ----------
    live : the version that answered, or None for rules and constants
    reads : the features that were read; none for a constant
    x : (k,) float64 as used, NaN where missing
    missing : names of the features that are missing
    degraded : whether the online state could not be read
    batch : the last batch that was seen, or None without a state
    """

    step: Step
    score: float
    live: LiveModel | None = None
    reads: RowFeatures | None = None
    x: Floats | None = None
    missing: tuple[str, ...] = ()
    inexact: bool = False
    degraded: bool = False
    batch: int | None = None


def score_rows(
    route: Route,
    rows: Sequence[Stored],
    snapshot: OnlineSnapshot | None,
    ticks: Callable[[], int],
) -> tuple[list[Scored | None], int]:
    """Return who answers each row, None where nothing can, and when the features were there.

    Parameters
    ----------
    rows : stored values, one or more
    snapshot : of the online state; None where it cannot be read
    ticks : nanoseconds of a clock that only measures durations
    """
    champion = route.champion
    ready = ticks()
    found: list[Scored | None] = [None] * len(rows)
    if champion is not None:
        found, ready = _step("champion", champion, champion, champion.features, route, rows, snapshot, ticks)
    for place, scored in enumerate(found):
        if scored is None:
            found[place] = _below(route, rows[place], snapshot, ticks)
    return found, ready


def _step(
    step: Step,
    scorer: LiveModel | Rules,
    live: LiveModel | None,
    reads: RowFeatures,
    route: Route,
    rows: Sequence[Stored],
    snapshot: OnlineSnapshot | None,
    ticks: Callable[[], int],
) -> tuple[list[Scored | None], int]:
    time_column = route.gate.time_column
    block = reads.evaluate(rows, snapshot, [row[time_column] for row in rows])
    ready = ticks()
    score = scorer.score
    found: list[Scored | None] = []
    for x, missing, inexact, degraded in zip(
        block.x, reads.missing(block.x), block.inexact, block.degraded, strict=True
    ):
        try:
            value = score(x)
        except HoldfastError:
            found.append(None)
            continue
        if not math.isfinite(value):
            found.append(None)
            continue
        batch = None if degraded else block.batch
        found.append(Scored(step, value, live, reads, x, missing, inexact, degraded, batch))
    return found, ready


def _below(
    route: Route, row: Stored, snapshot: OnlineSnapshot | None, ticks: Callable[[], int]
) -> Scored | None:
    """Return the first step below the champion that can answer."""
    for below in route.ladder:
        if below.constant is not None:
            return Scored(below.step, below.constant)
        scored = _answer_of(below, route, row, snapshot, ticks)
        if scored is not None:
            return scored
    return None


def _answer_of(
    below: Fallback, route: Route, row: Stored, snapshot: OnlineSnapshot | None, ticks: Callable[[], int]
) -> Scored | None:
    scorer = below.live or below.rules
    reads = below.features if below.live is None else below.live.features
    assert scorer is not None
    assert reads is not None
    (scored,), _ = _step(below.step, scorer, below.live, reads, route, [row], snapshot, ticks)
    return scored
