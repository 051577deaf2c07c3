"""Validation: everything a compiled project says that cannot hold, all at once.

Errors refuse; warnings say what was assumed. Each problem carries its place and a computed hint.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import pairwise

from holdfast.datasets.label import Label
from holdfast.events.entity import Entity
from holdfast.events.source import Source
from holdfast.features.aggregate import AGGREGATES
from holdfast.features.view import FeatureSet, Measure, is_text, measure_type
from holdfast.kernel.errors import Problem, did_you_mean
from holdfast.kernel.expr import Expr
from holdfast.kernel.schema import FIXED_POINT_LIMIT, Column, Schema
from holdfast.kernel.time import format_duration
from holdfast.kernel.typecheck import check, check_values
from holdfast.project.compilation import Compilation
from holdfast.project.leaks import find_leaks
from holdfast.training.gate import Gate
from holdfast.training.metric import METRICS, Metric, find_metric, shown_name
from holdfast.training.model import Cost, Model
from holdfast.training.policy import Bands

_NUMBERS = ("int", "float", "decimal")


def validate(compilation: Compilation) -> list[Problem]:
    """Return all problems of a compiled project, errors first, each once."""
    _Checks(compilation).run()
    unique = dict.fromkeys(compilation.problems)
    return sorted(unique, key=lambda p: p.severity != "error")


class _Checks:
    def __init__(self, compilation: Compilation) -> None:
        self.out = compilation
        self.project = compilation.project

    def run(self) -> None:
        project = self.project
        for view in project.views.values():
            source = project.sources[view.source]
            for measure in view.measures:
                self.measure(measure, source, f"views.{view.name}.{measure.name}")
            self.keys(view.entity, source.schema, f"views.{view.name}")
        for features in project.feature_sets.values():
            self.features(features)
        for model in project.models.values():
            self.model(model)
        for release in project.releases:
            self.release(release)
        self.history()
        find_leaks(self.out)

    # --- views ----------------------------------------------------------------------------------------

    def keys(self, entity: Entity, schema: Schema, at: str) -> None:
        for column in entity.key:
            if schema.find(column) is None:
                self.out.report(
                    "HF102",
                    f"entity `{entity.name}` has key `{column}`, which `{schema.name}` does not have.",
                    at,
                    has=schema.names,
                    hint=did_you_mean(column, schema.names),
                )

    def expression(self, expr: Expr, columns: dict[str, Column], at: str) -> None:
        for problem in (*check(expr, columns), *check_values(expr, columns)):
            self.out.report(problem.code, problem.message, at, has=problem.has, hint=problem.hint)

    def measure(self, measure: Measure, source: Source, at: str) -> None:
        schema = source.schema
        if measure.where is not None:
            self.expression(measure.where, {c.name: c for c in schema.columns}, at)
        if measure.column is None:
            return
        column = schema.find(measure.column)
        if column is None:
            self.out.report(
                "HF102",
                f"`{measure.name}` reads column `{measure.column}`, "
                f"which source `{source.name}` does not have.",
                at,
                has=schema.names,
                hint=did_you_mean(measure.column, schema.names),
            )
        elif AGGREGATES[measure.aggregate].takes == "numbers" and column.type not in _NUMBERS:
            self.out.report(
                "HF104",
                f"`{measure.name}` takes the {measure.aggregate} of `{column.name}`, which is {column.type}.",
                at,
                has=[c.name for c in schema.columns if c.type in _NUMBERS],
                hint="count(), distinct(), first() and last() take any column",
            )
        elif measure.aggregate != "count" and AGGREGATES[measure.aggregate].fixed_point:
            self.fixed_point(measure, column, source, at)

    def fixed_point(self, measure: Measure, column: Column, source: Source, at: str) -> None:
        """Judge a column that is summed: it has a scale, and its bounds allow no overflow."""
        if column.type == "float" and column.scale is None:
            self.out.report(
                "HF104",
                f"`{measure.name}` takes the {measure.aggregate} of float column `{column.name}` "
                "without a scale, so its value would depend on the order of events.",
                at,
                hint=f"declare its decimal places: `{column.name}: float = hf.field(scale=2)`",
            )
            return
        factor = 10 ** (column.scale or 0)
        most = FIXED_POINT_LIMIT / factor
        bounds = [abs(bound) for bound in (column.ge, column.le) if bound is not None]
        if bounds and max(bounds) > most:
            places = max(0, math.floor(math.log10(FIXED_POINT_LIMIT / max(bounds))))
            self.out.report(
                "HF106",
                f"`{measure.name}` may overflow: `{column.name}` is bounded by {max(bounds):g} with "
                f"{column.scale or 0} decimal places, at most {most:.12g} is exact.",
                at,
                hint=f"tighten the bound to {most:.12g}"
                + (f", or use scale={places}" if column.scale else ""),
            )
        elif len(bounds) < 2:
            self.out.report(
                "HF112",
                f"`{column.name}` of source `{source.name}` enters {measure.aggregate} without both bounds; "
                f"|{column.name}| <= {most:.12g} is enforced at ingestion.",
                f"sources.{source.name}.{column.name}",
                hint="declare them: hf.field(ge=..., le=...)",
                severity="warning",
            )

    # --- features -------------------------------------------------------------------------------------

    def features(self, features: FeatureSet) -> None:
        at = f"feature_sets.{features.name}"
        schema = self.project.spine_schema(features)
        for name in features.views:
            view = self.project.views[name]
            if view.source != features.spine:  # else the view itself has been told
                self.keys(view.entity, schema, at)
            self.key_types(view.entity, schema, self.project.sources[view.source].schema, at)
        if not features.features:
            self.out.report("HF103", f"`{features.name}` returns no features.", at)
        columns = self.readable(features)
        for feature in features.features:
            if f"{at}.{feature.name}" not in self.out.unresolved:
                self.expression(feature.expr, columns, f"{at}.{feature.name}")

    def key_types(self, entity: Entity, spine: Schema, source: Schema, at: str) -> None:
        """Judge that a key has one type in the rows and in the events it is looked up in."""
        for name in entity.key:
            here, there = spine.find(name), source.find(name)
            if here is None or there is None or (here.type, here.scale) == (there.type, there.scale):
                continue
            self.out.report(
                "HF104",
                f"key `{name}` of entity `{entity.name}` is {here.type} in `{spine.name}` "
                f"and {there.type} in `{source.name}`, so nothing would ever match.",
                at,
                hint="declare it alike in both",
            )

    def readable(self, features: FeatureSet) -> dict[str, Column]:
        """Return what the expressions of a feature set may read."""
        columns = {c.name: c for c in self.project.spine_schema(features).columns}
        for view in features.views:
            for measure in self.project.views[view].measures:
                schema = self.project.sources[self.project.views[view].source].schema
                columns[measure.name] = Column(measure.name, measure_type(measure, schema), nullable=True)
        return columns

    # --- models ---------------------------------------------------------------------------------------

    def model(self, model: Model) -> None:
        at = f"models.{model.name}"
        features = self.project.feature_sets[model.features]
        spine = self.project.spine_schema(features)
        self.label(model.label, features, f"{at}.label")
        if model.test_where is not None:
            self.expression(model.test_where, self.readable(features), f"{at}.test_where")
        if model.precision_per is not None:
            self.keys(model.precision_per, spine, f"{at}.precision_per")
        if model.cost is not None and isinstance(model.cost.missed, str):
            column = spine.find(model.cost.missed)
            if column is None or column.type not in _NUMBERS:
                names = [c.name for c in spine.columns if c.type in _NUMBERS]
                self.out.report(
                    "HF102",
                    f"the cost reads column `{model.cost.missed}`, which is not a number of the spine.",
                    at,
                    has=names,
                    hint=did_you_mean(model.cost.missed, names),
                )
        self.forecast(model, features.spine, at)
        if model.search:
            self.unacted(
                f"model `{model.name}` declares search=; nothing searches yet, and each run takes the "
                "parameters it is given.",
                at,
                "drop search=, and try values by hand: holdfast train "
                f"{model.name} --set {next(iter(model.search))}=...",
            )
        for key in model.search:
            if key not in model.params:
                near = did_you_mean(key, model.params)
                self.out.report(
                    "HF103",
                    f"searched parameter `{key}` has no starting value in params.",
                    at,
                    has=model.params,
                    hint=near or f"add params={{{key!r}: ...}}",
                    severity="warning",
                )

    def forecast(self, model: Model, spine: str, at: str) -> None:
        """Judge what a model over a grid says of horizons and seasons."""
        grid, forecast = self.project.grids.get(spine), model.forecast
        if grid is None:
            for what, said in (("forecast=", forecast), ("hf.SeasonalNaive", model.baseline.season)):
                if said is not None:
                    self.out.report(
                        "HF110",
                        f"{what} is for rows of an hf.Spine, but `{model.features}` has rows of `{spine}`.",
                        at,
                        hint="hf.Spine(entity, every=...) as the first argument of @project.features",
                    )
            return
        if model.baseline.season == 0:
            self.out.report("HF105", "a season is longer than 0.", at)
        if forecast is None:
            return
        if not grid.include_zero:
            self.out.report(
                "HF110",
                "a forecast needs every instant of a series, but the spine leaves out those without events.",
                at,
                hint="include_zero=True",
            )
        if forecast.origins is not None and forecast.origins % grid.every:
            self.out.report(
                "HF105",
                f"origins {format_duration(forecast.origins)} apart are no rows of a spine with one every "
                f"{format_duration(grid.every)}.",
                at,
            )
        for name in self.project.feature_sets[model.features].views:
            table = self.project.tables.get(name)
            if table is not None and table.known_ahead and table.schema.arrival_time is None:
                self.out.report(
                    "HF109",
                    f"`{model.name}` looks ahead into table `{name}`, whose rows do not say when they were "
                    "announced; they are taken as known from their begin on, never ahead.",
                    f"tables.{name}",
                    hint="add a column announced_at: datetime = hf.arrival_time()",
                    severity="warning",
                )
        if forecast.quantiles:
            self.out.report(
                "HF113",
                f"model `{model.name}` asks for quantiles; they compile but cannot be trained yet.",
                at,
                hint="drop quantiles=: the expected value is forecast",
                severity="warning",
            )

    def label(self, label: Label, features: FeatureSet, at: str) -> None:
        source = self.project.sources[label.source]
        if label.window is not None:
            self.measure(label.window, source, f"{at}.window")
            if is_text(label.window, source.schema):
                self.out.report(
                    "HF104",
                    f"the label is the {label.window.aggregate} `{label.window.column}`, a text; "
                    "a label is a number.",
                    at,
                    hint="count or sum events that fulfil where=",
                )
        if features.spine in self.project.grids:
            if label.window is not None:
                return
            self.out.report(
                "HF102",
                "rows of a grid have no event to join an outcome to.",
                at,
                hint="label with an aggregate: source.column.sum(over=..., after=True)",
            )
            return
        if label.value is not None:
            self.expression(label.value, {c.name: c for c in source.schema.columns}, at)
        spine = self.project.spine_schema(features)
        if label.key is None:
            message = "a label needs key=, the column shared by outcome and row."
            self.out.report("HF102", message, at, has=source.schema.names)
        places = ((source.schema, f"source `{source.name}`"), (spine, f"spine `{features.spine}`"))
        for schema, what in places:
            if label.key is not None and schema.find(label.key) is None:
                self.out.report(
                    "HF102",
                    f"the label's key `{label.key}` is not a column of {what}.",
                    at,
                    has=schema.names,
                    hint=did_you_mean(label.key, schema.names),
                )
        if label.absent is None and label.value is None and label.window is None:
            message = "without absent= every labelled row has the value 1."
            self.out.report("HF108", message, at, hint="say absent=0")

    # --- releases -------------------------------------------------------------------------------------

    def release(self, name: str) -> None:
        project, at = self.project, f"releases.{name}"
        release = project.releases[name]
        model = project.models.get(name)
        if model is None and f"models.{name}" not in self.out.places:
            self.out.report(
                "HF102",
                f"a release names model `{name}`, which this project does not have.",
                at,
                has=project.models,
                hint=did_you_mean(name, project.models),
            )
        self.gates(name, model)
        if release.approval is not None and not project.people.get(release.approval.role):
            near = did_you_mean(release.approval.role, project.people)
            self.out.report(
                "HF110",
                f"approval needs role `{release.approval.role}`, which nobody has.",
                at,
                has=project.people,
                hint=near or f'people={{"{release.approval.role}": ["..."]}}',
            )
        if release.decision is not None:
            self.bands(release.decision, f"{at}.decision")
        if model is not None:
            self.decision(release.decision, model.label.censored_by, model.cost, release.holdout, at)
            self.rules(name, model)
        if not 0 <= release.holdout < 1:
            self.out.report("HF110", f"the hold-out is a share in [0, 1), found {release.holdout:g}.", at)
        if release.rollout is not None and not _rise(release.rollout.steps):
            steps = [f"{step:g}" for step in release.rollout.steps]
            message = f"canary steps rise within (0, 100] percent, found {', '.join(steps) or 'none'}."
            self.out.report("HF110", message, f"{at}.rollout")
        if release.rollout is not None:
            self.unacted(
                f"release of `{name}` declares rollout=; nothing acts on it yet, and a version that is "
                "deployed answers every request at once.",
                f"{at}.rollout",
                f"drop rollout=, and watch after `holdfast deploy {name} ...`: performance, drift, parity",
            )
        if release.guards:
            self.unacted(
                f"release of `{name}` declares guards=; nothing watches them yet, and no version is rolled "
                "back by itself.",
                f"{at}.guards",
                f"drop guards=, and go back by hand: holdfast rollback {name} --reason ...",
            )

    def unacted(self, message: str, at: str, hint: str) -> None:
        """Warn of what can be declared and does nothing yet."""
        self.out.report("HF113", message, at, hint=hint, severity="warning")

    def gates(self, name: str, model: Model | None) -> None:
        at = f"releases.{name}"
        gates = self.project.releases[name].gates
        k = 100 if model is None else model.precision_at
        per = "" if model is None or model.precision_per is None else model.precision_per.name
        forecasts = model is None or model.forecast is not None
        computed = (
            name
            for name, metric in METRICS.items()
            if (metric.unit == "row" or per) and (forecasts or name != "rmsse")
        )
        metrics = sorted(shown_name(name, k, per) for name in computed)
        for i, gate in enumerate(gates):
            if gate.metric not in metrics and (model is not None or not gate.metric.startswith("precision@")):
                self.out.report(
                    "HF102",
                    f"gate reads metric `{gate.metric}`, which is not computed.",
                    f"{at}.gates[{i}]",
                    has=metrics,
                    hint=did_you_mean(gate.metric, metrics),
                )
            self.limit(gate, find_metric(gate.metric), f"{at}.gates[{i}]")
            if gate.metric == "cost" and model is not None and model.cost is None:
                self.out.report(
                    "HF110",
                    "gate reads `cost`, but the model declares none.",
                    f"{at}.gates[{i}]",
                    hint="declare cost=hf.Cost(...) with the model",
                )
        if all(gate.needs_champion for gate in gates):
            self.out.report(
                "HF110",
                f"release of `{name}` has no absolute gate, so its first version could not be judged.",
                at,
                hint='for example gates=[hf.metric("average_precision") >= 0.5]',
            )

    def limit(self, gate: Gate, metric: Metric | None, at: str) -> None:
        """Judge that a gate can pass and can fail."""
        if gate.relative or metric is None:
            return
        low, high = metric.range
        below = gate.value < low or (gate.value == low and gate.op == "<")
        above = gate.value > high or (gate.value == high and gate.op == ">")
        if not below and not above:
            return
        always = below == (gate.op in (">", ">="))
        allowed = f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        self.out.report(
            "HF110",
            f"gate `{gate.describe()}` can never {'fail' if always else 'pass'}: {gate.metric} is {allowed}.",
            at,
            hint=f"choose a limit that is {allowed}",
        )

    def bands(self, decision: Bands, at: str) -> None:
        names = [name for name, _ in decision.bands]
        floors = [floor for _, floor in decision.bands]
        for (one, low), (other, same) in pairwise(decision.bands):
            if low == same:
                self.out.report("HF110", f"bands `{one}` and `{other}` both begin at {low:g}.", at)
        if floors[-1] < 0:
            self.out.report(
                "HF110",
                f"band `{names[-1]}` begins at {floors[-1]:g}, below every score.",
                at,
                hint=f"let `{names[-1]}` begin at 0",
            )
        if floors[0] > 1:
            self.out.report("HF110", f"band `{names[0]}` begins at {floors[0]:g}, above every score.", at)
        if floors[-1] > 0:
            self.out.report(
                "HF110",
                f"no band covers scores below {floors[-1]:g}.",
                at,
                hint=f"let `{names[-1]}` begin at 0",
            )

    def decision(
        self, decision: Bands | None, censored: str | None, cost: Cost | None, holdout: float, at: str
    ) -> None:
        """Judge the recommendations that label and costs name."""
        if decision is None:
            if censored is not None:
                message = f"the label is censored by `{censored}`, but no decision gives it."
                self.out.report("HF110", message, at, hint=f"decision=hf.Bands({censored}=0.9, ...)")
            return
        names = [name for name, _ in decision.bands]
        if censored == names[-1] and holdout > 0:
            self.out.report(
                "HF110",
                f"`{censored}` prevents the outcome, and is the lowest band, which the hold-out is given: "
                "its outcomes would never be seen.",
                f"{at}.decision",
                hint=f"let `{censored}` begin above another band, or declare no hold-out",
            )
        if censored is not None:
            self.band(censored, names, f"the label is censored by `{censored}`", f"{at}.decision")
        for act in () if cost is None or cost.act_on is None else cost.act_on:
            self.band(act, names, f"the cost acts on `{act}`", f"{at}.decision")

    def band(self, name: str, bands: Collection[str], what: str, at: str) -> None:
        if name not in bands:
            hint = did_you_mean(name, bands)
            self.out.report("HF102", f"{what}, which is not a band.", at, has=bands, hint=hint)

    def rules(self, name: str, model: Model) -> None:
        chosen = self.project.feature_sets[model.features].features
        features = {feature.name: Column(feature.name, "float", nullable=True) for feature in chosen}
        for i, step in enumerate(self.project.releases[name].fallback):
            if step.rules is not None:
                self.expression(step.rules, features, f"releases.{name}.fallback[{i}]")

    # --- history --------------------------------------------------------------------------------------

    def history(self) -> None:
        project = self.project
        used: set[str] = set()
        for model in project.models.values():
            features = project.feature_sets[model.features]
            grid = project.grids.get(features.spine)
            used |= {model.label.source, *(project.views[v].source for v in features.views)}
            used.add(features.spine if grid is None else grid.source)
        for source in project.sources.values():
            if source.history_basis is not None:
                continue
            times = [c.name for c in source.schema.columns if c.type == "time" and c.role == "value"]
            remedy = f"mark `{times[0]}` hf.arrival_time()" if times else "add an hf.arrival_time() column"
            needed = source.name in used
            rest = ", and models are trained on it." if needed else "; only live rows can enter it."
            self.out.report(
                "HF109",
                f"source `{source.name}` says nothing of when its history arrived{rest}",
                f"sources.{source.name}",
                hint=f'{remedy}, or state the delay: known_after="0s"',
                severity="error" if needed else "warning",
            )


def _rise(steps: tuple[float, ...]) -> bool:
    """Whether shares rise within (0, 100] percent."""
    return bool(steps) and steps[0] > 0 and steps[-1] <= 100 and all(a < b for a, b in pairwise(steps))
