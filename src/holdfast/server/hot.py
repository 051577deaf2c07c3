"""The hot routes: predictions, events and feedback, without a framework between.

Requests are answered on the event loop: each takes far less than handing it to a thread would. Predictions
that have arrived when the loop comes to the first of them are answered together; none waits for another to
arrive. A request comes from `holdfast.server.protocol`, which hands over a whole body, or through ASGI, where
it is in any way unusual. Everything else goes to the application behind.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.app.serve import LiveService
from holdfast.events.row import is_array
from holdfast.kernel.errors import ContractError
from holdfast.server.errors import TOO_LARGE, answer_to, problem_body
from holdfast.server.metrics import Metrics
from holdfast.serving.answer import Answer, RowVerdict
from holdfast.serving.serve import BadRequestError, DataPlane

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Reply = Callable[[int, bytes], None]
"""Tells the caller a status and a JSON body."""

ACCESS = logging.getLogger("holdfast.access")

MAX_BODY: Final = 64 * 1024
"""Greatest length of the body of one row, in bytes."""
MAX_ARRAY_BODY: Final = 1024 * 1024
"""Greatest length of the body of an array of events, in bytes."""
MOST_TOGETHER: Final = 32
"""Predictions that are answered together at most, so that none waits long for the others."""
_DRAINED: Final = 16 * 1024 * 1024
_MODELS, _PREDICT, _EVENTS, _FEEDBACK = "/v1/models/", "/predict", "/v1/events/", "/v1/feedback"
_JSON = (b"content-type", b"application/json")

PREDICT_ROUTE: Final = "/v1/models/{name}/predict"
EVENTS_ROUTE: Final = "/v1/events/{source}"

_ENCODE = msgspec.json.Encoder().encode


class _Feedback(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    event: msgspec.Raw


_FEEDBACK_BODY = msgspec.json.Decoder(_Feedback)


class HotRoute(NamedTuple):
    """A hot route that was asked for.

    Attributes
    ----------
    template : as metrics and the OpenAPI document name it
    name : of the model or source in it
    path : as it was asked
    limit : greatest length of a body, in bytes
    """

    template: str
    name: str
    path: str
    limit: int = MAX_BODY


@lru_cache(maxsize=1024)
def hot_route(path: str) -> HotRoute | None:
    """Return the hot route of a path, without escapes, or None."""
    if path.startswith(_MODELS) and path.endswith(_PREDICT):
        name = path[len(_MODELS) : -len(_PREDICT)]
        if name and "/" not in name:
            return HotRoute(PREDICT_ROUTE, name, path)
    elif path.startswith(_EVENTS):
        name = path[len(_EVENTS) :]
        if name and "/" not in name:
            return HotRoute(EVENTS_ROUTE, name, path, MAX_ARRAY_BODY)
    elif path == _FEEDBACK:
        return HotRoute(_FEEDBACK, "", path)
    return None


class _Waiting(NamedTuple):
    """A request that is not answered yet; `began` in nanoseconds of the performance counter."""

    route: HotRoute
    body: bytes
    reply: Reply
    began: int


class HotRoutes:
    """The hot routes, and an ASGI application of them in front of another one.

    Parameters
    ----------
    behind : answers everything else
    access_log : whether each request is logged
    """

    def __init__(
        self, service: LiveService, metrics: Metrics, behind: App, *, access_log: bool = False
    ) -> None:
        self._service = service
        self._metrics = metrics
        self._behind = behind
        self._access_log = access_log
        self._power = service.durability == "power"
        self._waiting: list[_Waiting] = []
        self._syncing: set[asyncio.Task[None]] = set()

    def take(self, route: HotRoute, body: bytes, reply: Reply) -> None:
        """Answer a request: at once, or in the next turn of the event loop where it is a prediction.

        Parameters
        ----------
        body : whole, and not longer than the route's limit
        reply : called once, on the event loop
        """
        waiting = _Waiting(route, body, reply, time.perf_counter_ns())
        if route.template is PREDICT_ROUTE:
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self._answer_together)
            self._waiting.append(waiting)
            return
        try:
            respond = self._events if route.template is EVENTS_ROUTE else self._feedback
            status, content = 200, respond(route.name, body)
        except Exception as error:
            status, content = answer_to(error)
        self._settle([(waiting, status, content)])

    def _answer_together(self) -> None:
        """Answer the predictions that have arrived."""
        asked, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._answer_together)
        plane = self._service.plane
        found: Sequence[Answer | Exception]
        try:
            found = plane.predict_many([(one.route.name, one.body) for one in asked])
        except Exception:  # of one of them, which must not cost the others their answers
            found = [_alone(plane, one.route.name, one.body) for one in asked]
        self._settle(
            [
                (one, 200, _ENCODE(answer.to_data()))
                if isinstance(answer, Answer)
                else (one, *answer_to(answer))
                for one, answer in zip(asked, found, strict=True)
            ]
        )

    def _settle(self, told: list[tuple[_Waiting, int, bytes]]) -> None:
        """Reply, where asked for only after what was journalled has reached the disk."""
        if self._power:
            task = asyncio.get_running_loop().create_task(self._reply_after_sync(told))
            self._syncing.add(task)
            task.add_done_callback(self._syncing.discard)
        else:
            self._reply(told)

    async def _reply_after_sync(self, told: list[tuple[_Waiting, int, bytes]]) -> None:
        try:
            await asyncio.to_thread(self._service.journal.sync)
        except Exception as error:
            told = [(one, *answer_to(error)) for one, _, _ in told]
        self._reply(told)

    def _reply(self, told: list[tuple[_Waiting, int, bytes]]) -> None:
        now = time.perf_counter_ns()
        for one, status, content in told:
            self._metrics.request(one.route.template, status, now - one.began)
            if self._access_log:
                ACCESS.info("POST %s %d %.3f ms", one.route.path, status, (now - one.began) / 1e6)
            one.reply(status, content)

    def _events(self, source: str, body: bytes) -> bytes:
        if not is_array(body):
            if len(body) > MAX_BODY:
                raise BadRequestError(
                    f"one event has at most {MAX_BODY:,} bytes, found {len(body):,}.", code="HF208", at="$"
                )
            return _ENCODE(_verdict(self._service.plane.accept(source, body)))
        verdicts = self._service.plane.accept_many(source, body)
        accepted = sum(verdict.problem is None for verdict in verdicts)
        rows = [_verdict(verdict) for verdict in verdicts]
        return _ENCODE({"accepted": accepted, "rejected": len(rows) - accepted, "rows": rows})

    def _feedback(self, _name: str, body: bytes) -> bytes:
        try:
            given = _FEEDBACK_BODY.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            malformed = not isinstance(error, msgspec.ValidationError)
            raise ContractError(
                f"feedback cannot be read: {error}.",
                code="HF214" if malformed else "HF209",
                at="$",
                hint='send {"source": "chargebacks", "event": {...}}',
            ) from None
        verdict = self._service.plane.accept(given.source, bytes(given.event), feedback=True)
        return _ENCODE(_verdict(verdict))

    # --- through ASGI ---------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        route = hot_route(scope["path"]) if scope["method"] == "POST" else None
        if route is None:
            await self._counted(scope, receive, send)
            return
        body = await _body(receive, route.limit)
        if body is None:
            return
        answered: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

        def reply(status: int, content: bytes) -> None:
            if not answered.done():  # else the caller went away
                answered.set_result((status, content))

        if isinstance(body, int):
            refused = _Waiting(route, b"", reply, time.perf_counter_ns())
            self._reply([(refused, TOO_LARGE, _ENCODE(_too_large(route.limit, body)))])
        else:
            self.take(route, body, reply)
        await _send(send, *await answered)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application behind answer, and count it."""
        began, status = time.perf_counter_ns(), 500

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._behind(scope, receive, sending)
        found = scope.get("route")
        route = getattr(found, "path", None) or "other"
        self._metrics.request(route, status, time.perf_counter_ns() - began)


def _alone(plane: DataPlane, model: str, body: bytes) -> Answer | Exception:
    """Return the answer to one request, or whatever went wrong."""
    try:
        return plane.predict(model, body)
    except Exception as error:
        return error


def _verdict(verdict: RowVerdict) -> dict[str, Any]:
    problem = verdict.problem
    if problem is None:
        return {"status": "accepted", "id": verdict.id}
    told = problem_body(problem.code, problem.message, at=problem.at, hint=problem.hint)
    return {"status": "rejected", **told}


async def _body(receive: Receive, limit: int) -> bytes | int | None:
    """Return the body, or its length where it is too long, or None where the caller went away."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    first: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return first if len(first) <= limit else len(first)
    parts, size = [first], len(first)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        if not message.get("more_body", False) or size > _DRAINED:
            return b"".join(parts) if size <= limit else size


def _too_large(limit: int, found: int) -> dict[str, Any]:
    return problem_body("HF208", f"the body has at most {limit:,} bytes, found {found:,} or more.", at="$")


async def _send(send: Send, status: int, content: bytes) -> None:
    headers = [_JSON, (b"content-length", str(len(content)).encode())]
    if status == TOO_LARGE:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
