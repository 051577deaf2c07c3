"""How requests for a model are answered: what is accepted, which version answers, and what does instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.events.row import RowJudge, Stored
from holdfast.kernel.time import MINUTE
from holdfast.serving.live import LiveModel, RowFeatures, Rules
from holdfast.serving.record import Step
from holdfast.training.policy import Bands

AHEAD: Final = 5 * MINUTE
"""How far after the clock an event's own time may lie."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One source as it is accepted live.

    Attributes
    ----------
    id_column, time_column : names of the columns that identify and date an event
    known_ahead : whether an event's time may lie far after the clock
    """

    source: str
    judge: RowJudge
    id_column: str
    time_column: str
    known_ahead: bool = False

    def is_future(self, row: Stored, now: int) -> bool:
        """Whether an event happens later than it may."""
        return not self.known_ahead and row[self.time_column] > now + AHEAD


@dataclass(frozen=True, slots=True, eq=False)
class Fallback:
    """One step below the champion: an earlier version, rules over features, or a constant.

    Attributes
    ----------
    features : what rules read; none for a constant
    """

    step: Step
    live: LiveModel | None = None
    rules: Rules | None = None
    features: RowFeatures | None = None
    constant: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """How requests for one model are answered; replaced as a whole when anything changes.

    Attributes
    ----------
    champion : the version that answers, or None where it could not be loaded
    ladder : what answers instead, in order
    holdout : share of requests whose recommendation nobody acts upon
    policy : decisions where no version answers
    score_name : key of the score in an answer
    """

    model: str
    gate: Gate
    champion: LiveModel | None
    ladder: tuple[Fallback, ...] = ()
    holdout: float = 0.0
    policy: Bands | None = None
    score_name: str = "risk_score"
