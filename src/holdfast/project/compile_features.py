"""Compilation of features: captured functions become views of measures and sets of expressions."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from holdfast.datasets.spine import AT, HORIZON, TARGET, Grid
from holdfast.events.entity import Entity
from holdfast.features.view import Feature, FeatureSet, Measure, View, is_text
from holdfast.features.window import Window, default_hop
from holdfast.kernel.errors import did_you_mean
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema
from holdfast.project import definition as d
from holdfast.project import event, rows
from holdfast.project.capture import MeasureTerm, Row, Term, is_broken
from holdfast.project.compilation import Compilation

_DEEPEST = 200  # levels of an expression: stored forms nest twice as deep, and readers have limits


def find_source(out: Compilation, spec: d.Project, source: Any, at: str, place: str) -> str | None:
    """Return the name of a source given by its handle or its schema, or None after reporting."""
    sources = out.project.sources
    if isinstance(source, d.SourceHandle) and source._source in sources:
        return source._source
    if isinstance(source, type) and issubclass(source, event.Event):
        found = [h._source for h in spec.sources if h._event is source]
        if len(found) == 1:
            return found[0] if found[0] in sources else None  # else it was refused, and that is told
        said = "no source" if not found else "several sources"
        out.report(
            "HF102",
            f"{said} of this project hold `{source.__name__}` events.",
            at,
            place=place,
            has=sources,
            hint="hand in the source itself",
        )
        return None
    message = f"a source of this project is expected, found {source!r}."
    out.report("HF102", message, at, place=place, has=sources)
    return None


# --- views --------------------------------------------------------------------------------------------


def compile_view(out: Compilation, spec: d.Project, handle: d.ViewHandle) -> None:
    """Add a view to the project."""
    name = handle._name
    if not out.claim(name, (*out.project.views, *out.project.tables), "view", handle._place):
        return
    at = f"views.{name}"
    source = find_source(out, spec, handle._source, at, handle._place)
    captured = out.captured(handle._capture, at, handle._place)
    if captured is None:
        handle._captured = {}  # said once: feature sets that read the view say nothing more
        return
    _check_duplicate_keys(out, handle._function, at, handle._place)
    measures = [
        measure
        for key, term in captured.items()
        if (measure := _view_measure(out, name, source, key, term)) is not None
    ]
    entity = compile_entity(out, handle._entity, at)
    if source is not None and entity is not None:
        out.project.views[name] = View(name, source, entity, tuple(measures))


def _view_measure(out: Compilation, view: str, source: str | None, key: Any, term: Any) -> Measure | None:
    at = f"views.{view}"
    path = f"{at}.{key}"
    if key == "":
        message = f"view `{view}` returns {type(term).__name__}, a dict of aggregates is expected."
        out.report("HF103", message, at)
        return None
    if is_broken(term):
        out.unresolved.add(path)
        return None
    if not isinstance(term, MeasureTerm):
        found = "a plain column" if isinstance(term, Term) else repr(term)
        out.unresolved.add(path)
        out.report(
            "HF103",
            f"`{key}` is {found}, an aggregate over a window is expected.",
            path,
            place=getattr(term, "place", ""),
            hint="for example tx.amount.sum(over='24h')",
        )
        return None
    if term.after:
        out.report(
            "HF108",
            f"`{key}` looks after the row's time; a feature may only look before.",
            path,
            place=term.place,
            hint="after=True is for labels",
        )
    if source is not None and term.source != source:
        message = f"`{key}` aggregates source `{term.source}` inside a view of `{source}`."
        out.report("HF103", message, path, place=term.place)
        out.unresolved.add(path)
        return None
    return compile_measure(out, str(key), term, path)


def compile_measure(out: Compilation, name: str, term: MeasureTerm, at: str) -> Measure:
    """Return one aggregate over one window; problems are reported at the path."""
    out.places[at] = term.place
    over = out.duration(term.over, at)
    offset = out.duration(term.offset, at)
    if over == 0:
        out.report("HF105", f"a window must be longer than 0, found {term.over!r}.", at)
    length = over or 1
    hop = default_hop(length) if term.hop is None else out.duration(term.hop, at)
    if over and hop is not None and hop > over:
        out.report("HF105", f"hop {term.hop!r} is longer than the window {term.over!r}.", at)
    where = None
    if isinstance(term.where, Term) and _depth(term.where.expr) > _DEEPEST:
        out.report("HF103", f"the condition of `{name}` is nested more than {_DEEPEST} levels deep.", at)
    elif isinstance(term.where, Term):
        where = term.where.expr
    elif term.where is not None:
        message = f"where= takes a condition over the event's columns, found {term.where!r}."
        out.report("HF103", message, at)
    window = Window(length, offset or 0, 0 if term.after else hop or 0)
    return Measure(name, cast(Any, term.aggregate), window, term.column, where)


def compile_entity(out: Compilation, spec: Any, at: str) -> Entity | None:
    """Return the entity; one name stands for one key in the whole project."""
    if not isinstance(spec, rows.Entity):
        out.report("HF102", f"an hf.Entity(...) is expected, found {spec!r}.", at)
        return None
    key = out.entities.setdefault(spec.name, spec.key)
    if key != spec.key:
        out.report(
            "HF101",
            f"entity `{spec.name}` has the key {', '.join(key)} and the key {', '.join(spec.key)}.",
            at,
            place=spec.place,
            hint="give one of them another name",
        )
    return Entity(spec.name, spec.key)


def _check_duplicate_keys(out: Compilation, function: Callable[..., Any], at: str, place: str) -> None:
    """Report keys that a dict literal of the function sets twice: Python keeps the last one silently."""
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return
    scope = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        seen: set[str] = set()
        for name, line in _keys(node, scope):
            if name in seen:
                out.report(
                    "HF101",
                    f"`{name}` is set twice.",
                    f"{at}.{name}",
                    place=f"{place.rpartition(':')[0]}:{first + line - 1}",
                    hint="the last would win silently: rename or remove one",
                )
            seen.add(name)


def _keys(node: ast.Dict, scope: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the keys of a dict literal with their lines, those of ``**view.all`` too."""
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant):
            yield str(key.value), key.lineno
        elif key is None and isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
            handle = scope.get(value.value.id)
            if isinstance(handle, d.ViewHandle):
                yield from ((name, value.lineno) for name in handle._captured or ())


