"""One serving process over a project's stores: what it takes, and when it is ready."""

import json
from pathlib import Path

import pytest
from tests.demand_world import EXAMPLE

from holdfast.app.materialize import materialize_state
from holdfast.app.serve import LiveService
from holdfast.app.workspace import Workspace
from holdfast.kernel.errors import NotFoundError

COLLECTS = """
from datetime import datetime

import holdfast as hf


class Visit(hf.Event):
    visit_id: str = hf.event_id()
    at: datetime = hf.event_time()
    customer_id: str


project = hf.Project("shop")
visits = project.source("visits", Visit, known_after="0s")
"""
NOTHING = "import holdfast as hf\n\nproject = hf.Project('shop')\n"


def service_of(folder: Path, definition: str) -> LiveService:
    (folder / "project.py").write_text(definition)
    workspace = Workspace(folder)
    workspace.apply(by="eva")
    materialize_state(workspace.wiring)
    service = LiveService(folder)
    change = service.look()
    assert change is not None
    service.apply(change)
    return service


def test_a_service_without_models_is_ready_to_take_events(tmp_path: Path) -> None:
    service = service_of(tmp_path, COLLECTS)

    try:
        event = {"visit_id": "v-1", "at": "2026-11-02T10:15:00Z", "customer_id": "c-1"}
        verdict = service.plane.accept("visits", json.dumps(event).encode())
    finally:
        service.close()

    assert service.is_ready
    assert verdict.id == "v-1"


def test_a_service_that_takes_nothing_is_not_ready(tmp_path: Path) -> None:
    service = service_of(tmp_path, NOTHING)
    service.close()

    assert service.waiting == ("no source takes events one by one, and no model answers them",)


def test_a_model_over_a_grid_is_said_to_answer_in_batches(tmp_path: Path) -> None:
    service = service_of(tmp_path, (EXAMPLE / "project.py").read_text(encoding="utf-8"))

    try:
        with pytest.raises(NotFoundError, match="model `demand` answers in batches") as caught:
            service.plane.predict("demand", b"{}")
        with pytest.raises(NotFoundError, match="there is no model `other`"):
            service.plane.predict("other", b"{}")
    finally:
        service.close()

    assert caught.value.hint == "holdfast predict demand"
