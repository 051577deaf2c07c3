"""What the workspace's verbs return: plain values that the command line prints and programs read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.kernel.errors import Problem
from holdfast.registry.ledger import Entry
from holdfast.registry.version import ModelVersion

if TYPE_CHECKING:  # commands that only list what is there load nothing that computes
    from holdfast.serving.explain import FeatureEvidence
    from holdfast.training.run import Run


@dataclass(frozen=True, slots=True)
class History:
    """The append-only history, and the first break of its chain, if any.

    Attributes
    ----------
    entries : oldest first; where a limit is set, the last ones
    total : how many there are without a limit
    """

    entries: tuple[Entry, ...]
    broken: Problem | None
    total: int = 0


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version with what answers the three questions: what runs, from which data, approved by whom."""

    version: ModelVersion
    aliases: tuple[str, ...]
    approvals: tuple[str, ...]
    metrics: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training command did.

    Attributes
    ----------
    run : the recorded run, with metrics, baseline, champion and gates
    dataset : sizes and dates of the snapshot
    version : the registered version; none if a gate failed
    approvers : who may approve it; empty if nobody has to
    """

    run: Run
    dataset: dict[str, Any]
    version: ModelVersion | None
    message: str
    approvers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One prediction with everything that led to it.

    Attributes
    ----------
    answer
        Id, time, score, decision, step, exposure and runtime as recorded. `known_at_us` is none for an answer
        given live: it saw what had been applied by then, the batches up to `known_batch`. An `inexact` one
        was asked for a time before the events that are kept online one by one, so features may differ.
    recomputed : score and decision that the bundle gives today for the features as recorded
    request : stored values of the row
    features : each feature as used, as recomputed, its contribution and meaning
    base : margin of the model before any feature
    version : number, state, approvals, bundle, author
    run, dataset : the records behind the version
    tables : version of each lake table the dataset was built from
    events : rows of each source that the windows read now, and the first and last batch among them
    """

    answer: dict[str, Any]
    recomputed: dict[str, Any]
    request: dict[str, Any]
    features: tuple[FeatureEvidence, ...]
    base: float
    version: dict[str, Any]
    run: dict[str, Any]
    dataset: dict[str, Any]
    tables: dict[str, int]
    views: dict[str, str]
    events: dict[str, dict[str, int]]

    @property
    def margin(self) -> float:
        """The score as the model adds it up: the base and all contributions, log-odds for a binary model."""
        return self.base + sum(feature.contribution or 0.0 for feature in self.features)

    @property
    def is_equal(self) -> bool:
        """Whether every stored feature, the score and the decision equal their recomputation."""
        answer = all(self.answer[name] == value for name, value in self.recomputed.items())
        return answer and all(feature.is_equal for feature in self.features)
