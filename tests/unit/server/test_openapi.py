"""Every answer is what the OpenAPI document says, whatever is asked: schemathesis walks the document."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tests.serving_world import make_project

from holdfast.app.serve import LiveService
from holdfast.server.app import create_app
from holdfast.server.metrics import Metrics

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    service = LiveService(make_project(tmp_path_factory.mktemp("described") / "shop"))
    change = service.look()
    assert change is not None
    service.apply(change)
    app = create_app(service, Metrics(service))
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    service.close()


OPERATIONS = [
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /docs",
    "POST /v1/events/disputes",
    "POST /v1/events/payments",
    "POST /v1/feedback",
    "POST /v1/models/fraud/predict",
]


def test_the_document_has_every_route(document: Any) -> None:
    paths = document.raw_schema["paths"]

    assert sorted(f"{method.upper()} {path}" for path in paths for method in paths[path]) == sorted(
        OPERATIONS
    )


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_what_the_document_says(document: Any, operation: str, mode: GenerationMode) -> None:
    method, _, path = operation.partition(" ")
    chosen = document[path][method]
    if mode is GenerationMode.NEGATIVE and method == "GET":
        return  # nothing is sent that could be wrong

    @given(chosen.as_strategy(generation_mode=mode))
    def walk(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    walk()
