"""The inference service as one ASGI application, and the document that describes it."""

from __future__ import annotations

import html
import json
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

from holdfast.app.serve import LiveService
from holdfast.server.errors import answer_to, problem_body
from holdfast.server.hot import EVENTS_ROUTE, PREDICT_ROUTE, HotRoutes
from holdfast.server.metrics import Metrics
from holdfast.server.schemas import (
    ACCEPTED_SCHEMA,
    ERROR_SCHEMA,
    EVENTS_SCHEMA,
    READINESS,
    REFUSALS,
    VERDICTS_SCHEMA,
    answer_schema,
    refusals,
    row_example,
    row_schema,
)

ROUTES = {
    "GET /livez": "the process runs",
    "GET /readyz": "every deployed version is verified and warm, and the online state is open",
    "GET /metrics": "counters in Prometheus' text format",
    "GET /openapi.json": "this interface as an OpenAPI document",
    "GET /docs": "this interface as a page",
    "POST /v1/models/{name}/predict": "one row: its score and recommendation",
    "POST /v1/events/{source}": "one event, or an array of up to 1,000",
    "POST /v1/feedback": "one outcome: an event of a source that holds labels",
}
"""Every route and what it answers."""


def create_app(service: LiveService, metrics: Metrics, *, access_log: bool = False) -> HotRoutes:
    """Return the application of one worker."""
    app = FastAPI(title="holdfast", docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            body = problem_body("HF700", f"`{request.url.path}` does not take {request.method}.", at="method")
        else:
            body = problem_body(
                "HF300", f"there is nothing at `{request.url.path}`.", at="path", hint="see /docs"
            )
        return JSONResponse(body, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(_request: Request, error: Exception) -> Response:
        status, content = answer_to(error)
        return Response(content, status, media_type="application/json")

    @app.get("/livez", summary=ROUTES["GET /livez"], responses=refusals(500))
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary=ROUTES["GET /readyz"], responses=READINESS | refusals(500))
    async def readyz() -> Response:
        if service.is_ready:
            return JSONResponse({"status": "ready", "models": _models(service)})
        return JSONResponse({"status": "waiting", "waiting_for": list(service.waiting)}, 503)

    @app.get(
        "/metrics",
        summary=ROUTES["GET /metrics"],
        response_class=PlainTextResponse,
        responses=refusals(500),
    )
    async def show_metrics() -> Response:
        return PlainTextResponse(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json", summary=ROUTES["GET /openapi.json"], responses=refusals(500))
    async def openapi() -> Response:
        return Response(msgspec.json.encode(describe(app, service)), media_type="application/json")

    @app.get("/docs", summary=ROUTES["GET /docs"], response_class=HTMLResponse, responses=refusals(500))
    async def docs() -> Response:
        return HTMLResponse(_page(describe(app, service)))

    @app.api_route(PREDICT_ROUTE, methods=["POST"], include_in_schema=False)
    @app.api_route(EVENTS_ROUTE, methods=["POST"], include_in_schema=False)
    @app.api_route("/v1/feedback", methods=["POST"], include_in_schema=False)
    async def answered_before() -> Response:  # here only so that another method is told so
        raise HTTPException(404)

    return HotRoutes(service, metrics, app, access_log=access_log)


def _models(service: LiveService) -> dict[str, Any]:
    return {
        name: None if route.champion is None else route.champion.version
        for name, route in service.plane.routes.items()
    }


def describe(app: FastAPI, service: LiveService) -> dict[str, Any]:
    """Return the OpenAPI document: the fixed routes, and those of the project's models and sources."""
    document: dict[str, Any] = get_openapi(title="holdfast inference", version="1", routes=app.routes)
    paths = document["paths"]
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {"Error": ERROR_SCHEMA, "Accepted": ACCEPTED_SCHEMA, "Verdicts": VERDICTS_SCHEMA}
    project = service.project
    if project is None:
        return document
    for name, source in project.sources.items():
        schemas[source.schema.name] = row_schema(source.schema)
        reference = _ref(source.schema.name)
        one = row_example(source.schema)
        paths[f"/v1/events/{name}"] = _post(
            f"Accept events of {name}",
            {"oneOf": [reference, EVENTS_SCHEMA]},
            {"oneOf": [_ref("Accepted"), _ref("Verdicts")]},
            {"one": one, "several": [one]},
        )
    for name, route in service.plane.routes.items():
        schema = project.sources[route.gate.source].schema
        bands = () if route.policy is None else tuple(band for band, _ in route.policy.bands)
        schemas[f"Answer_{name}"] = answer_schema(route.score_name, bands)
        paths[f"/v1/models/{name}/predict"] = _post(
            f"Ask {name} about one event of {route.gate.source}",
            _ref(schema.name),
            _ref(f"Answer_{name}"),
            {"one": row_example(schema)},
        )
    outcomes = sorted({model.label.source for model in project.models.values()} & project.sources.keys())
    if outcomes:
        forms = [
            {
                "type": "object",
                "properties": {
                    "source": {"const": name},
                    "event": _ref(project.sources[name].schema.name),
                },
                "required": ["source", "event"],
                "additionalProperties": False,
            }
            for name in outcomes
        ]
        examples = {
            name: {"source": name, "event": row_example(project.sources[name].schema)} for name in outcomes
        }
        paths["/v1/feedback"] = _post("Report an outcome", {"oneOf": forms}, _ref("Accepted"), examples)
    return document


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _post(
    summary: str, body: dict[str, Any], answer: dict[str, Any], examples: dict[str, Any]
) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {
        "post": {
            "summary": summary,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": body, "examples": shown}},
            },
            "responses": {
                "200": {"description": "Answered", "content": {"application/json": {"schema": answer}}},
                **{str(status): told for status, told in refusals(*REFUSALS).items()},
            },
        }
    }


def _page(document: dict[str, Any]) -> str:
    """Return the document as a page that loads nothing."""
    parts = []
    for path, methods in sorted(document["paths"].items()):
        for method, told in methods.items():
            title = f"{method.upper()} {path}"
            parts.append(f"<h2>{html.escape(title)}</h2><p>{html.escape(told.get('summary', ''))}</p>")
    schemas = html.escape(json.dumps(document["components"]["schemas"], indent=2))
    style = "body{font:15px/1.5 system-ui;max-width:56rem;margin:2rem auto}h2{font:600 15px monospace}"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>holdfast inference</title>'
        f"<style>{style}"
        f"</style><h1>holdfast inference</h1>{''.join(parts)}<h2>Schemas</h2><pre>{schemas}</pre></html>"
    )