# --- feature sets -------------------------------------------------------------------------------------


def compile_features(out: Compilation, spec: d.Project, handle: d.FeaturesHandle) -> None:
    """Add a feature set, and the grid it stands on, to the project."""
    name = handle.name
    if not out.claim(name, out.project.feature_sets, "feature_set", handle.place):
        return
    at = f"feature_sets.{name}"
    views = [v for v in handle.inputs if isinstance(v, d.ViewHandle)]
    tables = [t for t in handle.inputs if isinstance(t, d.TableHandle)]
    for other in handle.inputs:
        if not isinstance(other, d.ViewHandle | d.TableHandle):
            out.report("HF102", f"inputs of features are views and tables, found {other!r}.", at)
    if isinstance(handle.spine, rows.Spine):
        spine = _grid(out, handle.spine, views, at)
    else:
        spine = find_source(out, spec, handle.spine, at, handle.place)
    answer = out.captured(lambda: [handle.function(Row())], at, handle.place)  # a list: it may return None
    if answer is None:
        return
    captured = answer[0]
    _check_duplicate_keys(out, handle.function, at, handle.place)
    if not isinstance(captured, dict):
        message = f"`{name}` returns {type(captured).__name__}, a dict of features is expected."
        out.report("HF103", message, at)
        return
    if spine is None:
        return
    resolver = _Resolver(out, at, spine, _spine_columns(out, spine))
    for view in views:
        resolver.add_view(view)
    for table in tables:
        resolver.add_table(table)
    names = (*(view._name for view in views), *(table._name for table in tables))
    compiled = tuple(each for each in names if each in out.project.views)
    out.project.feature_sets[name] = FeatureSet(name, spine, resolver.features(captured), compiled)


def compile_condition(
    out: Compilation, features: d.FeaturesHandle, function: Any, at: str, place: str
) -> Expr | None:
    """Return a condition over what a feature set reads and its features, or None after reporting why not."""
    compiled = out.project.feature_sets[features.name]
    out.places[at] = place
    if not callable(function):
        out.report("HF103", f"a function of the row is expected, found {function!r}.", at)
        return None
    answer = out.captured(lambda: [function(Row())], at, place)
    if answer is None:
        return None
    head, _, name = at.rpartition(".")
    resolver = _Resolver(out, head, compiled.spine, _spine_columns(out, compiled.spine))
    for view in features.inputs:
        if isinstance(view, d.ViewHandle) and view._name in out.project.views:
            resolver.know(out.project.views[view._name])
    return resolver.condition(name, answer[0], {f.name: f.expr for f in compiled.features})


def _spine_columns(out: Compilation, spine: str) -> dict[str, Column]:
    grid = out.project.grids.get(spine)
    if grid is None:
        schema = out.project.sources[spine].schema
    else:
        schema = grid.schema(out.project.sources[grid.source].schema)
    return {column.name: column for column in schema.columns}


