"""What a user writes: events, a project, its sources, views, features, models and releases.

Everything here only records what was said and where. Nothing is judged before the project is compiled, so
that all problems can be told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as _dataclass_field
from typing import Any, TypeVar

from holdfast.kernel.expr import col
from holdfast.project.capture import Stream, Term, caller_place

F = TypeVar("F", bound=Callable[..., Any])


# --- events -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What was said of one column."""

    role: str = "value"
    scale: int | None = None
    ge: float | None = None
    le: float | None = None
    max_length: int | None = None
    one_of: tuple[str, ...] | None = None
    doc: str = ""


def field(
    *,
    scale: int | None = None,
    ge: float | None = None,
    le: float | None = None,
    max_length: int | None = None,
    one_of: Sequence[str] | None = None,
    doc: str = "",
) -> Any:
    """Say more of a column than its type.

    Parameters
    ----------
    scale : decimal places; such a column is stored exactly and may be summed
    ge, le : inclusive bounds in the column's own unit
    max_length : greatest number of characters of a text
    one_of : the only texts allowed
    doc : what it means, for people
    """
    return FieldSpec("value", scale, ge, le, max_length, None if one_of is None else tuple(one_of), doc)


def event_id(*, content: bool = False, max_length: int | None = None, doc: str = "") -> Any:
    """Mark the column that identifies an event; a second row with the same id is a duplicate.

    Parameters
    ----------
    content
        The rows come without an id: it is made, a hash of all other columns, so that rows equal in
        everything are one event. No input has such a column.
    max_length : greatest number of characters of a text
    doc : what it means, for people
    """
    return FieldSpec("content_id" if content else "event_id", max_length=max_length, doc=doc)


def event_time(*, doc: str = "") -> Any:
    """Mark the column that says when the event happened."""
    return FieldSpec("event_time", doc=doc)


def arrival_time(*, doc: str = "") -> Any:
    """Mark the column that says when the event was learnt."""
    return FieldSpec("arrival_time", doc=doc)


def supersedes(*, max_length: int | None = None, doc: str = "") -> Any:
    """Mark the column that names the id of an earlier event which this one corrects, or is missing.

    From the arrival of the correction on the earlier event is not seen any more; what was known before stays
    known before. Corrections of corrections are legal, and so is one that arrives before its target.
    """
    return FieldSpec("supersedes", max_length=max_length, doc=doc)


class Event:
    """Base of a schema: annotated columns of str, int, float, Decimal, bool or datetime.

    A column that may be missing is ``| None``.
    """

    _holdfast_place: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._holdfast_place = caller_place()


# --- values -------------------------------------------------------------------------------------------


class Entity:
    """A thing that features describe, and the column or columns that identify it.

    Parameters
    ----------
    name : such as ``"card"``
    key : column name, or several
    """

    def __init__(self, name: str, *, key: str | Sequence[str]) -> None:
        self.name = name
        self.key = (key,) if isinstance(key, str) else tuple(key)
        self.place = caller_place()


class Spine:
    """Rows at regular instants for every combination of entities seen, instead of rows from events.

    Parameters
    ----------
    entities : whose combinations form the rows
    every : distance of the instants, such as ``"1d"``
    include_zero
        Keep instants without any event since the one before, from the first event of a combination on: a day
        without sales is a day of zero sales.
    """

    def __init__(self, *entities: Entity, every: Any, include_zero: bool = True) -> None:
        self.entities, self.every, self.include_zero = entities, every, include_zero
        self.place = caller_place()


class Label:
    """The outcome of a row, fixed at its time plus `horizon` by what had arrived by then.

    Parameters
    ----------
    source : where outcomes come from, or an aggregate ``source.column.sum(over="7d", after=True)``
    key : column shared by the outcome and the row
    value : expression over the outcome's columns; by default 1 for being there
    horizon : how long until the outcome is decided; for an aggregate at least its window
    absent : value where no outcome arrived; without it such rows are left out
    censored_by : recommendation that prevents the outcome
    """

    def __init__(
        self,
        source: Any,
        *,
        key: str | None = None,
        value: Any = None,
        horizon: Any = None,
        absent: float | None = None,
        censored_by: str | None = None,
    ) -> None:
        self.source, self.key, self.value, self.horizon = source, key, value, horizon
        self.absent, self.censored_by = absent, censored_by
        self.place = caller_place()


@dataclass(frozen=True)
class Objectives:
    """Needs declared before code: latency, throughput, freshness."""

    p99: str | None = None
    rps: float | None = None
    freshness: str | None = None


@dataclass(frozen=True)
class TimeSplit:
    """Lengths of the parts, counted back from the last row with a label, such as ``TimeSplit(test="10d")``.

    Parameters
    ----------
    test, validation : by default 20 % and 10 % of the span; ``validation="0s"`` for none
    gap : between validation and test; by default the label's horizon
    train : by default everything before; else rows before it are left out
    every : the parts begin and end at multiples of it (UTC), such as whole days with ``"1d"``
    """

    test: Any = None
    validation: Any = None
    gap: Any = None
    train: Any = None
    every: Any = None


@dataclass(frozen=True)
class Cost:
    """Cost of acting on a good row and of not acting on a bad one (a number, or a column that holds it)."""

    false_alarm: float
    missed: Any
    act_on: Sequence[str] | None = None


