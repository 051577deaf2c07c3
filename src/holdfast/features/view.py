"""Feature views and feature sets: what is aggregated, for whom, over which windows, and what models read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from holdfast.events.entity import Entity
from holdfast.features.aggregate import AggregateName
from holdfast.features.window import Window
from holdfast.kernel.expr import Expr, to_text
from holdfast.kernel.ids import fingerprint, short
from holdfast.kernel.schema import ColumnType, Schema
from holdfast.kernel.time import format_duration


@dataclass(frozen=True, slots=True)
class Measure:
    """One aggregate of one column over one window: a feature of a view.

    Attributes
    ----------
    column : None only for the count of events
    where : filter over the event's own columns; an event enters where it is true (not false, not missing)
    """

    name: str
    aggregate: AggregateName
    window: Window
    column: str | None = None
    where: Expr | None = None

    def describe(self) -> str:
        """Return the definition in words, such as ``sum of amount over 1d``."""
        subject = "events" if self.column is None else f"`{self.column}`"
        if self.aggregate == "as_of":
            return f"{subject} of the last row by then"
        name = "seconds since the last" if self.aggregate == "time_since_last" else f"{self.aggregate} of"
        text = f"{name} {subject} over {format_duration(self.window.over)}"
        if self.window.offset:
            text += f", ending {format_duration(self.window.offset)} before"
        if self.where is not None:
            text += f", where {to_text(self.where)}"
        return text


def is_text(measure: Measure, schema: Schema) -> bool:
    """Whether the value of a measure is a text of the source's schema, rather than a number."""
    if measure.column is None or measure.aggregate not in ("first", "last", "as_of"):
        return False
    column = schema.find(measure.column)
    return column is not None and column.type == "string"


def measure_type(measure: Measure, schema: Schema) -> ColumnType:
    """Return what an expression reads a measure as: a text, a time, or a number."""
    if is_text(measure, schema):
        return "string"
    if measure.column is not None and measure.aggregate in ("first", "last", "as_of"):
        column = schema.find(measure.column)
        if column is not None and column.type == "time":
            return "time"
    return "float"


@dataclass(frozen=True, slots=True)
class View:
    """Features that share an entity and a source; the unit of computation and ownership."""

    name: str
    source: str
    entity: Entity
    measures: tuple[Measure, ...]

    @property
    def looks_ahead(self) -> bool:
        """Whether it holds what is known ahead, to be read at the instant that a row is about."""
        return any(measure.window.offset < 0 for measure in self.measures)

    @property
    def fingerprint(self) -> str:
        """Content hash of the definition."""
        return fingerprint(self)

    @property
    def version(self) -> str:
        """Name and short fingerprint, ``card_activity@4f1c09ab``."""
        return f"{self.name}@{short(self.fingerprint)}"


@dataclass(frozen=True, slots=True)
class Feature:
    """One named column of the model's input."""

    name: str
    expr: Expr
    kind: Literal["numeric", "categorical"] = "numeric"


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The features of a model, in order, over the rows of a spine.

    Attributes
    ----------
    spine : name of the source whose events are the rows, or of a grid
    views : names of the views whose measures the expressions read
    """

    name: str
    spine: str
    features: tuple[Feature, ...]
    views: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """Everything needed to compute a feature set, as data: it travels inside a model bundle.

    Attributes
    ----------
    schema : columns of a spine row
    views : the views that the features read
    sources : schema of each view's source, by source name
    vocabularies
        Known texts of each categorical column, most frequent first; code ``i + 1`` is entry ``i`` and 0 is
        any other text. Fitted on the training split only; empty before.
    """

    features: FeatureSet
    schema: Schema
    views: tuple[View, ...]
    sources: dict[str, Schema]
    vocabularies: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def time_of(self, view: View) -> str | None:
        """Return the row's column at whose instant a view is read, or None for the row's own time.

        What is known ahead is read at the instant the row is about; all else at the row's own time.
        """
        target = self.schema.target_time
        return target.name if target is not None and view.looks_ahead else None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the model's columns."""
        return tuple(feature.name for feature in self.features.features)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the categorical features."""
        return tuple(feature.name for feature in self.features.features if feature.kind == "categorical")

    @property
    def fingerprint(self) -> str:
        """Content hash of the plan, vocabularies included."""
        return fingerprint(self)
