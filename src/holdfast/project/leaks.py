"""Leaks that a definition shows by itself: features that read what is known only after their row's time."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.datasets.label import Label
from holdfast.features.view import FeatureSet
from holdfast.kernel.schema import Schema
from holdfast.project.compilation import Compilation


def find_leaks(out: Compilation) -> None:
    """Report every feature, view and entity that sees the outcome, or what was filled in later."""
    for view in out.project.views.values():
        schema, at = out.project.sources[view.source].schema, f"views.{view.name}"
        _later(out, _named_later(schema), view.entity.key, f"entity `{view.entity.name}`", at)
        if view.name in out.project.tables:
            continue  # it has a measure of every column, and features choose among them
        for measure in view.measures:
            reads = () if measure.where is None else measure.where.columns()
            names = reads if measure.column is None else (measure.column, *reads)
            _later(out, _named_later(schema), names, f"`{measure.name}`", f"{at}.{measure.name}")
    for features in out.project.feature_sets.values():
        _features(out, features)
    for model in out.project.models.values():
        if model.label.window is None:
            features = out.project.feature_sets[model.features]
            _outcome(out, model.label, features, f"models.{model.name}.label")


def _features(out: Compilation, features: FeatureSet) -> None:
    """Judge the keys by which a row looks things up, and what each feature reads."""
    at = f"feature_sets.{features.name}"
    spine = out.project.spine_schema(features)
    later = _named_later(spine)
    if features.spine in out.project.grids:
        _later(out, later, out.project.grids[features.spine].key, f"spine `{features.spine}`", at)
    for name in features.views:
        view = out.project.views[name]
        if view.source != features.spine:  # else the view itself has been told
            _later(out, later, view.entity.key, f"entity `{view.entity.name}`", at)
        if name in out.project.tables:
            later |= {f"{name}.{column}" for column in _named_later(out.project.tables[name].schema)}
    for feature in features.features:
        path = f"{at}.{feature.name}"
        if path in out.unresolved:
            continue
        reads = feature.expr.columns()
        _later(out, later, reads, f"`{feature.name}`", path)
        if spine.event_id is not None and spine.event_id.name in reads:
            out.report(
                "HF108",
                f"`{feature.name}` reads the event id `{spine.event_id.name}`, which names the row itself.",
                path,
                hint="remove it: an id says nothing about a new event",
            )


def _named_later(schema: Schema) -> set[str]:
    return {column.name for column in schema.columns if column.role == "known_later"}


def _later(out: Compilation, later: set[str], reads: Iterable[str], who: str, at: str) -> None:
    """Report the columns read that were filled in or corrected after their row had arrived."""
    for name in dict.fromkeys(reads):
        if name in later:
            out.report(
                "HF108",
                f"{who} reads `{name}`, which is marked known_later: history shows what nobody knew when a "
                "prediction was due.",
                at,
                hint="leave it out; where corrections come as rows of their own, hf.supersedes() keeps what "
                "was known when",
            )


def _outcome(out: Compilation, label: Label, features: FeatureSet, at: str) -> None:
    """Judge that no feature sees the outcome of its own row."""
    outcome = out.project.sources[label.source].schema
    for name in features.views:
        view = out.project.views[name]
        if view.source == label.source and label.key in view.entity.key:
            out.report(
                "HF108",
                f"view `{name}` reads the label's source by the label's key `{label.key}`, "
                "so it would see the outcome of the very row.",
                f"views.{name}",
                has=[c for c in outcome.names if c != label.key],
                hint="use a view of another entity, such as the terminal or the customer",
            )
    if label.source != features.spine or label.value is None:
        return
    for feature in features.features:
        shared = sorted(set(label.value.columns()) & set(feature.expr.columns()))
        if shared:
            out.report(
                "HF108",
                f"`{feature.name}` reads `{shared[0]}`, the outcome itself, from the same row.",
                f"feature_sets.{features.name}.{feature.name}",
                hint="remove it: it is known only afterwards",
            )
