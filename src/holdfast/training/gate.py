"""Gates: criteria a run must pass to be registered, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True, slots=True)
class Gate:
    """``metric >= floor``, or ``metric >= champion * factor + margin`` when relative.

    Attributes
    ----------
    relative : compare with the champion's value of the same metric on the same test rows
    to : whose value a relative gate compares with: the champion's, or that of the trivial baseline
    """

    metric: str
    op: Literal[">=", "<=", ">", "<"]
    value: float = 0.0
    relative: bool = False
    factor: float = 1.0
    to: Literal["champion", "baseline"] = "champion"

    @property
    def needs_champion(self) -> bool:
        """Whether it cannot judge a first version."""
        return self.relative and self.to == "champion"

    def describe(self) -> str:
        """Return the gate as a person would write it."""
        if not self.relative:
            return f"{self.metric} {self.op} {self.value:g}"
        bound = self.to if self.factor == 1.0 else f"{self.to} * {self.factor:g}"
        if self.value:
            bound += f" {'-' if self.value < 0 else '+'} {abs(self.value):g}"
        return f"{self.metric} {self.op} {bound}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's outcome with the numbers that decided it, None where one is not defined.

    Attributes
    ----------
    reason : why it is not applicable, where that is not for want of a champion
    """

    gate: Gate
    outcome: Outcome
    found: float | None
    limit: float | None
    reason: str = ""


def evaluate_gate(
    gate: Gate,
    metrics: Mapping[str, float],
    champion: Mapping[str, float] | None,
    incomparable: str = "",
    baseline: Mapping[str, float] | None = None,
) -> GateResult:
    """Judge one gate; a missing or NaN metric fails, a relative gate without champion is not applicable.

    Parameters
    ----------
    incomparable : why the champion's values say nothing about it, if so
    baseline : values of the trivial model on the same rows
    """
    found = metrics.get(gate.metric)
    limit: float | None = gate.value
    if gate.relative:
        if gate.needs_champion and (champion is None or incomparable):
            return GateResult(gate, "not applicable", _defined(found), None, incomparable)
        reference = ((champion if gate.needs_champion else baseline) or {}).get(gate.metric)
        limit = None if reference is None else reference * gate.factor + gate.value
    found, limit = _defined(found), _defined(limit)
    if found is None or limit is None:
        return GateResult(gate, "failed", found, limit)
    passed = {">=": found >= limit, "<=": found <= limit, ">": found > limit, "<": found < limit}[gate.op]
    return GateResult(gate, "passed" if passed else "failed", found, limit)


def _defined(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