def _grid(out: Compilation, spine: rows.Spine, views: Collection[d.ViewHandle], at: str) -> str | None:
    project = out.project
    source = next((project.views[v._name].source for v in views if v._name in project.views), None)
    if source is None:
        if not views:
            message = "a spine of entities needs a view, so that it is known where they are seen."
            out.report("HF102", message, at, place=spine.place)
        return None
    every = out.duration(spine.every, at, spine.place)
    if every == 0:
        message = f"a spine's step must be longer than 0, found {spine.every!r}."
        out.report("HF105", message, at, place=spine.place)
    entities = [compile_entity(out, entity, at) for entity in spine.entities]
    found = tuple(entity for entity in entities if entity is not None)
    schema = project.sources[source].schema
    absent = [(e.name, key) for e in found for key in e.key if schema.find(key) is None]
    for name, key in absent:
        out.report(
            "HF102",
            f"entity `{name}` has key `{key}`, which source `{source}` does not have.",
            at,
            place=spine.place,
            has=schema.names,
            hint=did_you_mean(key, schema.names),
        )
    taken = [(e.name, key) for e in found for key in e.key if key in (AT, HORIZON, TARGET)]
    for entity_name, key in taken:
        out.report(
            "HF101",
            f"entity `{entity_name}` has key `{key}`, which a row of a spine has of its own.",
            at,
            place=spine.place,
            hint="rename the column",
        )
    if absent or taken or len(found) < len(entities) or not every:
        return None
    name = "_".join([*(entity.name for entity in found), "every", str(spine.every)])
    grid = Grid(name, source, found, every, spine.include_zero)
    if project.grids.setdefault(name, grid) != grid:
        message = f"spine `{name}` is declared differently at {out.places[f'grids.{name}']}."
        out.report("HF101", message, at, place=spine.place, hint="use one spine for both")
    out.places.setdefault(f"grids.{name}", spine.place)
    return name


