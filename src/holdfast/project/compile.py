"""Compilation: what a user wrote becomes nouns; what cannot become one becomes a problem with its place.

Structure is judged here (types, durations, duplicates, cycles, captured functions); meaning is judged over
the compiled nouns by `holdfast.project.validate`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, cast

from holdfast.datasets.label import Label
from holdfast.datasets.spine import Grid
from holdfast.datasets.split import TimeSplit
from holdfast.decisions.release import Canary, Fallback, Guard, Release
from holdfast.events.entity import Entity
from holdfast.events.source import SYSTEM_COLUMNS, Source
from holdfast.features.aggregate import AGGREGATES
from holdfast.features.view import Feature, FeatureSet, Measure, View
from holdfast.features.window import Window, default_hop
from holdfast.kernel.errors import ContractError, DefinitionError, Problem, did_you_mean
from holdfast.kernel.expr import Expr, const
from holdfast.kernel.ids import digest, settled
from holdfast.kernel.schema import Column, ColumnType, Role, Schema
from holdfast.kernel.time import parse_duration
from holdfast.project import definition as d
from holdfast.project.capture import MeasureTerm, Row, Term
from holdfast.project.compiled import CompiledObjectives, CompiledProject, Table
from holdfast.registry.approval import ApprovalPolicy
from holdfast.training.gate import Gate
from holdfast.training.model import Baseline, Cost, Forecast, Model, SearchSpace
from holdfast.training.policy import Bands

_TYPES: dict[type, ColumnType] = {
    str: "string", int: "int", float: "float", Decimal: "decimal", bool: "bool", datetime: "time",
}  # fmt: skip


@dataclass
class Compilation:
    """A compiled project, the problems found on the way, and the place of each path."""

    project: CompiledProject
    problems: list[Problem] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def report(
        self, code: str, message: str, at: str, *, place: str = "", has: Any = (), hint: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> None:  # fmt: skip
        """Add a problem at a path; its place is looked up along the path where none is given."""
        where, path = place, at
        while not where and path:
            where = self.places.get(path, "")
            path = path.rpartition(".")[0]
        self.problems.append(Problem(code, message, at, where, tuple(has), hint, severity))


def compile_project(project: d.Project) -> Compilation:
    """Return the compiled project with all structural problems; never raises for a user's mistake."""
    return _Compiler(project).run()


