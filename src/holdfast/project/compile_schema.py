"""Compilation of schemas: annotated classes become columns, sources and tables."""

from __future__ import annotations

import types
import typing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from holdfast.events.source import SYSTEM_COLUMNS, Source
from holdfast.kernel.errors import did_you_mean
from holdfast.kernel.schema import Column, ColumnType, Role, Schema
from holdfast.project.compilation import Compilation
from holdfast.project.compiled import Table
from holdfast.project.definition import SourceHandle, TableHandle
from holdfast.project.event import Event, FieldSpec

_TYPES: dict[type, ColumnType] = {
    str: "string",
    int: "int",
    float: "float",
    Decimal: "decimal",
    bool: "bool",
    datetime: "time",
}
_NUMBERS = ("int", "float", "decimal")
_MOST_PLACES = 9


def compile_source(out: Compilation, handle: SourceHandle) -> None:
    """Add a source to the project."""
    name = handle._source
    if not out.claim(name, out.project.sources, "source", handle._place):
        return
    at = f"sources.{name}"
    schema = _schema(out, handle._event, at)
    lateness = out.duration(handle._lateness, f"{at}.lateness")
    known = None if handle._known_after is None else out.duration(handle._known_after, f"{at}.known_after")
    if known is not None and schema.arrival_time is not None:
        out.report(
            "HF109",
            f"source `{name}` has both an arrival column `{schema.arrival_time.name}` and known_after.",
            at,
            hint="the column is exact: drop known_after",
            severity="warning",
        )
    out.project.sources[name] = Source(name, schema, lateness or 0, known)


def compile_table(out: Compilation, handle: TableHandle) -> None:
    """Add a slowly changing table: a source of its versions, and a view that reads the last."""
    name = handle._name
    taken = [*out.project.sources, *out.project.tables, *out.project.views]
    if not out.claim(name, taken, "table", handle._place):
        return
    at = f"tables.{name}"
    schema = _schema(out, handle._event, at, is_event=False)
    key = (handle._key,) if isinstance(handle._key, str) else tuple(handle._key)
    named = (*key, *(handle._valid or ()))
    for column in named:
        if schema.find(column) is None:
            out.report(
                "HF102",
                f"table `{name}` names column `{column}`, which `{schema.name}` does not have.",
                at,
                has=schema.names,
                hint=did_you_mean(column, schema.names),
            )
            return
    if handle._valid is not None:
        schema = _with_begin(out, schema, handle._valid, at)
    if not _check_table_roles(out, schema, at, handle._place):
        return
    valid = None if handle._valid is None else (handle._valid[0], handle._valid[1])
    table = Table(name, schema, key, valid, bool(handle._known_ahead))
    lateness = out.duration(handle._lateness, f"{at}.lateness")
    known = None if handle._known_after is None else out.duration(handle._known_after, f"{at}.known_after")
    for path in (f"sources.{name}", f"views.{name}"):
        out.places.setdefault(path, handle._place)
    out.project.tables[name] = table
    out.project.sources[name] = Source(name, schema, lateness or 0, known)
    out.project.views[name] = table.view()


def _with_begin(out: Compilation, schema: Schema, valid: tuple[str, str], at: str) -> Schema:
    """Return the schema with the begin of the interval as event time."""
    if len(valid) != 2:
        out.report("HF103", f"valid= takes two columns, begin and end; found {valid!r}.", at)
        return schema
    for name in valid:
        column = schema.get(name)
        if column.type != "time":
            out.report("HF104", f"`{name}` bounds an interval of time and is {column.type}.", at)
        if column.role == "known_later":
            message = f"`{name}` bounds the time in which a row is read, and is marked known_later."
            hint = "when an end is announced or moved, send the row again: from then on it replaces the first"
            out.report("HF108", message, at, hint=hint)
    begin = schema.get(valid[0])
    if begin.nullable:
        message = f"`{begin.name}` says from when a row holds and cannot be `| None`."
        out.report("HF111", message, at, hint="only the end may be missing")
    if schema.event_time is not None and schema.event_time.name != begin.name:
        message = f"the event time is `{schema.event_time.name}`, but a row holds from `{begin.name}` on."
        out.report("HF111", message, at, hint=f"mark neither, or `{begin.name}`")
        return schema
    marked = (replace(c, role="event_time") if c.name == begin.name else c for c in schema.columns)
    return replace(schema, columns=tuple(marked))


def _check_table_roles(out: Compilation, schema: Schema, at: str, place: str) -> bool:
    """Return whether it is said from when on each row holds."""
    if schema.event_time is None:
        out.report(
            "HF111",
            f"`{schema.name}` does not say from when on a row holds.",
            at,
            place=place,
            hint="mark the column hf.event_time(), or say valid=(begin, end)",
        )
        return False
    for role in ("event_time", "event_id", "arrival_time"):
        if sum(column.role == role for column in schema.columns) > 1:
            message = f"`{schema.name}` has several columns marked hf.{role}()."
            out.report("HF111", message, at, place=place)
    if schema.supersedes is not None:
        message = f"`{schema.name}` corrects rows by `{schema.supersedes.name}`; in a table a newer row does."
        out.report("HF111", message, at, place=place, hint="a row of the same key and event time replaces it")
        return False
    return True


