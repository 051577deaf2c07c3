"""The project a user writes: its sources, tables, views, features, models and releases.

The words are in `event`, `rows`, `learning` and `release`. All of them only record what was said and where.
Nothing is judged before the project is compiled, so that all problems can be told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.kernel.expr import col
from holdfast.project.capture import Stream, Term, caller_place
from holdfast.project.event import Event
from holdfast.project.learning import Cost, Forecast, Label, SeasonalNaive, TimeSplit
from holdfast.project.release import Approval, Bands, Canary, FallbackStep, Holdout, Limit
from holdfast.project.rows import Entity


@dataclass(frozen=True)
class Objectives:
    """Needs declared before code: latency, throughput, freshness."""

    p99: str | None = None
    rps: float | None = None
    freshness: str | None = None


class SourceHandle(Stream):
    """A declared source; its attributes are the columns of its events."""

    def __init__(self, name: str, event: Any, lateness: Any, known_after: Any, place: str) -> None:
        super().__init__(name)
        self._event, self._lateness, self._known_after, self._place = event, lateness, known_after, place


class TableHandle:
    """A declared slowly changing table; its attributes are its columns, read as of a row's time."""

    def __init__(
        self,
        name: str,
        event: Any,
        key: Any,
        valid: Any,
        known_ahead: bool,
        lateness: Any,
        known_after: Any,
        place: str,
    ) -> None:
        self._name, self._event, self._key = name, event, key
        self._valid, self._known_ahead, self._place = valid, known_ahead, place
        self._lateness, self._known_after = lateness, known_after

    def __getattr__(self, column: str) -> Term:
        if column.startswith("_"):
            raise AttributeError(column)
        return Term(col(f"{self._name}.{column}"))

    def __getitem__(self, column: str) -> Term:
        return Term(col(f"{self._name}.{column}"))


class ViewHandle:
    """A declared view; `all` gives every feature of it, attributes give single ones."""

    def __init__(
        self, name: str, source: Any, entity: Entity, function: Callable[..., Any], place: str
    ) -> None:
        self._name, self._source, self._entity = name, source, entity
        self._function, self._place = function, place
        self._captured: dict[str, Any] | None = None

    def _capture(self) -> dict[str, Any]:
        if self._captured is None:
            result = self._function(Stream(getattr(self._source, "_source", "")))
            self._captured = result if isinstance(result, dict) else {"": result}
        return self._captured

    @property
    def all(self) -> dict[str, Term]:
        """Every feature of the view, by name."""
        return {name: Term(col(name)) for name in self._capture() if name}

    def __getattr__(self, name: str) -> Term:
        if name.startswith("_"):
            raise AttributeError(name)
        return Term(col(name))


class FeaturesHandle:
    """A declared feature set."""

    def __init__(
        self, name: str, spine: Any, inputs: Sequence[Any], function: Callable[..., Any], place: str
    ) -> None:
        self.name, self.spine, self.inputs, self.function, self.place = name, spine, inputs, function, place