@dataclass(frozen=True)
class Int:
    """A searched whole number in ``[low, high]``."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Float:
    """A searched number in ``[low, high]``."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """A searched value among those given."""

    values: Sequence[Any]


@dataclass(frozen=True)
class Forecast:
    """How far a model over a `Spine` looks ahead: every row of it becomes one for each horizon.

    A row then has ``at``, its origin; ``horizon``, from 1; and ``target``, the instant at which the step it
    is about begins, ``at + (horizon - 1) * every``. Its label is that of the step; its features are what was
    known at the origin, and of tables with ``known_ahead=True`` what was known then of the target.

    Parameters
    ----------
    horizons : in steps of the spine, such as ``range(1, 29)``
    quantiles : asked beside the expected value
    origins
        Distance between the origins that are learnt from and tested on, such as ``"3d"``; by default every
        step of the spine. No multiple of the season, or the model meets each horizon on one weekday only.
    """

    horizons: Iterable[int]
    quantiles: Sequence[float] = ()
    origins: Any = None


@dataclass(frozen=True)
class SeasonalNaive:
    """Baseline over a `Spine`: the label one season before, as known at the origin.

    The last season that is over at the origin is repeated over all horizons.
    """

    season: Any


# --- release ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """The champion's or the baseline's value of the same quantity, times a factor, plus a margin."""

    factor: float = 1.0
    margin: float = 0.0
    to: str = "champion"

    def __add__(self, other: float) -> Reference:
        return Reference(self.factor, self.margin + other, self.to)

    def __sub__(self, other: float) -> Reference:
        return Reference(self.factor, self.margin - other, self.to)

    def __mul__(self, other: float) -> Reference:
        return Reference(self.factor * other, self.margin * other, self.to)

    __rmul__ = __mul__


def champion() -> Reference:
    """Stand for the champion's value on the other side of a comparison."""
    return Reference()


def baseline() -> Reference:
    """Stand for the value of the model's trivial baseline on the other side of a gate."""
    return Reference(to="baseline")


@dataclass(frozen=True)
class Limit:
    """A comparison of a quantity with a number or the champion; checked when the project is compiled."""

    kind: str
    name: str
    op: str
    bound: Any
    place: str


class Quantity:
    """Something measured, waiting to be compared."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: str, name: str = "") -> None:
        self._kind, self._name = kind, name

    def __ge__(self, bound: Any) -> Limit:
        return Limit(self._kind, self._name, ">=", bound, caller_place())

    def __le__(self, bound: Any) -> Limit:
        return Limit(self._kind, self._name, "<=", bound, caller_place())

    def __gt__(self, bound: Any) -> Limit:
        return Limit(self._kind, self._name, ">", bound, caller_place())

    def __lt__(self, bound: Any) -> Limit:
        return Limit(self._kind, self._name, "<", bound, caller_place())


def metric(name: str) -> Quantity:
    """Stand for a metric of the test part, such as ``average_precision``, in a gate."""
    return Quantity("metric", name)


def errors() -> Quantity:
    """Stand for the share of failed requests, in a guard."""
    return Quantity("errors")


def p99() -> Quantity:
    """Stand for the 99th percentile of latency, in a guard."""
    return Quantity("p99")


def prediction_shift() -> Quantity:
    """Stand for the distance of the score distribution from the champion's, in a guard."""
    return Quantity("prediction_shift")


def kpi(name: str) -> Quantity:
    """Stand for a business indicator, in a guard."""
    return Quantity("kpi", name)


@dataclass(frozen=True)
class Approval:
    """Who must approve a version, and whether its author may."""

    role: str
    not_author: bool = False


class Bands:
    """Recommendations by lowest score: ``Bands(block=0.9, review=0.6, allow=0.0)``."""

    def __init__(self, **floors: float) -> None:
        self.floors = floors
        self.place = caller_place()


@dataclass(frozen=True)
class Holdout:
    """Random share of rows that the decision does not act upon."""

    share: float


class Canary:
    """Shares of traffic in percent, each held for a while, split by an entity."""

    def __init__(self, steps: Sequence[float], *, hold: Any, unit: Entity) -> None:
        self.steps, self.hold, self.unit = tuple(steps), hold, unit
        self.place = caller_place()


@dataclass(frozen=True)
class FallbackStep:
    """One step of the fallback ladder, as written."""

    kind: str
    rules: Callable[..., Any] | None = None
    value: float | None = None
    place: str = ""


def previous() -> FallbackStep:
    """Answer with the version before."""
    return FallbackStep("previous", place=caller_place())


def rules(function: Callable[..., Any]) -> FallbackStep:
    """Answer with rules: a function of the features, captured as an expression."""
    return FallbackStep("rules", rules=function, place=caller_place())


def constant(value: float) -> FallbackStep:
    """Answer with a fixed score."""
    return FallbackStep("constant", value=value, place=caller_place())


# --- project ------------------------------------------------------------------------------------------


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
    people: Mapping[str, Sequence[str]] = _dataclass_field(default_factory=dict)
    objectives: Objectives | None = None
    place: str = _dataclass_field(default_factory=caller_place, init=False)
    sources: list[SourceHandle] = _dataclass_field(default_factory=list, init=False)
    tables: list[TableHandle] = _dataclass_field(default_factory=list, init=False)
    views: list[ViewHandle] = _dataclass_field(default_factory=list, init=False)
    feature_sets: list[FeaturesHandle] = _dataclass_field(default_factory=list, init=False)
    models: list[ModelHandle] = _dataclass_field(default_factory=list, init=False)
    releases: list[ReleaseSpec] = _dataclass_field(default_factory=list, init=False)

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