class _Compiler:
    def __init__(self, project: d.Project) -> None:
        self.spec = project
        self.out = Compilation(CompiledProject(project.name))
        self.sources: dict[str, Source] = {}
        self.tables: dict[str, Table] = {}
        self.views: dict[str, View] = {}
        self.grids: dict[str, Grid] = {}
        self.grid_specs: dict[int, str] = {}
        self.feature_sets: dict[str, FeatureSet] = {}
        self.models: dict[str, Model] = {}
        self.releases: dict[str, Release] = {}

    def run(self) -> Compilation:
        spec = self.spec
        self.out.places["project"] = spec.place
        for source in spec.sources:
            self.source(source)
        for table in spec.tables:
            self.table(table)
        for view in spec.views:
            self.view(view)
        for features in spec.feature_sets:
            self.features(features)
        for model in spec.models:
            self.model(model)
        for release in spec.releases:
            self.release(release)
        objectives = None
        if spec.objectives is not None:
            o = spec.objectives
            objectives = CompiledObjectives(
                None if o.p99 is None else self.duration(o.p99, "project.objectives.p99"),
                None if o.rps is None else float(o.rps),
                None if o.freshness is None else self.duration(o.freshness, "project.objectives.freshness"),
            )
        people: dict[str, tuple[str, ...]] = {}
        for role, names in spec.people.items():
            if isinstance(names, str):
                self.out.report("HF110", f"`people` gives role `{role}` a text, a list of names is expected.",
                                "project.people", hint=f"write [{names!r}]")  # fmt: skip
                names = [names]
            people[role] = tuple(names)
        compiled = CompiledProject(
            spec.name, spec.owner, people, objectives, self.sources, self.tables, self.views, self.grids,
            self.feature_sets, self.models, self.releases,
        )  # fmt: skip
        try:
            self.out.project = settled(compiled)
        except ContractError as error:
            self.out.project = compiled
            self.out.report("HF103", f"a value has a type that cannot be stored: {error.problem.message}", "project")
        return self.out

    # --- small things ---------------------------------------------------------------------------------

    def duration(self, value: Any, at: str, place: str = "") -> int:
        try:
            us = parse_duration(value)
        except DefinitionError as error:
            p = error.problem
            self.out.report(p.code, p.message, at, place=place, hint=p.hint)
            return 0
        if us < 0:
            self.out.report("HF105", f"a duration cannot be negative, found {value!r}.", at, place=place)
        return us

    def unique(self, name: str, taken: Any, kind: str, place: str) -> bool:
        at = f"{kind}s.{name}"
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            self.out.report("HF101", f"{kind} name {name!r} is not a plain identifier.", at, place=place,
                            hint="use letters, digits and underscores, beginning with a letter")  # fmt: skip
            return False
        if name in taken:
            self.out.report("HF101", f"{kind} `{name}` is defined twice.", at, place=place,
                            hint=f"the first is at {self.out.places.get(at, 'the same file')}")  # fmt: skip
            return False
        self.out.places[at] = place
        return True

    def guarded(self, call: Callable[[], Any], at: str, place: str) -> Any:
        """Run a user's function while capturing; any exception becomes a problem."""
        try:
            return call()
        except DefinitionError as error:
            for p in error.problems:
                self.out.report(p.code, p.message, at, place=p.place or place, has=p.has, hint=p.hint)
        except Exception as error:  # the user's own code may raise anything
            line = _user_line(error) or place
            self.out.report("HF103", f"the function fails while it is read: {type(error).__name__}: {error}.", at,
                            place=line, hint="it is called once with stand-ins for columns")  # fmt: skip
        return None

    # --- schemas and sources --------------------------------------------------------------------------

    def schema(self, event: Any, at: str, *, needs_roles: bool = True) -> Schema:
        if not isinstance(event, type) or not issubclass(event, d.Event):
            self.out.report("HF111", f"a schema is a class derived from hf.Event, found {event!r}.", at)
            return Schema(getattr(event, "__name__", "?"), ())
        place = event._holdfast_place
        try:
            hints = typing.get_type_hints(event)
        except Exception as error:
            self.out.report("HF111", f"the annotations of `{event.__name__}` cannot be read: {error}.", at, place=place)
            hints = {}
        columns: list[Column] = []
        for name, annotation in hints.items():
            if name.startswith("_"):
                if not name.startswith("_holdfast"):
                    self.out.report("HF111", f"column `{name}` begins with an underscore.", f"{at}.{name}",
                                    place=place, hint=f"such names are kept for {', '.join(SYSTEM_COLUMNS)}")  # fmt: skip
                continue
            column = self.column(event, name, annotation, f"{at}.{name}", place)
            if column is not None:
                columns.append(column)
        schema = Schema(event.__name__, tuple(columns))
        if needs_roles:
            for role, words in (("event_id", "identifies an event"), ("event_time", "says when it happened")):
                count = sum(column.role == role for column in columns)
                if count != 1:
                    self.out.report("HF111", f"`{event.__name__}` has {count} columns marked hf.{role}(), exactly one is needed.",
                                    at, place=place, hint=f"mark the column that {words}: `name: ... = hf.{role}()`")  # fmt: skip
            if sum(column.role == "arrival_time" for column in columns) > 1:
                self.out.report("HF111", f"`{event.__name__}` has several columns marked hf.arrival_time().", at, place=place)
        return schema

    def column(self, event: type, name: str, annotation: Any, at: str, place: str) -> Column | None:
        nullable, kind = False, annotation
        if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
            options = [a for a in typing.get_args(annotation) if a is not type(None)]
            nullable = len(options) < len(typing.get_args(annotation))
            kind = options[0] if len(options) == 1 else annotation
        if kind not in _TYPES:
            self.out.report("HF111", f"column `{name}` has type {kind!r}, which a schema cannot hold.", at, place=place,
                            has=("str", "int", "float", "Decimal", "bool", "datetime"),
                            hint=did_you_mean(getattr(kind, "__name__", str(kind)), [t.__name__ for t in _TYPES]))  # fmt: skip
            return None
        spec = event.__dict__.get(name, getattr(event, name, None))
        if spec is not None and not isinstance(spec, d.FieldSpec):
            self.out.report("HF111", f"column `{name}` has a default {spec!r}; events have none.", at, place=place,
                            hint="use hf.field(...), or `| None` for a column that may be missing")  # fmt: skip
            spec = None
        spec = spec or d.FieldSpec()
        type_ = _TYPES[kind]
        scale = spec.scale
        if spec.role in ("event_time", "arrival_time") and type_ != "time":
            self.out.report("HF111", f"column `{name}` is marked hf.{spec.role}() and must be a datetime.", at, place=place)
        if spec.role == "event_id" and type_ not in ("string", "int"):
            self.out.report("HF111", f"column `{name}` is marked hf.event_id() and must be str or int.", at, place=place)
        if spec.role != "value" and nullable:
            self.out.report("HF111", f"column `{name}` is marked hf.{spec.role}() and cannot be `| None`.", at, place=place)
        if scale is not None and (type_ not in ("decimal", "float") or not 0 <= scale <= 9):
            self.out.report("HF111", f"column `{name}` declares scale {scale}; Decimal and float columns take 0 to 9.",
                            at, place=place)  # fmt: skip
            scale = None
        if type_ == "decimal" and scale is None:
            scale = 2
            self.out.report("HF112", f"column `{name}` is a Decimal without scale; 2 places are inferred.", at, place=place,
                            hint=f"say it: `{name}: Decimal = hf.field(scale=2)`", severity="warning")  # fmt: skip
        if spec.ge is not None and spec.le is not None and spec.ge > spec.le:
            self.out.report("HF111", f"column `{name}` has ge={spec.ge} above le={spec.le}.", at, place=place)
        if (spec.ge is not None or spec.le is not None) and type_ not in ("int", "float", "decimal"):
            self.out.report("HF111", f"column `{name}` is {type_} and cannot have bounds.", at, place=place)
        if spec.one_of is not None and type_ != "string":
            self.out.report("HF111", f"column `{name}` is {type_}; one_of is for texts.", at, place=place)
        return Column(
            name, type_, nullable, cast(Role, spec.role), scale, spec.ge, spec.le, spec.max_length, spec.one_of, spec.doc
        )

    def source(self, handle: d.SourceHandle) -> None:
        name = handle._source
        if not self.unique(name, self.sources, "source", handle._place):
            return
        at = f"sources.{name}"
        schema = self.schema(handle._event, at)
        lateness = self.duration(handle._lateness, f"{at}.lateness")
        known = None if handle._known_after is None else self.duration(handle._known_after, f"{at}.known_after")
        if known is not None and schema.arrival_time is not None:
            self.out.report("HF109", f"source `{name}` has both an arrival column `{schema.arrival_time.name}` and known_after.",
                            at, hint="the column is exact: drop known_after", severity="warning")  # fmt: skip
        self.sources[name] = Source(name, schema, lateness, known)

    def table(self, handle: d.TableHandle) -> None:
        if not self.unique(handle._name, [*self.sources, *self.tables], "table", handle._place):
            return
        at = f"tables.{handle._name}"
        schema = self.schema(handle._event, at, needs_roles=False)
        key = (handle._key,) if isinstance(handle._key, str) else tuple(handle._key)
        for column in (*key, *(handle._valid or ())):
            if schema.find(column) is None:
                self.out.report("HF102", f"table `{handle._name}` names column `{column}`, which `{schema.name}` does not have.",
                                at, has=schema.names, hint=did_you_mean(column, schema.names))  # fmt: skip
        self.tables[handle._name] = Table(handle._name, schema, key, handle._valid, handle._known_ahead)

    # --- views ----------------------------------------------------------------------------------------

    def source_name(self, source: Any, at: str, place: str) -> str | None:
        if isinstance(source, d.SourceHandle) and source._source in self.sources:
            return source._source
        if isinstance(source, type) and issubclass(source, d.Event):
            found = [h._source for h in self.spec.sources if h._event is source]
            if len(found) == 1:
                return found[0]
            said = "no source" if not found else "several sources"
            self.out.report("HF102", f"{said} of this project hold `{source.__name__}` events.", at, place=place,
                            has=tuple(self.sources), hint="hand in the source itself")  # fmt: skip
            return None
        self.out.report("HF102", f"a source of this project is expected, found {source!r}.", at, place=place,
                        has=tuple(self.sources))  # fmt: skip
        return None

    def measure(self, name: str, term: MeasureTerm, at: str) -> Measure:
        over = self.duration(term.over, at, term.place)
        offset = self.duration(term.offset, at, term.place)
        if over <= 0:
            self.out.report("HF105", f"a window must be longer than 0, found {term.over!r}.", at, place=term.place)
            over = 1
        hop = default_hop(over) if term.hop is None else self.duration(term.hop, at, term.place)
        if term.after:
            hop = 0
        where = None
        if term.where is not None:
            if isinstance(term.where, Term):
                where = term.where.expr
            else:
                self.out.report("HF103", f"where= takes a condition over the event's columns, found {term.where!r}.",
                                at, place=term.place)  # fmt: skip
        self.out.places[at] = term.place
        if hop > over:
            self.out.report("HF105", f"hop {term.hop!r} is longer than the window {term.over!r}.", at, place=term.place)
        assert term.aggregate in AGGREGATES
        return Measure(name, cast(Any, term.aggregate), Window(over, offset, hop), term.column, where)

    def view(self, handle: d.ViewHandle) -> None:
        name = handle._name
        if not self.unique(name, self.views, "view", handle._place):
            return
        at = f"views.{name}"
        source = self.source_name(handle._source, at, handle._place)
        captured = self.guarded(handle._capture, at, handle._place)
        self.duplicate_keys(handle._function, at, handle._place)
        if source is None or captured is None:
            return
        measures: list[Measure] = []
        for key, term in captured.items():
            path = f"{at}.{key}"
            if not key:
                self.out.report("HF103", f"view `{name}` returns {type(term).__name__}, a dict of aggregates is expected.", at)
            elif not isinstance(term, MeasureTerm):
                found = "a plain column" if isinstance(term, Term) else repr(term)
                self.out.report("HF103", f"`{key}` is {found}, an aggregate over a window is expected.", path,
                                place=getattr(term, "place", ""), hint="for example tx.amount.sum(over='24h')")  # fmt: skip
            else:
                if term.after:
                    self.out.report("HF108", f"`{key}` looks after the row's time; a feature may only look before.", path,
                                    place=term.place, hint="after=True is for labels")  # fmt: skip
                if term.source != source:
                    self.out.report("HF103", f"`{key}` aggregates source `{term.source}` inside a view of `{source}`.", path,
                                    place=term.place)  # fmt: skip
                measures.append(self.measure(key, term, path))
        entity = handle._entity
        if not isinstance(entity, d.Entity):
            self.out.report("HF102", f"view `{name}` needs entity=hf.Entity(...), found {entity!r}.", at)
            return
        self.views[name] = View(name, source, Entity(entity.name, entity.key), tuple(measures))

    def duplicate_keys(self, function: Callable[..., Any], at: str, place: str) -> None:
        """A dict literal keeps the last of two equal keys silently; the source text shows both."""
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError, IndentationError):
            return
        scope = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Return) or not isinstance(node.value, ast.Dict):
                continue
            seen: set[str] = set()
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                names: list[str] = []
                if isinstance(key, ast.Constant):
                    names = [str(key.value)]
                elif key is None and isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
                    handle = scope.get(value.value.id)
                    if isinstance(handle, d.ViewHandle):
                        names = list(handle._captured or ())
                for name in names:
                    if name in seen:
                        line = f"{place.rpartition(':')[0]}:{first + (key or value).lineno - 1}"
                        self.out.report("HF101", f"`{name}` is set twice.", f"{at}.{name}", place=line,
                                        hint="the last would win silently: rename or remove one")  # fmt: skip
                    seen.add(name)

    # --- feature sets ---------------------------------------------------------------------------------

    def grid(self, spine: d.Spine, source: str | None, at: str) -> str | None:
        if source is None:
            self.out.report("HF102", "a spine of entities needs a view, so that it is known where they are seen.", at,
                            place=spine.place)  # fmt: skip
            return None
        every = self.duration(spine.every, at, spine.place)
        if every <= 0:
            self.out.report("HF105", f"a spine's step must be longer than 0, found {spine.every!r}.", at, place=spine.place)
            every = 1
        entities = tuple(Entity(e.name, e.key) for e in spine.entities)
        name = "_".join([*(e.name for e in entities), "every", str(spine.every)])
        schema = self.sources[source].schema
        for entity in entities:
            for key in entity.key:
                if schema.find(key) is None:
                    self.out.report("HF102", f"entity `{entity.name}` has key `{key}`, which source `{source}` does not have.",
                                    at, place=spine.place, has=schema.names, hint=did_you_mean(key, schema.names))  # fmt: skip
                    return None
        self.grids[name] = Grid(name, source, entities, every, spine.include_zero)
        return name

    def features(self, handle: d.FeaturesHandle) -> None:
        name = handle.name
        if not self.unique(name, self.feature_sets, "feature_set", handle.place):
            return
        at = f"feature_sets.{name}"
        views = [v._name for v in handle.inputs if isinstance(v, d.ViewHandle)]
        tables = [t._name for t in handle.inputs if isinstance(t, d.TableHandle)]
        for other in handle.inputs:
            if not isinstance(other, (d.ViewHandle, d.TableHandle)):
                self.out.report("HF102", f"inputs of features are views and tables, found {other!r}.", at)
        if isinstance(handle.spine, d.Spine):
            seen_in = next((self.views[v].source for v in views if v in self.views), None)
            spine = self.grid(handle.spine, seen_in, at)
        else:
            spine = self.source_name(handle.spine, at, handle.place)
        captured = self.guarded(lambda: handle.function(Row()), at, handle.place)
        self.duplicate_keys(handle.function, at, handle.place)
        if spine is None or captured is None:
            return
        if not isinstance(captured, dict):
            self.out.report("HF103", f"`{name}` returns {type(captured).__name__}, a dict of features is expected.", at)
            return
        grid = self.grids.get(spine)
        schema = self.sources[spine].schema if grid is None else grid.schema(self.sources[grid.source].schema)
        columns = {column.name: column for column in schema.columns}
        known: dict[str, str] = dict.fromkeys(columns, f"column of {spine}")
        for view in views:
            if view not in self.views:
                continue  # its own problem is reported
            for measure in self.views[view].measures:
                if measure.name in known:
                    self.out.report("HF101", f"`{measure.name}` of view `{view}` is also a {known[measure.name]}.",
                                    f"views.{view}.{measure.name}", hint="rename it in the view")  # fmt: skip
                known[measure.name] = f"feature of {view}"
        for table in tables:
            known.update({f"{table}.{c.name}": f"column of {table}" for c in self.tables[table].schema.columns})
        broken_views = [v for v in views if v not in self.views]
        features = self.resolve(captured, known, columns, at, bool(broken_views))
        self.feature_sets[name] = FeatureSet(name, spine, features, tuple(v for v in views if v in self.views))

    def resolve(
        self, captured: dict[str, Any], known: dict[str, str], columns: dict[str, Column], at: str, lenient: bool
    ) -> tuple[Feature, ...]:
        """Turn terms into features; a name that is no column may be another feature of the same set."""
        terms: dict[str, Expr] = {}
        for key, value in captured.items():
            path = f"{at}.{key}"
            if isinstance(value, MeasureTerm):
                self.out.report("HF103", f"`{key}` aggregates a source; that is said in a view.", path, place=value.place)
            elif not isinstance(value, (Term, int, float, bool)):
                self.out.report("HF103", f"`{key}` is {value!r}, an expression over columns is expected.", path)
            else:
                terms[key] = value.expr if isinstance(value, Term) else const(value)
                if isinstance(value, Term):
                    self.out.places[path] = value.place
        done: dict[str, Expr] = {}

        def expand(expr: Expr, path: tuple[str, ...]) -> Expr:
            if expr.op != "col":
                return Expr(expr.op, tuple(expand(a, path) for a in expr.args), expr.params)
            name = str(expr.params[0])
            if name in known:
                return expr
            if name in path:
                circle = " -> ".join([*path[path.index(name) :], name])
                raise DefinitionError(f"features depend on each other in a circle: {circle}.", code="HF107")
            if name in terms:
                return feature(name, path)
            if not lenient:
                has = tuple(known)
                others = [n for n in terms if n not in path]
                self.out.report("HF102", f"`{path[-1]}` reads column `{name}`, which is neither a column nor a feature here.",
                                f"{at}.{path[-1]}", has=has, hint=did_you_mean(name, [*has, *others]))  # fmt: skip
            return const(None)

        def feature(name: str, path: tuple[str, ...]) -> Expr:
            if name not in done:
                done[name] = expand(terms[name], (*path, name))
            return done[name]

        features: list[Feature] = []
        circles: set[frozenset[str]] = set()
        for name in terms:
            try:
                expr = feature(name, ())
            except DefinitionError as error:
                circle = frozenset(error.problem.message.partition(": ")[2].rstrip(".").split(" -> "))
                if circle not in circles:
                    circles.add(circle)
                    self.out.report("HF107", error.problem.message, f"{at}.{name}", hint="break it by naming a column")
                continue
            column = columns.get(str(expr.params[0])) if expr.op == "col" else None
            if column is not None and column.type == "string":
                features.append(Feature(name, Expr("code", (expr,)), "categorical"))
            else:
                features.append(Feature(name, expr))
        return tuple(features)

    # --- models and releases --------------------------------------------------------------------------

    def label(self, spec: Any, at: str) -> Label | None:
        if not isinstance(spec, d.Label):
            self.out.report("HF103", f"label= takes hf.Label(...), found {spec!r}.", at)
            return None
        self.out.places[at] = spec.place
        if isinstance(spec.source, MeasureTerm):
            term = spec.source
            if not term.after:
                self.out.report("HF108", "the label's window lies before the row, so it is a feature, not an outcome.", at,
                                place=term.place, hint="add after=True")  # fmt: skip
            window = self.measure("label", term, f"{at}.window")
            horizon = window.window.over + window.window.offset if spec.horizon is None else self.duration(spec.horizon, at)
            if term.offset and term.offset not in (0, "0s"):
                self.out.report("HF105", "a label's window begins at the row's time; offset is not allowed.", at)
            if horizon < window.window.over:
                self.out.report("HF105", "horizon is shorter than the label's window.", at)
            return Label(term.source, horizon, None, None, spec.absent, spec.censored_by, window)
        source = self.source_name(spec.source, at, spec.place)
        if source is None:
            return None
        value = None
        if spec.value is not None:
            value = spec.value.expr if isinstance(spec.value, Term) else const(spec.value)
        if spec.key is None:
            self.out.report("HF102", "a label needs key=, the column shared by outcome and row.", at,
                            has=self.sources[source].schema.names)  # fmt: skip
        if spec.horizon is None:
            self.out.report("HF105", "a label needs horizon=, how long until the outcome is decided.", at)
        horizon = 0 if spec.horizon is None else self.duration(spec.horizon, at)
        absent = None if spec.absent is None else float(spec.absent)
        return Label(source, horizon, spec.key, value, absent, spec.censored_by)

    def model(self, handle: d.ModelHandle) -> None:
        name, options = handle.name, handle.options
        if not self.unique(name, self.models, "model", handle.place):
            return
        at = f"models.{name}"
        if not isinstance(handle.features, d.FeaturesHandle):
            self.out.report("HF102", f"a model takes features declared with project.features, found {handle.features!r}.", at)
            return
        label = self.label(options["label"], f"{at}.label")
        search: dict[str, SearchSpace] = {}
        for key, space in options["search"].items():
            if isinstance(space, (d.Int, d.Float)):
                if not space.low <= space.high:
                    self.out.report("HF103", f"search space of `{key}` has low {space.low} above high {space.high}.", at)
                kind: Literal["int", "float"] = "int" if isinstance(space, d.Int) else "float"
                search[key] = SearchSpace(kind, float(space.low), float(space.high), space.log)
            elif isinstance(space, d.Choice):
                search[key] = SearchSpace("choice", values=tuple(space.values))
            else:
                self.out.report("HF103", f"search space of `{key}` is {space!r}; hf.Int, hf.Float or hf.Choice is expected.", at)
        params: dict[str, Any] = {}
        for key, value in options["params"].items():
            if value is not None and not isinstance(value, (str, int, float, bool)):
                self.out.report("HF103", f"parameter `{key}` is {type(value).__name__}; numbers, texts and truth values travel.", at)
            else:
                params[key] = value
        split = options["split"] or d.TimeSplit()
        lengths = [None if v is None else self.duration(v, f"{at}.split") for v in (split.test, split.validation, split.gap)]
        baseline = Baseline("prior")
        if options["baseline"] is not None:
            baseline = Baseline("seasonal_naive", self.duration(options["baseline"].season, f"{at}.baseline"))
        cost = None
        if options["cost"] is not None:
            missed = options["cost"].missed
            if isinstance(missed, Term):
                missed = missed.expr.params[0] if missed.expr.op == "col" else None
            if isinstance(missed, bool) or not isinstance(missed, (int, float, str)):
                self.out.report("HF103", "Cost(missed=...) takes a number or the name of a column.", at)
                missed = 0.0
            act_on = options["cost"].act_on
            cost = Cost(float(options["cost"].false_alarm), missed if isinstance(missed, str) else float(missed),
                        None if act_on is None else tuple(act_on))  # fmt: skip
        forecast = None
        if options["forecast"] is not None:
            forecast = Forecast(tuple(options["forecast"].horizons), tuple(options["forecast"].quantiles))
        if label is None or handle.features.name not in self.feature_sets:
            return
        function = handle.function
        try:
            text = inspect.getsource(function)
        except (OSError, TypeError):
            text = function.__qualname__
        self.models[name] = Model(
            name, handle.features.name, label, f"{function.__module__}:{function.__qualname__}", digest(text.encode()),
            params, search, TimeSplit(*lengths), baseline, cost, forecast, int(options["precision_at"]),
        )  # fmt: skip

    def bound(self, limit: d.Limit, at: str) -> tuple[float, bool, float]:
        bound = limit.bound
        if isinstance(bound, d.Reference):
            return bound.margin, True, bound.factor
        if isinstance(bound, str):
            return float(self.duration(bound, at, limit.place)), False, 1.0
        if isinstance(bound, bool) or not isinstance(bound, (int, float)):
            self.out.report("HF110", f"a limit is a number, a duration or hf.champion(), found {bound!r}.", at, place=limit.place)
            return 0.0, False, 1.0
        return float(bound), False, 1.0

    def release(self, spec: d.ReleaseSpec) -> None:
        model = spec.model.name if isinstance(spec.model, d.ModelHandle) else str(spec.model)
        if not self.unique(model, self.releases, "release", spec.place):
            return
        at, options = f"releases.{model}", spec.options
        gates, guards = [], []
        for i, limit in enumerate(options["gates"]):
            path = f"{at}.gates[{i}]"
            if not isinstance(limit, d.Limit) or limit.kind != "metric":
                self.out.report("HF110", f"a gate compares hf.metric(...), found {limit!r}.", path)
                continue
            self.out.places[path] = limit.place
            value, relative, factor = self.bound(limit, path)
            gates.append(Gate(limit.name, cast(Any, limit.op), value, relative, factor))
        for i, limit in enumerate(options["guards"]):
            path = f"{at}.guards[{i}]"
            if not isinstance(limit, d.Limit) or limit.kind == "metric":
                self.out.report("HF110", f"a guard compares hf.errors(), hf.p99(), hf.prediction_shift() or hf.kpi(...), "
                                f"found {limit!r}.", path)  # fmt: skip
                continue
            value, relative, factor = self.bound(limit, path)
            guards.append(Guard(cast(Any, limit.kind), cast(Any, limit.op), value, limit.name, relative, factor))
        approval = options["approval"]
        decision = None
        if options["decision"] is not None:
            floors = options["decision"].floors
            bad = [n for n, v in floors.items() if isinstance(v, bool) or not isinstance(v, (int, float))]
            if bad or not floors:
                self.out.report("HF110", f"bands are names with their lowest score, found {floors!r}.", f"{at}.decision")
            else:
                decision = Bands(tuple(sorted(((n, float(v)) for n, v in floors.items()), key=lambda b: -b[1])))
        rollout = None
        if options["rollout"] is not None:
            canary = options["rollout"]
            rollout = Canary(tuple(float(s) for s in canary.steps), self.duration(canary.hold, f"{at}.rollout"), canary.unit.name)
        fallback = []
        for i, step in enumerate(options["fallback"]):
            rules = None
            if step.rules is not None:
                captured = self.guarded(lambda step=step: step.rules(Row()), f"{at}.fallback[{i}]", step.place)
                rules = captured.expr if isinstance(captured, Term) else const(captured)
            fallback.append(Fallback(cast(Any, step.kind), rules, step.value))
        self.releases[model] = Release(
            model, tuple(gates),
            None if approval is None else ApprovalPolicy(approval.role, approval.not_author),
            decision, 0.0 if options["holdout"] is None else float(options["holdout"].share),
            rollout, tuple(guards), tuple(fallback),
        )  # fmt: skip


def _user_line(error: BaseException) -> str:
    """Return ``file:line`` of the innermost frame that is not ours."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] != "holdfast":
            name = trace.tb_frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
            found = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