def _schema(out: Compilation, event: Any, at: str, *, is_event: bool = True) -> Schema:
    if not isinstance(event, type) or not issubclass(event, Event):
        out.report("HF111", f"a schema is a class derived from hf.Event, found {event!r}.", at)
        return Schema(getattr(event, "__name__", "?"), ())
    place = event._holdfast_place
    try:
        hints = typing.get_type_hints(event)
    except Exception as error:  # an annotation may be any expression
        message = f"the annotations of `{event.__name__}` cannot be read: {error}."
        out.report("HF111", message, at, place=place)
        return Schema(event.__name__, ())
    columns: list[Column] = []
    for name, annotation in hints.items():
        if name == "_holdfast_place":
            continue
        if name.startswith("_"):
            out.report(
                "HF111",
                f"column `{name}` begins with an underscore.",
                f"{at}.{name}",
                place=place,
                hint=f"such names are kept for {', '.join(SYSTEM_COLUMNS)}",
            )
            continue
        column = _column(out, event, name, annotation, f"{at}.{name}")
        if column is not None:
            columns.append(column)
    schema = Schema(event.__name__, tuple(columns))
    if is_event:
        _check_roles(out, schema, at, place)
    return schema


def _check_roles(out: Compilation, schema: Schema, at: str, place: str) -> None:
    for role, words in (("event_id", "identifies an event"), ("event_time", "says when it happened")):
        roles = (role, "content_id") if role == "event_id" else (role,)
        count = sum(column.role in roles for column in schema.columns)
        if count != 1:
            out.report(
                "HF111",
                f"`{schema.name}` has {count} columns marked hf.{role}(), exactly one is needed.",
                at,
                place=place,
                hint=f"mark the column that {words}: `name: ... = hf.{role}()`",
            )
    for role in ("arrival_time", "supersedes"):
        if sum(column.role == role for column in schema.columns) > 1:
            message = f"`{schema.name}` has several columns marked hf.{role}()."
            out.report("HF111", message, at, place=place)
    target, own = schema.supersedes, schema.event_id
    if target is not None and own is not None and target.type != own.type:
        out.report(
            "HF104",
            f"`{target.name}` names an event by its id and is {target.type}, but `{own.name}` is {own.type}.",
            at,
            place=place,
            hint="declare both alike",
        )


def _column(out: Compilation, event: type[Event], name: str, annotation: Any, at: str) -> Column | None:
    place = event._holdfast_place
    nullable, kind = False, annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        options = [a for a in typing.get_args(annotation) if a is not type(None)]
        nullable = len(options) < len(typing.get_args(annotation))
        kind = options[0] if len(options) == 1 else annotation
    if kind not in _TYPES:
        out.report(
            "HF111",
            f"column `{name}` has type {getattr(kind, '__name__', kind)!s}, which a schema cannot hold.",
            at,
            place=place,
            has=[t.__name__ for t in _TYPES],
        )
        return None
    spec = getattr(event, name, None)
    if spec is not None and not isinstance(spec, FieldSpec):
        out.report(
            "HF111",
            f"column `{name}` has a default {spec!r}; events have none.",
            at,
            place=place,
            hint="use hf.field(...), or `| None` for a column that may be missing",
        )
        spec = None
    spec = spec or FieldSpec()
    type_ = _TYPES[kind]
    for message in _contradictions(name, type_, nullable, spec):
        out.report("HF111", message, at, place=place)
    scale = spec.scale if type_ in ("decimal", "float") else None
    if type_ == "decimal" and scale is None:
        scale = 2
        out.report(
            "HF112",
            f"column `{name}` is a Decimal without scale; 2 places are inferred.",
            at,
            place=place,
            hint=f"say it: `{name}: Decimal = hf.field(scale=2)`",
            severity="warning",
        )
    return Column(
        name,
        type_,
        nullable,
        "known_later" if spec.known_later is True else cast(Role, spec.role),
        scale,
        spec.ge,
        spec.le,
        spec.max_length,
        spec.one_of,
        spec.doc,
    )


def _contradictions(name: str, type_: ColumnType, nullable: bool, spec: FieldSpec) -> list[str]:
    """Return what was said of a column and cannot hold together."""
    marked = f"column `{name}` is marked hf.{spec.role.replace('content_id', 'event_id')}() and"
    found = []
    if spec.role in ("event_time", "arrival_time") and type_ != "time":
        found.append(f"{marked} must be a datetime.")
    if spec.role == "event_id" and type_ not in ("string", "int"):
        found.append(f"{marked} must be str or int.")
    if spec.role == "supersedes" and not nullable:
        found.append(f"{marked} must be `| None`, as most events correct nothing.")
    if spec.role == "content_id" and (type_ != "string" or spec.max_length is not None):
        found.append(f"column `{name}` is made of the row's content: a str of 32 characters.")
    if spec.role not in ("value", "supersedes") and nullable:
        found.append(f"{marked} cannot be `| None`.")
    if spec.scale is not None and (
        type_ not in ("decimal", "float") or not _is_whole(spec.scale) or not 0 <= spec.scale <= _MOST_PLACES
    ):
        found.append(f"column `{name}` declares scale {spec.scale}; Decimal and float columns take 0 to 9.")
    bounds = [bound for bound in (spec.ge, spec.le) if bound is not None]
    if any(isinstance(bound, bool) or not isinstance(bound, int | float) for bound in bounds):
        found.append(f"column `{name}` has a bound that is no number: ge={spec.ge!r}, le={spec.le!r}.")
    elif bounds and type_ not in _NUMBERS:
        found.append(f"column `{name}` is {type_} and cannot have bounds.")
    elif spec.ge is not None and spec.le is not None and spec.ge > spec.le:
        found.append(f"column `{name}` has ge={spec.ge} above le={spec.le}.")
    if spec.one_of is not None and type_ != "string":
        found.append(f"column `{name}` is {type_}; one_of is for texts.")
    if spec.max_length is not None and type_ != "string":
        found.append(f"column `{name}` is {type_}; max_length is for texts.")
    if not isinstance(spec.known_later, bool):
        found.append(f"known_later of column `{name}` is True or False, found {spec.known_later!r}.")
    return found


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
