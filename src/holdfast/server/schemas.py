"""JSON schemas of requests and answers, made of the project's own definition."""

from __future__ import annotations

import math
from typing import Any, Final

from holdfast.kernel.schema import Column, Schema

ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "examples": ["HF203"]},
                "message": {"type": "string"},
                "at": {"type": "string", "examples": ["$.amount"]},
                "hint": {"type": "string"},
                "id": {"type": "string", "examples": ["e-51c0ffee0001"]},
            },
            "required": ["code", "message", "id"],
        }
    },
    "required": ["error"],
}


ACCEPTED_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"status": {"const": "accepted"}, "id": {"type": "string"}},
    "required": ["status", "id"],
    "additionalProperties": False,
}
_REJECTED: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"status": {"const": "rejected"}, **ERROR_SCHEMA["properties"]},
    "required": ["status", "error"],
    "additionalProperties": False,
}
VERDICTS_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "accepted": {"type": "integer", "minimum": 0},
        "rejected": {"type": "integer", "minimum": 0},
        "rows": {"type": "array", "items": {"oneOf": [ACCEPTED_SCHEMA, _REJECTED]}},
    },
    "required": ["accepted", "rejected", "rows"],
    "additionalProperties": False,
}
EVENTS_SCHEMA: Final[dict[str, Any]] = {
    "type": "array",
    "items": {"description": "judged by itself, as one event is: a bad one does not refuse the others"},
    "minItems": 1,
    "maxItems": 1000,
}

REFUSALS: Final = {
    400: "The body is not JSON, or names a key twice; or this is no HTTP request",
    404: "No such model or source",
    408: "The request did not arrive in time",
    409: "The id was asked a moment ago with other content",
    413: "The body is too large",
    422: "The row breaks its contract",
    431: "The head of the request is too large",
    500: "An error nobody foresaw; the log has it under the id",
    503: "Nothing can answer now, the journal cannot be written, or there are too many connections",
}
"""Every status of a refused request, and when it is given."""

READINESS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Ready",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "status": {"const": "ready"},
                        "models": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
                    },
                    "required": ["status", "models"],
                }
            }
        },
    },
    503: {
        "description": "Not ready yet",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "status": {"const": "waiting"},
                        "waiting_for": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["status", "waiting_for"],
                }
            }
        },
    },
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return these refusals as the responses of an operation."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": REFUSALS[status], "content": content} for status in statuses}


def row_example(schema: Schema) -> dict[str, Any]:
    """Return a row of a schema that shows how its values are written."""
    return {column.name: _example(column) for column in schema.columns}


def _example(column: Column) -> Any:
    if column.one_of:
        return column.one_of[0]
    if column.type == "string":
        return f"{column.name}-1"[: column.max_length]
    low = 1 if column.ge is None else max(1, math.ceil(column.ge))
    number = low if column.le is None else min(low, math.floor(column.le))
    found: dict[str, Any] = {"time": "2026-11-02T10:15:00Z", "bool": True, "int": number}
    return found.get(column.type, float(number))


def row_schema(schema: Schema) -> dict[str, Any]:
    """Return the JSON schema of one event."""
    sent = [column for column in schema.columns if column.role != "content_id"]
    required = [c.name for c in sent if not c.nullable or c.role in ("event_id", "event_time")]
    return {
        "type": "object",
        "properties": {column.name: _column(column) for column in sent},
        "required": required,
        "additionalProperties": False,
    }


def _column(column: Column) -> dict[str, Any]:
    kind = {"string": "string", "time": "string", "int": "integer", "bool": "boolean"}.get(
        column.type, "number"
    )
    told: dict[str, Any] = {"type": [kind, "null"] if column.nullable else kind}
    if column.type == "time":
        told |= {"format": "date-time", "description": "with a zone"}
    if column.scale is not None:
        told["description"] = f"at most {column.scale} decimal places"
    for name, value in (
        ("minimum", column.ge),
        ("maximum", column.le),
        ("maxLength", column.max_length),
        ("enum", None if column.one_of is None else [*column.one_of, *([None] if column.nullable else [])]),
    ):
        if value is not None:
            told[name] = value
    if column.doc:
        told["description"] = f"{column.doc}; {told['description']}" if "description" in told else column.doc
    return told


def answer_schema(score_name: str, bands: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON schema of an answer."""
    properties: dict[str, Any] = {
        "prediction_id": {"type": "string"},
        score_name: {"type": "number"},
        "recommendation": {"type": "string", "enum": list(bands)},
        "model": {"type": "string"},
        "version": {"type": "integer"},
        "step": {"type": "string", "enum": ["champion", "previous", "rules", "constant"]},
        "missing": {"type": "array", "items": {"type": "string"}},
        "holdout": {"type": "boolean", "description": "in the hold-out: the lowest band is recommended"},
        "degraded": {"type": "boolean", "description": "the online state could not be read"},
        "inexact": {
            "type": "boolean",
            "description": "the row is older than what is kept online: windows may differ from history",
        },
        "repeat": {"type": "boolean", "description": "the stored answer to the same request"},
    }
    if not bands:
        del properties["recommendation"]
    return {
        "type": "object",
        "properties": properties,
        "required": ["prediction_id", score_name, "model", "version", "step", "missing"],
    }
