import asyncio
import json
from typing import Any

import pytest
from tests.serving_world import World, body

from holdfast.events.journal import EVENT, PREDICTION
from holdfast.server.hot import HotRoutes
from holdfast.serving.score import score_rows


class Service:
    durability = "process"

    def __init__(self, world: World) -> None:
        self.plane = world.plane


class Metrics:
    def request(self, route: str, status: int, ns: int) -> None: ...


async def _post(app: Any, content: bytes) -> tuple[int, Any]:
    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": content}

    async def send(message: Any) -> None:
        told.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/models/fraud/predict"}
    await app(scope, receive, send)
    return told[0]["status"], json.loads(told[1]["body"])


def test_what_breaks_over_one_request_does_not_cost_the_others_their_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaking(route: Any, rows: Any, snapshot: Any, ticks: Any) -> Any:
        if any(row["id"] == "p-2" for row in rows):
            raise ZeroDivisionError
        return score_rows(route, rows, snapshot, ticks)

    monkeypatch.setattr("holdfast.serving.serve.score_rows", breaking)
    world = World()
    service: Any = Service(world)
    metrics: Any = Metrics()
    behind: Any = None
    app = HotRoutes(service, metrics, behind)

    async def run() -> Any:
        return await asyncio.gather(*(_post(app, body(id=f"p-{n}")) for n in range(4)))

    answers = asyncio.run(run())

    assert [status for status, _ in answers] == [200, 200, 500, 200]
    kinds = [frame.kind for frame in world.frames()]
    assert (kinds.count(EVENT), kinds.count(PREDICTION)) == (3, 3)
