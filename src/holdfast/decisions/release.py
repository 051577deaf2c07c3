"""Releases: the policy under which a version reaches traffic, as declared in the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.kernel.expr import Expr
from holdfast.registry.approval import ApprovalPolicy
from holdfast.training.gate import Gate
from holdfast.training.policy import Bands


@dataclass(frozen=True, slots=True)
class Canary:
    """Shares of traffic in percent, each held for `hold` microseconds, split by the key of `unit`."""

    steps: tuple[float, ...]
    hold: int
    unit: str


@dataclass(frozen=True, slots=True)
class Guard:
    """A limit on evidence during a release; `relative` compares with the champion."""

    evidence: Literal["errors", "p99", "prediction_shift", "kpi"]
    op: Literal["<=", "<", ">=", ">"]
    value: float
    name: str = ""
    relative: bool = False
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Fallback:
    """One step of the fallback ladder: an earlier version, rules over features, or a constant."""

    kind: Literal["previous", "rules", "constant"]
    rules: Expr | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Everything declared for a model's way into production."""

    model: str
    gates: tuple[Gate, ...] = ()
    approval: ApprovalPolicy | None = None
    decision: Bands | None = None
    holdout: float = 0.0
    rollout: Canary | None = None
    guards: tuple[Guard, ...] = ()
    fallback: tuple[Fallback, ...] = ()
