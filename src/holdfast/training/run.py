"""Runs: one execution of training, with its inputs, what it measured and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.kernel.ids import fingerprint
from holdfast.training.calibration import ReliabilityBin
from holdfast.training.forecast import AtHorizon
from holdfast.training.gate import GateResult
from holdfast.training.leakage import Suspicion
from holdfast.training.metric import Interval, Task
from holdfast.training.model import Model, Scalar


@dataclass(frozen=True, slots=True)
class Run:
    """The record of a run. It holds no clock reading of its own: both times are handed in.

    Attributes
    ----------
    id : ``r-`` and the hash of what went in, see `run_id`
    project : fingerprint of the compiled project
    dataset : id of the snapshot
    params : what the training function was given, overrides included
    started_us, duration_us : microseconds UTC, and microseconds
    environment : ``e-`` and the hash of `facts`
    facts : Python, platform and versions of libraries
    code : the project's source, ``git:<revision>+<changed files>`` or ``files:<hash>``
    task : kind of label
    rows : rows of each part
    metrics : of the candidate on the test part, with intervals
    baseline, champion : the same metrics of the trivial model and of the champion, None where not defined
    champion_name : the version compared with, such as ``fraud@7``; none without one
    bundle : name of the stored bundle; none if a gate failed
    logged : values the training function logged, by name, in order
    importance : gain per feature, where the model tells it
    history : values per iteration of each evaluation the fit kept
    alone : AUC of each feature by itself on the training part; empty unless labels are binary
    suspicions : features that look as if they knew the outcome
    by_horizon : metrics of the test part at each horizon; empty unless the model forecasts
    """

    id: str
    model: str
    project: str
    dataset: str
    params: dict[str, Scalar]
    seed: int
    author: str
    started_us: int
    duration_us: int
    environment: str
    facts: dict[str, str]
    code: str
    task: Task
    rows: dict[str, int]
    metrics: dict[str, Interval]
    baseline: dict[str, float | None]
    champion_name: str | None = None
    champion: dict[str, float | None] | None = None
    gates: tuple[GateResult, ...] = ()
    bundle: str | None = None
    reliability: tuple[ReliabilityBin, ...] = ()
    logged: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    importance: dict[str, float] = field(default_factory=dict)
    history: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    alone: dict[str, float] = field(default_factory=dict)
    suspicions: tuple[Suspicion, ...] = ()
    by_horizon: tuple[AtHorizon, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        return all(result.outcome != "failed" for result in self.gates)


def environment_id(facts: Mapping[str, str]) -> str:
    """Return ``e-`` and the hash of the facts of an environment."""
    return f"e-{fingerprint(dict(facts))}"


def run_id(
    model: Model,
    *,
    project: str,
    dataset: str,
    params: Mapping[str, Scalar],
    seed: int,
    environment: str,
    code: str,
    author: str,
    started_us: int,
) -> str:
    """Return ``r-`` and the hash of everything that goes into a run, and of when it began.

    The instant tells apart repeats of the same inputs; nothing that the run produces enters.
    """
    return "r-" + fingerprint(
        {
            "model": model,
            "project": project,
            "dataset": dataset,
            "params": dict(params),
            "seed": seed,
            "environment": environment,
            "code": code,
            "author": author,
            "started_us": started_us,
        }
    )