class ModelHandle:
    """A declared model. Calling it calls the user's training function."""

    def __init__(
        self, name: str, features: Any, function: Callable[..., Any], options: dict[str, Any], place: str
    ) -> None:
        self.name, self.features, self.function = name, features, function
        self.options, self.place = options, place

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the training function."""
        return self.function(*args, **kwargs)


@dataclass
class ReleaseSpec:
    """A declared release, as written."""

    model: Any
    options: dict[str, Any]
    place: str


@dataclass
class Project:
    """One production system, declared: ``Project("fraud", owner="risk", people={"risk-lead": ["ana"]})``.

    Parameters
    ----------
    name : of the project
    owner : team that answers for it
    people : names by role, for approvals
    objectives : needs declared before code
    """

    name: str
    owner: str = ""
    people: Mapping[str, Sequence[str]] = field(default_factory=dict)
    objectives: Objectives | None = None
    place: str = field(default_factory=caller_place, init=False)
    sources: list[SourceHandle] = field(default_factory=list, init=False)
    tables: list[TableHandle] = field(default_factory=list, init=False)
    views: list[ViewHandle] = field(default_factory=list, init=False)
    feature_sets: list[FeaturesHandle] = field(default_factory=list, init=False)
    models: list[ModelHandle] = field(default_factory=list, init=False)
    releases: list[ReleaseSpec] = field(default_factory=list, init=False)

    def source(self, name: str, event: type[Event], *, lateness: Any = "0s", known_after: Any = None) -> Any:
        """Declare a stream or table of events.

        Parameters
        ----------
        name : of the source, and of its table in the lake
        event : its schema
        lateness : allowed delay; moves the watermark, never drops anything
        known_after
            Assumed delay between event and arrival for history without arrival column; ``"0s"`` is allowed.
        """
        handle = SourceHandle(name, event, lateness, known_after, caller_place())
        self.sources.append(handle)
        return handle

    def table(
        self,
        name: str,
        event: type[Event],
        *,
        key: str | Sequence[str] = (),
        valid: tuple[str, str] | None = None,
        known_ahead: bool = False,
        lateness: Any = "0s",
        known_after: Any = None,
    ) -> Any:
        """Declare a slowly changing table: a row is a version of its key, and the last one by then is read.

        Parameters
        ----------
        name : of the table in the lake; rows are ingested as those of a source
        event
            Its schema. The event time is when a version begins to hold; an event id is not needed.
        key : columns that identify what a row describes; none if every row describes the same
        valid
            Columns between which a row holds, half-open: the first is the event time, and from the second on
            (never, where it is missing) the columns are missing.
        known_ahead
            What begins exactly at a row's time is read too, as it was known before: planned promotions.
        lateness, known_after : as for a source
        """
        handle = TableHandle(name, event, key, valid, known_ahead, lateness, known_after, caller_place())
        self.tables.append(handle)
        return handle

    def view(self, source: Any, *, entity: Entity) -> Callable[[Callable[..., Any]], Any]:
        """Declare features aggregated over windows of a source, per entity."""
        place = caller_place()

        def declare(function: Callable[..., Any]) -> ViewHandle:
            handle = ViewHandle(function.__name__, source, entity, function, place)
            self.views.append(handle)
            return handle

        return declare

    def features(self, spine: Any, *inputs: Any) -> Callable[[Callable[..., Any]], Any]:
        """Declare the features of models over the rows of a source's events or of a `Spine`."""
        place = caller_place()

        def declare(function: Callable[..., Any]) -> FeaturesHandle:
            handle = FeaturesHandle(function.__name__, spine, inputs, function, place)
            self.feature_sets.append(handle)
            return handle

        return declare

    def model(
        self,
        features: Any,
        *,
        label: Label,
        params: Mapping[str, Any] | None = None,
        search: Mapping[str, Any] | None = None,
        split: TimeSplit | None = None,
        baseline: SeasonalNaive | None = None,
        cost: Cost | None = None,
        forecast: Forecast | None = None,
        precision_at: int = 100,
        precision_per: Entity | None = None,
        test_where: Callable[..., Any] | None = None,
        vetted: Mapping[str, str] | None = None,
    ) -> Callable[[Callable[..., Any]], Any]:
        """Declare a model by its training function ``(data, params, run) -> fitted model``.

        Parameters
        ----------
        label : the outcome to predict
        params : given to the function
        search : space of the parameters, for tuning
        split : lengths of test, validation and gap
        baseline : what every candidate is measured against; by default the training share
        cost : what wrong answers cost
        precision_at : k of the precision among the k highest scores of a day
        precision_per : entity that takes one place a day however many rows it has, and leaves once found
        test_where
            Condition over what the features may read, ``lambda x: x.blocked == 0``; the model is measured on
            the test rows where it is true.
        vetted : features that look as if they knew the outcome and may be used all the same, with the reason
        """
        place = caller_place()
        options = {
            "label": label,
            "params": dict(params or {}),
            "search": dict(search or {}),
            "split": split,
            "baseline": baseline,
            "cost": cost,
            "forecast": forecast,
            "precision_at": precision_at,
            "precision_per": precision_per,
            "test_where": test_where,
            "vetted": vetted,
        }

        def declare(function: Callable[..., Any]) -> ModelHandle:
            handle = ModelHandle(function.__name__, features, function, options, place)
            self.models.append(handle)
            return handle

        return declare

    def release(
        self,
        model: Any,
        *,
        gates: Sequence[Limit] = (),
        approval: Approval | None = None,
        decision: Bands | None = None,
        holdout: Holdout | None = None,
        rollout: Canary | None = None,
        guards: Sequence[Limit] = (),
        fallback: Sequence[FallbackStep] = (),
    ) -> None:
        """Declare how a version of a model reaches traffic.

        Parameters
        ----------
        gates : criteria a run must pass to be registered
        approval : who must approve a version
        decision : from score to recommendation
        holdout : share that the decision does not act upon
        rollout, guards, fallback : the release's steps, limits and fallback ladder
        """
        options = {
            "gates": list(gates),
            "approval": approval,
            "decision": decision,
            "holdout": holdout,
            "rollout": rollout,
            "guards": list(guards),
            "fallback": list(fallback),
        }
        self.releases.append(ReleaseSpec(model, options, caller_place()))
