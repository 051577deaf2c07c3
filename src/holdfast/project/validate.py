"""Validation: everything a compiled project says that cannot hold, all at once.

Errors refuse; warnings say what was assumed. Each problem carries its place and a computed hint.
"""

from __future__ import annotations

import math

from holdfast.datasets.label import Label
from holdfast.events.source import Source
from holdfast.features.aggregate import AGGREGATES
from holdfast.features.view import Measure
from holdfast.kernel.errors import Problem, did_you_mean
from holdfast.kernel.expr import Expr
from holdfast.kernel.typecheck import check
from holdfast.kernel.schema import FIXED_POINT_LIMIT, Column, Schema
from holdfast.project.compile import Compilation
from holdfast.training.metric import METRICS


def validate(compilation: Compilation) -> list[Problem]:
    """Return all problems of a compiled project, errors first, each once."""
    checks = _Checks(compilation)
    checks.run()
    unique = dict.fromkeys(compilation.problems)
    return sorted(unique, key=lambda p: p.severity != "error")


class _Checks:
    def __init__(self, compilation: Compilation) -> None:
        self.out = compilation
        self.project = compilation.project

    def run(self) -> None:
        p = self.project
        for view in p.views.values():
            for measure in view.measures:
                self.measure(measure, p.sources[view.source], f"views.{view.name}.{measure.name}")
            self.entity(view.entity.name, view.entity.key, p.sources[view.source].schema, f"views.{view.name}")
        for features in p.feature_sets.values():
            schema = p.spine_schema(features)
            for name in features.views:
                view = p.views[name]
                self.entity(view.entity.name, view.entity.key, schema, f"feature_sets.{features.name}")
            self.features(features.name)
        for model in p.models:
            self.model(model)
        for release in p.releases:
            self.release(release)
        self.history()

    # --- views ----------------------------------------------------------------------------------------

    def entity(self, name: str, key: tuple[str, ...], schema: Schema, at: str) -> None:
        for column in key:
            if schema.find(column) is None:
                self.out.report("HF102", f"entity `{name}` has key `{column}`, which `{schema.name}` does not have.", at,
                                has=schema.names, hint=did_you_mean(column, schema.names))  # fmt: skip

    def expression(self, expr: Expr, columns: dict[str, Column], at: str) -> None:
        for problem in check(expr, columns):
            self.out.report(problem.code, problem.message, at, has=problem.has, hint=problem.hint)

    def measure(self, measure: Measure, source: Source, at: str) -> None:
        schema = source.schema
        aggregate = AGGREGATES[measure.aggregate]
        if measure.where is not None:
            self.expression(measure.where, {c.name: c for c in schema.columns}, at)
        if measure.column is None:
            return
        column = schema.find(measure.column)
        if column is None:
            self.out.report("HF102", f"`{measure.name}` reads column `{measure.column}`, which source `{source.name}` does not have.",
                            at, has=schema.names, hint=did_you_mean(measure.column, schema.names))  # fmt: skip
            return
        if measure.aggregate == "count":
            return
        if column.type not in ("int", "float", "decimal"):
            self.out.report("HF104", f"`{measure.name}` takes the {measure.aggregate} of `{column.name}`, which is {column.type}.",
                            at, has=[c.name for c in schema.columns if c.type in ("int", "float", "decimal")],
                            hint="count() counts any column")  # fmt: skip
            return
        if not aggregate.fixed_point:
            return
        if column.type == "float" and column.scale is None:
            self.out.report("HF104", f"`{measure.name}` takes the {measure.aggregate} of float column `{column.name}` without a scale, "
                            "so its value would depend on the order of events.", at,
                            hint=f"declare its decimal places: `{column.name}: float = hf.field(scale=2)`")  # fmt: skip
            return
        factor = 10 ** (column.scale or 0)
        known = [abs(b) for b in (column.ge, column.le) if b is not None]
        if known and max(known) * factor > FIXED_POINT_LIMIT:
            most = FIXED_POINT_LIMIT / factor
            places = max(0, int(math.floor(math.log10(FIXED_POINT_LIMIT / max(known)))))
            self.out.report("HF106", f"`{measure.name}` may overflow: `{column.name}` is bounded by {max(known):g} with "
                            f"{column.scale or 0} decimal places, at most {most:g} is exact.", at,
                            hint=f"tighten the bound to {most:g}" + (f", or use scale={places}" if column.scale else ""))  # fmt: skip
        elif column.ge is None or column.le is None:
            self.out.report("HF112", f"`{column.name}` of source `{source.name}` enters {measure.aggregate} without both bounds; "
                            f"|{column.name}| <= {FIXED_POINT_LIMIT / factor:g} is enforced at ingestion.",
                            f"sources.{source.name}.{column.name}",
                            hint="declare them: hf.field(ge=..., le=...)", severity="warning")  # fmt: skip

    # --- features and labels --------------------------------------------------------------------------

    def feature_columns(self, name: str) -> dict[str, Column]:
        features = self.project.feature_sets[name]
        columns = {c.name: c for c in self.project.spine_schema(features).columns}
        for view in features.views:
            for measure in self.project.views[view].measures:
                columns[measure.name] = Column(measure.name, "float", nullable=True)
        for table in self.project.tables.values():
            for c in table.schema.columns:
                columns[f"{table.name}.{c.name}"] = c
        return columns

    def features(self, name: str) -> None:
        features = self.project.feature_sets[name]
        columns = self.feature_columns(name)
        schema = self.project.spine_schema(features)
        if not features.features:
            self.out.report("HF103", f"`{name}` returns no features.", f"feature_sets.{name}")
        for feature in features.features:
            at = f"feature_sets.{name}.{feature.name}"
            self.expression(feature.expr, columns, at)
            for read in feature.expr.columns():
                if "." in read:
                    self.out.report("HF113", f"`{feature.name}` reads table column `{read}`; tables compile but are not evaluated yet.",
                                    at, severity="warning")  # fmt: skip
            if schema.event_id is not None and schema.event_id.name in feature.expr.columns():
                self.out.report("HF108", f"`{feature.name}` reads the event id `{schema.event_id.name}`, which names the row itself.",
                                at, hint="remove it: an id says nothing about a new event")  # fmt: skip

    def label(self, label: Label, model: str, at: str) -> None:
        p = self.project
        source = p.sources[label.source]
        features = p.feature_sets[p.models[model].features]
        spine = p.spine_schema(features)
        columns = {c.name: c for c in source.schema.columns}
        if label.window is not None:
            self.measure(label.window, source, at)
            return
        if label.value is not None:
            self.expression(label.value, columns, at)
        if label.key is not None:
            for schema, what in ((source.schema, f"source `{source.name}`"), (spine, f"spine `{features.spine}`")):
                if schema.find(label.key) is None:
                    self.out.report("HF102", f"the label's key `{label.key}` is not a column of {what}.", at,
                                    has=schema.names, hint=did_you_mean(label.key, schema.names))  # fmt: skip
        if label.absent is None and label.value is None:
            self.out.report("HF108", "without absent= every labelled row has the value 1.", at, hint="say absent=0")
        for name in features.views:
            view = p.views[name]
            if view.source == label.source and label.key in view.entity.key:
                self.out.report("HF108", f"view `{name}` reads the label's source by the label's key `{label.key}`, so it would see "
                                "the outcome of the very row.", f"views.{name}", has=[c for c in source.schema.names if c != label.key],
                                hint="use a view of another entity, such as the terminal or the customer")  # fmt: skip
        if label.source == features.spine:
            outcome = set(() if label.value is None else label.value.columns())
            for feature in features.features:
                shared = outcome & set(feature.expr.columns())
                if shared:
                    self.out.report("HF108", f"`{feature.name}` reads `{sorted(shared)[0]}`, the outcome itself, from the same row.",
                                    f"feature_sets.{features.name}.{feature.name}", hint="remove it: it is known only afterwards")  # fmt: skip

    def model(self, name: str) -> None:
        p, at = self.project, f"models.{name}"
        model = p.models[name]
        self.label(model.label, name, f"{at}.label")
        features = p.feature_sets[model.features]
        if features.spine in p.grids and model.label.window is None and model.label.key not in p.grids[features.spine].key:
            self.out.report("HF102", "rows of a grid have no event to join an outcome to.", f"{at}.label",
                            hint="label with an aggregate: source.column.sum(over=..., after=True)")  # fmt: skip
        if model.cost is not None and isinstance(model.cost.missed, str):
            schema = p.spine_schema(features)
            column = schema.find(model.cost.missed)
            if column is None or column.type not in ("int", "float", "decimal"):
                self.out.report("HF102", f"the cost reads column `{model.cost.missed}`, which is not a number of the spine.", at,
                                has=[c.name for c in schema.columns if c.type in ("int", "float", "decimal")],
                                hint=did_you_mean(model.cost.missed, schema.names))  # fmt: skip
        if model.forecast is not None:
            self.out.report("HF113", f"model `{name}` declares a forecast; it compiles but cannot be trained yet.", at, severity="warning")
        for key in model.search:
            if key not in model.params:
                self.out.report("HF103", f"searched parameter `{key}` has no starting value in params.", at, has=list(model.params),
                                hint=did_you_mean(key, model.params) or f"add params={{{key!r}: ...}}", severity="warning")  # fmt: skip

    # --- releases -------------------------------------------------------------------------------------

    def release(self, name: str) -> None:
        p, at = self.project, f"releases.{name}"
        release = p.releases[name]
        if name not in p.models:
            self.out.report("HF102", f"a release names model `{name}`, which this project does not have.", at,
                            has=list(p.models), hint=did_you_mean(name, p.models))  # fmt: skip
            return
        k = p.models[name].precision_at
        metrics = {name.replace("@k/", f"@{k}/") for name in METRICS}
        for i, gate in enumerate(release.gates):
            if gate.metric not in metrics:
                self.out.report("HF102", f"gate reads metric `{gate.metric}`, which is not computed.", f"{at}.gates[{i}]",
                                has=sorted(metrics), hint=did_you_mean(gate.metric, metrics))  # fmt: skip
            if gate.metric == "cost" and p.models[name].cost is None:
                self.out.report("HF110", "gate reads `cost`, but the model declares none.", f"{at}.gates[{i}]",
                                hint="declare cost=hf.Cost(...) with the model")  # fmt: skip
        if not any(not gate.relative for gate in release.gates):
            self.out.report("HF110", f"release of `{name}` has no absolute gate, so its first version could not be judged.", at,
                            hint='for example gates=[hf.metric("average_precision") >= 0.5]')  # fmt: skip
        if release.approval is not None and not p.people.get(release.approval.role):
            self.out.report("HF110", f"approval needs role `{release.approval.role}`, which nobody has.", at,
                            has=list(p.people), hint=did_you_mean(release.approval.role, p.people)
                            or f'people={{"{release.approval.role}": ["..."]}}')  # fmt: skip
        if release.decision is None:
            if p.models[name].label.censored_by is not None:
                self.out.report("HF110", f"the label is censored by `{p.models[name].label.censored_by}`, but no decision gives it.", at)
        else:
            names = [band for band, _ in release.decision.bands]
            floors = [floor for _, floor in release.decision.bands]
            if len(set(floors)) < len(floors):
                self.out.report("HF110", f"two bands begin at the same score: {dict(release.decision.bands)}.", f"{at}.decision")
            if floors[-1] > 0:
                self.out.report("HF110", f"no band covers scores below {floors[-1]:g}.", f"{at}.decision",
                                hint=f"let `{names[-1]}` begin at 0")  # fmt: skip
            censored = p.models[name].label.censored_by
            if censored is not None and censored not in names:
                self.out.report("HF102", f"the label is censored by `{censored}`, which is not a band.", f"{at}.decision",
                                has=names, hint=did_you_mean(censored, names))  # fmt: skip
            cost = p.models[name].cost
            for act in () if cost is None or cost.act_on is None else cost.act_on:
                if act not in names:
                    self.out.report("HF102", f"the cost acts on `{act}`, which is not a band.", at, has=names,
                                    hint=did_you_mean(act, names))  # fmt: skip
        features = {f.name: Column(f.name, "float", True) for f in p.feature_sets[p.models[name].features].features}
        for i, step in enumerate(release.fallback):
            if step.rules is not None:
                self.expression(step.rules, features, f"{at}.fallback[{i}]")
        if not 0 <= release.holdout < 1:
            self.out.report("HF110", f"the hold-out is a share in [0, 1), found {release.holdout:g}.", at)
        if release.rollout is not None:
            steps = release.rollout.steps
            if not steps or any(a >= b for a, b in zip(steps, steps[1:], strict=False)) or not 0 < steps[0] <= steps[-1] <= 100:
                self.out.report("HF110", f"canary steps rise within (0, 100] percent, found {list(steps)}.", at)

    # --- history --------------------------------------------------------------------------------------

    def history(self) -> None:
        p = self.project
        used: set[str] = set()
        for model in p.models.values():
            features = p.feature_sets[model.features]
            used |= {model.label.source, *(p.views[v].source for v in features.views)}
            used.add(p.grids[features.spine].source if features.spine in p.grids else features.spine)
        for source in p.sources.values():
            if source.history_basis is None:
                needed = source.name in used
                times = [c.name for c in source.schema.columns if c.type == "time" and c.role == "value"]
                remedy = f"mark `{times[0]}` hf.arrival_time()" if times else "add an hf.arrival_time() column"
                self.out.report(
                    "HF109",
                    f"source `{source.name}` says nothing of when its history arrived"
                    + (", and models are trained on it." if needed else "; only live rows can enter it."),
                    f"sources.{source.name}",
                    hint=f'{remedy}, or state the delay: known_after="0s"',
                    severity="error" if needed else "warning",
                )