class _CircleError(Exception):
    """Features that depend on each other."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.names = names


@dataclass
class _Resolver:
    """Turns captured terms into features; a name that is no column may be another feature of the same set.

    Attributes
    ----------
    spine, columns : name of the rows and their columns
    known : what each readable name is
    texts : those that are texts, so that a feature of one alone is a category
    holds : by column of a table, whether its row still holds at the row's time
    reported : names whose problem is said elsewhere
    lenient : whether an unknown name may belong to a view that could not be compiled
    """

    out: Compilation
    at: str
    spine: str
    columns: dict[str, Column]
    known: dict[str, str] = field(init=False)
    texts: set[str] = field(init=False)
    holds: dict[str, Expr] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)
    lenient: bool = False
    _terms: dict[str, Expr] = field(default_factory=dict)
    _done: dict[str, Expr] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = dict.fromkeys(self.columns, f"column of {self.spine}")
        self.texts = {name for name, column in self.columns.items() if column.type == "string"}

    def add_view(self, handle: d.ViewHandle) -> None:
        """Let the features of a view be read."""
        view = self.out.project.views.get(handle._name)
        if view is None:
            # What it would have is known, unless its function could not be read to the end.
            self.reported |= set(handle._captured or ())
            self.lenient = self.lenient or not handle._captured
            return
        self.reported |= {
            name for name in handle._captured or () if f"views.{view.name}.{name}" in self.out.unresolved
        }
        for measure in view.measures:
            if measure.name in self.known:
                self.out.report(
                    "HF101",
                    f"`{measure.name}` of view `{view.name}` is also a {self.known[measure.name]}.",
                    f"views.{view.name}.{measure.name}",
                    hint="rename it in the view",
                )
            self.known[measure.name] = f"feature of {view.name}"
            if is_text(measure, self.out.project.sources[view.source].schema):
                self.texts.add(measure.name)

    def know(self, view: View) -> None:
        """Let the features of a view that is judged elsewhere be read."""
        self.known.update({measure.name: f"feature of {view.name}" for measure in view.measures})

    def condition(self, name: str, value: Any, features: Mapping[str, Expr]) -> Expr | None:
        """Return a condition in which the names of features stand for their expressions."""
        self._terms = {name: self._term(name, value)}
        self._done = {other: expr for other, expr in features.items() if other != name}
        self._terms |= self._done
        expr = self._feature(name, ())
        return None if f"{self.at}.{name}" in self.out.unresolved else expr

    def add_table(self, handle: d.TableHandle) -> None:
        """Let the columns of a table be read, as ``table.column``."""
        table = self.out.project.tables.get(handle._name)
        if table is None:
            self.lenient = True
            return
        columns = {f"{table.name}.{column.name}": column for column in table.schema.columns}
        readable = [measure.name for measure in table.view().measures]
        self.known.update(dict.fromkeys(readable, f"column of {table.name}"))
        self.texts |= {name for name in readable if columns[name].type == "string"}
        if table.valid is not None:
            end = col(f"{table.name}.{table.valid[1]}")
            row = Schema(self.spine, tuple(self.columns.values()))
            now = col(_time_of_validity(row, known_ahead=table.known_ahead).name)
            holds = Expr("or", (Expr("is_missing", (end,)), Expr("gt", (end, now))))
            self.holds.update(dict.fromkeys(readable, holds))

    def features(self, captured: Mapping[Any, Any]) -> tuple[Feature, ...]:
        """Return one feature for each captured value; those that cannot be are placeholders."""
        for key, value in captured.items():
            self._terms[str(key)] = self._term(str(key), value)
        circles: set[frozenset[str]] = set()
        found: list[Feature] = []
        for name in self._terms:
            expr = const(None)
            try:
                expr = self._feature(name, ())
            except _CircleError as circle:
                self._unresolved(name)
                if frozenset(circle.names) not in circles:
                    circles.add(frozenset(circle.names))
                    self.out.report(
                        "HF107",
                        f"features depend on each other in a circle: {' -> '.join(circle.names)}.",
                        f"{self.at}.{name}",
                        hint="break it by naming a column",
                    )
            if expr.op == "col" and str(expr.params[0]) in self.texts:
                found.append(Feature(name, self._while_valid(Expr("code", (expr,))), "categorical"))
            else:
                found.append(Feature(name, expr))
        return tuple(found)

    def _term(self, name: str, value: Any) -> Expr:
        path = f"{self.at}.{name}"
        if isinstance(value, Term):
            self.out.places[path] = value.place
            if _depth(value.expr) > _DEEPEST:
                message = f"the expression of `{name}` is nested more than {_DEEPEST} levels deep."
                self.out.report("HF103", message, path, hint="name a part of it as a feature of its own")
            elif not is_broken(value):
                return value.expr
        elif isinstance(value, int | float):
            return const(value)
        elif isinstance(value, MeasureTerm):
            message = f"`{name}` aggregates a source; that is said in a view."
            self.out.report("HF103", message, path, place=value.place)
        else:
            self.out.report("HF103", f"`{name}` is {value!r}, an expression over columns is expected.", path)
        self._unresolved(name)
        return const(None)

    def _unresolved(self, *names: str) -> None:
        self.out.unresolved.update(f"{self.at}.{name}" for name in names)

    def _feature(self, name: str, path: tuple[str, ...]) -> Expr:
        if name not in self._done:
            self._done[name] = self._expand(self._terms[name], (*path, name))
        if f"{self.at}.{name}" in self.out.unresolved:
            self._unresolved(*path)
        return self._done[name]

    def _while_valid(self, expr: Expr) -> Expr:
        """Return what reads a column of a table so that it is missing where its row no longer holds.

        A number is so itself; a text only through the operation that reads it, as registers hold numbers.
        """
        column = expr if expr.op == "col" else next((arg for arg in expr.args if arg.op == "col"), None)
        name = "" if column is None else str(column.params[0])
        if name not in self.holds or (name in self.texts) == (expr.op == "col"):
            return expr
        if expr.op != "col" and name not in self.texts:
            return expr
        if expr.op == "is_missing":
            return Expr("or", (expr, Expr("not", (self.holds[name],))))
        return Expr("where", (self.holds[name], expr, const(None)))

    def _expand(self, expr: Expr, path: tuple[str, ...]) -> Expr:
        if expr.op != "col":
            args = tuple(self._expand(arg, path) for arg in expr.args)
            return self._while_valid(Expr(expr.op, args, expr.params))
        name = str(expr.params[0])
        if name in self.known:
            return self._while_valid(expr)
        if name in self.reported:
            self._unresolved(*path)
            return const(None)
        if name in path[:-1]:
            raise _CircleError((*path[path.index(name) :], name))
        if name in self._terms and name != path[-1]:
            return self._feature(name, path)
        self._unresolved(*path)
        if not self.lenient:
            readable = (*self.known, *(n for n in self._terms if n not in path))
            self.out.report(
                "HF102",
                f"`{path[-1]}` reads `{name}`, which is neither a column nor a feature here.",
                f"{self.at}.{path[-1]}",
                has=tuple(self.known),
                hint=self._forgotten(name) or did_you_mean(name, readable),
            )
        return const(None)

    def _forgotten(self, name: str) -> str:
        """Return the hint for a feature of a view that is not among the inputs."""
        for view in self.out.project.views.values():
            if any(measure.name == name for measure in view.measures):
                return f"add view `{view.name}` to @project.features(...)"
        return ""


def _time_of_validity(row: Schema, *, known_ahead: bool) -> Column:
    """Return the column at whose instant it is asked whether a row of a table holds."""
    time = row.event_time
    assert time is not None, f"rows of `{row.name}` have no time"
    return (row.target_time or time) if known_ahead else time


def _depth(expr: Expr) -> int:
    """Return the levels of an expression, without recursion."""
    deepest, stack = 0, [(expr, 1)]
    while stack:
        node, level = stack.pop()
        deepest = max(deepest, level)
        if deepest > _DEEPEST:
            break
        stack.extend((arg, level + 1) for arg in node.args)
    return deepest
