"""The compiled project: one definition as data, with fingerprints."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.datasets.spine import Grid
from holdfast.decisions.release import Release
from holdfast.events.entity import Entity
from holdfast.events.source import Source
from holdfast.features.aggregate import AGGREGATES
from holdfast.features.view import FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import ALWAYS, Window
from holdfast.kernel.errors import NotFoundError, did_you_mean
from holdfast.kernel.ids import fingerprint
from holdfast.kernel.schema import Schema
from holdfast.training.model import Model


@dataclass(frozen=True, slots=True)
class CompiledObjectives:
    """Declared needs: latency and freshness in microseconds, throughput in requests per second."""

    p99: int | None = None
    rps: float | None = None
    freshness: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A slowly changing table: each row is a version of its key, from its event time on.

    Attributes
    ----------
    valid : columns between which a row holds; none means until the next version
    known_ahead : whether a version that begins exactly at a row's time is read

    Notes
    -----
    A table is a source, and a view of it whose measures are its columns as of a row's time, over all of its
    past: so it is materialized, kept online, replayed and explained as every other view.
    """

    name: str
    schema: Schema
    key: tuple[str, ...]
    valid: tuple[str, str] | None
    known_ahead: bool

    def view(self) -> View:
        """Return the view that reads the last version by then, a measure ``table.column`` for each column."""
        window = Window(ALWAYS, -1 if self.known_ahead else 0, ALWAYS)
        measures = tuple(
            Measure(f"{self.name}.{column.name}", "as_of", window, column.name)
            for column in self.schema.columns
            if column.name not in self.key and column.role not in ("event_id", "content_id")
        )
        return View(self.name, self.name, Entity(" and ".join(self.key) or "all", self.key), measures)


@dataclass(frozen=True, slots=True)
class CompiledProject:
    """Everything a project says, as nested data; equal projects have equal fingerprints."""

    name: str
    owner: str = ""
    people: dict[str, tuple[str, ...]] = field(default_factory=dict)
    objectives: CompiledObjectives | None = None
    sources: dict[str, Source] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    grids: dict[str, Grid] = field(default_factory=dict)
    feature_sets: dict[str, FeatureSet] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    releases: dict[str, Release] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Content hash of the whole definition."""
        return fingerprint(self)

    def source(self, name: str) -> Source:
        """Return a source; NotFoundError with the nearest name otherwise."""
        if name not in self.sources:
            raise NotFoundError(
                f"project `{self.name}` has no source `{name}`.",
                has=tuple(self.sources),
                hint=did_you_mean(name, self.sources),
            )
        return self.sources[name]

    def model(self, name: str) -> Model:
        """Return a model; NotFoundError with the nearest name otherwise."""
        if name not in self.models:
            raise NotFoundError(
                f"project `{self.name}` has no model `{name}`.",
                has=tuple(self.models),
                hint=did_you_mean(name, self.models),
            )
        return self.models[name]

    def release(self, model: str) -> Release:
        """Return the release of a model, or one without any rule."""
        return self.releases.get(model, Release(model))

    def spine_schema(self, feature_set: FeatureSet) -> Schema:
        """Return the columns of a spine row of a feature set."""
        if feature_set.spine in self.grids:
            grid = self.grids[feature_set.spine]
            return grid.schema(self.sources[grid.source].schema)
        return self.sources[feature_set.spine].schema

    def feature_plan(self, model: str) -> FeaturePlan:
        """Return the self-contained plan of a model's features; vocabularies are fitted later."""
        chosen = self.feature_sets[self.model(model).features]
        views = tuple(self.views[name] for name in chosen.views)
        return FeaturePlan(
            features=chosen,
            schema=self.spine_schema(chosen),
            views=views,
            sources={view.source: self.sources[view.source].schema for view in views},
        )

    def fixed_point_columns(self, source: str) -> frozenset[str]:
        """Columns of a source that enter sum, mean, std or var: their magnitude is bounded at ingestion."""
        measures = [m for view in self.views.values() if view.source == source for m in view.measures]
        windows = [model.label for model in self.models.values() if model.label.source == source]
        measures += [label.window for label in windows if label.window is not None]
        return frozenset(m.column for m in measures if m.column and AGGREGATES[m.aggregate].fixed_point)
