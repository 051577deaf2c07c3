"""JSON schemas of requests and answers, made of the project's own definition."""

from __future__ import annotations

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
        "repeat": {"type": "boolean", "description": "the stored answer to the same request"},
    }
    if not bands:
        del properties["recommendation"]
    return {
        "type": "object",
        "properties": properties,
        "required": ["prediction_id", score_name, "model", "version", "step", "missing"],
    }
