"""The hot routes as raw ASGI: predictions, events and feedback, without a framework between.

Everything else goes to the application behind. Requests are answered on the event loop: each takes far less
than handing it to a thread would. Predictions that have arrived when the loop comes to the first of them are
answered together; none waits for another to arrive.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

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


class HotRoutes:
    """ASGI application of the hot routes in front of another one.

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
        self._asked: list[tuple[str, bytes, asyncio.Future[Answer]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        path: str = scope["path"]
        post = scope["method"] == "POST"
        if post and path.startswith(_MODELS) and path.endswith(_PREDICT):
            name = path[len(_MODELS) : -len(_PREDICT)]
            if name and "/" not in name:
                await self._answer(
                    scope, receive, send, PREDICT_ROUTE, lambda body: self._predict(name, body)
                )
                return
        elif post and path.startswith(_EVENTS):
            source = path[len(_EVENTS) :]
            if source and "/" not in source:
                await self._answer(
                    scope, receive, send, EVENTS_ROUTE, lambda body: self._events(source, body)
                )
                return
        elif post and path == _FEEDBACK:
            await self._answer(scope, receive, send, _FEEDBACK, self._feedback)
            return
        await self._counted(scope, receive, send)

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        route: str,
        respond: Callable[[bytes], Awaitable[bytes]],
    ) -> None:
        body = await _body(scope, receive, MAX_ARRAY_BODY if route == EVENTS_ROUTE else MAX_BODY)
        if body is None:
            return
        began = time.perf_counter_ns()
        status = 200
        if isinstance(body, int):
            limit = MAX_ARRAY_BODY if route == EVENTS_ROUTE else MAX_BODY
            status, content = TOO_LARGE, _ENCODE(_too_large(limit, body))
        else:
            try:
                content = await respond(body)
                if self._power:
                    await asyncio.to_thread(self._service.journal.sync)
            except Exception as error:
                status, content = answer_to(error)
        spent = time.perf_counter_ns() - began
        self._metrics.request(route, status, spent)
        if self._access_log:
            ACCESS.info("%s %s %d %.3f ms", scope["method"], scope["path"], status, spent / 1e6)
        await _send(send, status, content)

    async def _predict(self, model: str, body: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._answer_together)
        answered: asyncio.Future[Answer] = loop.create_future()
        self._asked.append((model, body, answered))
        return _ENCODE((await answered).to_data())

    def _answer_together(self) -> None:
        """Answer the predictions that have arrived."""
        asked, self._asked = self._asked[:MOST_TOGETHER], self._asked[MOST_TOGETHER:]
        if self._asked:
            asyncio.get_running_loop().call_soon(self._answer_together)
        plane = self._service.plane
        found: Sequence[Answer | Exception]
        try:
            found = plane.predict_many([(model, body) for model, body, _ in asked])
        except Exception:  # of one of them, which must not cost the others their answers
            found = [_alone(plane, model, body) for model, body, _ in asked]
        for (_, _, answered), one in zip(asked, found, strict=True):
            if answered.done():  # the caller went away
                continue
            if isinstance(one, Exception):
                answered.set_exception(one)
            else:
                answered.set_result(one)

    async def _events(self, source: str, body: bytes) -> bytes:
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

    async def _feedback(self, body: bytes) -> bytes:
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


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes | int | None:
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
