"""What a caller is told, and what a process counts of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from holdfast.kernel.errors import Problem


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a caller is told.

    Attributes
    ----------
    recommendation
        What to do: the lowest band where the request is in the hold-out, so that its outcome is observable.
    holdout : whether it is; the record keeps what the policy decided
    degraded : whether features are missing because the online state could not be read
    inexact : whether a window reached back to before what is kept online, so that its value may differ
    repeat : whether this is the stored answer to the same request
    """

    prediction_id: str
    score: float
    recommendation: str | None
    model: str
    version: int
    step: str
    missing: tuple[str, ...]
    holdout: bool = False
    degraded: bool = False
    inexact: bool = False
    repeat: bool = False
    score_name: str = "risk_score"

    def to_data(self) -> dict[str, Any]:
        """Return the answer as a JSON object; marks that do not hold are left out."""
        told: dict[str, Any] = {"prediction_id": self.prediction_id, self.score_name: self.score}
        if self.recommendation is not None:
            told["recommendation"] = self.recommendation
        told |= {"model": self.model, "version": self.version, "step": self.step, "missing": self.missing}
        for mark in ("holdout", "degraded", "inexact", "repeat"):
            if getattr(self, mark):
                told[mark] = True
        return told


@dataclass(frozen=True, slots=True)
class RowVerdict:
    """What became of one event: its id where it was accepted, else the problem."""

    id: str | None
    problem: Problem | None = None


@dataclass(slots=True)
class Counters:
    """What this process has done since it started; whole numbers that only grow."""

    predictions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    missing: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    marks: Counter[tuple[str, str]] = field(default_factory=Counter)
    journal_bytes: int = 0
    batch: int = 0
