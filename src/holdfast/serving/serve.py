"""The verb of live inference: requests become answers, and records in the journal before they leave.

This is the data plane; it knows no HTTP. A request is read, judged, given features from one snapshot of the
online state, scored, decided, and journalled with its event. Requests that come together are taken through
these stages together and share a snapshot and an append: a stage then finds its code and data in the
processor's caches, which is most of what a request costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import msgspec
import numpy as np

from holdfast.events.journal import EVENT, FEEDBACK, PREDICTION, Entry, JournalWriter, encode_payload
from holdfast.events.reason import Reason
from holdfast.events.row import Stored, json_text, read_row, read_rows
from holdfast.features.ports import OnlineReader, OnlineSnapshot
from holdfast.kernel.errors import (
    ConflictError,
    ContractError,
    HoldfastError,
    NotFoundError,
    Problem,
    UnavailableError,
    did_you_mean,
)
from holdfast.kernel.ports import Clock
from holdfast.serving.answer import Answer, Counters, RowVerdict
from holdfast.serving.frames import BOUNDED_BY_BATCH, LiveRecord, encode_record
from holdfast.serving.intake import Recent, changed_columns, draw, judge_row, quick_prediction_id, rejected
from holdfast.serving.route import Gate, Route
from holdfast.serving.score import Scored, score_rows

_LITTLE = np.dtype("<f8")


class BadRequestError(ContractError):
    """A request that broke its contract, with the place in it."""


class _Asked(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A request that may be answered; `place` is its place among those that came together."""

    place: int
    route: Route
    row: Stored
    key: str
    pid: str


class DataPlane:
    """Answers requests in one process.

    Parameters
    ----------
    journal : of this process
    clock : the project's
    ticks : nanoseconds of a clock that only measures durations
    recent : the answers that retries are told

    Notes
    -----
    `predict` and `accept` are called from one thread. `swap` replaces routes and state between two calls;
    a call sees the old ones or the new ones, never both.
    """

    def __init__(
        self, journal: JournalWriter, clock: Clock, ticks: Callable[[], int], recent: Recent | None = None
    ) -> None:
        self.counters = Counters()
        self._journal = journal
        self._clock = clock
        self._ticks = ticks
        self._routes: Mapping[str, Route] = {}
        self._gates: Mapping[str, Gate] = {}
        self._feedback: frozenset[str] = frozenset()
        self._in_batches: frozenset[str] = frozenset()
        self._online: OnlineReader | None = None
        self._recent = Recent() if recent is None else recent
        self._attempts = 0
        self._is_loaded = False

    @property
    def routes(self) -> Mapping[str, Route]:
        """Routes by model."""
        return self._routes

    @property
    def online(self) -> OnlineReader | None:
        """The state that is read."""
        return self._online

    def swap(
        self,
        routes: Mapping[str, Route],
        gates: Mapping[str, Gate],
        online: OnlineReader | None,
        *,
        feedback: frozenset[str] = frozenset(),
        in_batches: frozenset[str] = frozenset(),
    ) -> None:
        """Replace what answers; takes effect with the next request.

        Parameters
        ----------
        feedback : sources that hold outcomes
        in_batches : models that answer no single request
        """
        self._routes, self._gates, self._online, self._feedback = dict(routes), dict(gates), online, feedback
        self._in_batches = in_batches
        self._is_loaded = True

    # --- predictions ----------------------------------------------------------------------------------

    def predict(self, model: str, body: bytes) -> Answer:
        """Answer one request.

        Raises
        ------
        NotFoundError
            If there is no such model (HF300).
        BadRequestError
            If the row breaks its contract; it is journalled as rejected.
        ConflictError
            If the same id was asked with other content a moment ago (HF210).
        UnavailableError
            If nothing can answer, or the journal cannot be written (HF600).
        """
        (found,) = self.predict_many([(model, body)])
        if isinstance(found, Answer):
            return found
        raise found

    def predict_many(self, requests: Sequence[tuple[str, bytes]]) -> list[Answer | HoldfastError]:
        """Answer requests that came together: each as `predict` would, one after the other, in this order.

        Parameters
        ----------
        requests : model and body of each

        Returns
        -------
        list
            For each request its answer, or the error that `predict` raises.
        """
        found: list[Answer | HoldfastError | None] = [None] * len(requests)
        asked: dict[str, _Asked] = {}
        now, ticks = self._clock.now_us(), self._ticks()
        for place, (model, body) in enumerate(requests):
            try:
                one = self._ask(place, model, body, now, ticks)
                if isinstance(one, _Asked) and one.pid in asked:
                    # The same id twice: the second may be a retry of the first, which is answered before.
                    self._answer(list(asked.values()), found, now, ticks)
                    asked = {}
                    one = self._ask(place, model, body, now, ticks)
            except HoldfastError as error:
                found[place] = error
                continue
            if isinstance(one, Answer):
                found[place] = one
            else:
                asked[one.pid] = one
        if asked:
            self._answer(list(asked.values()), found, now, ticks)
        return [one for one in found if one is not None]

    def _ask(self, place: int, model: str, body: bytes, now: int, ticks: int) -> _Asked | Answer:
        """Return a request ready to be answered, or the stored answer to it; raise why there is neither."""
        route = self._routes.get(model)
        if route is None:
            raise self._no_model(model)
        gate = route.gate
        row = self._judged(gate, body, now)
        key = str(row[gate.id_column])
        pid = quick_prediction_id(model, key)
        recent = self._recent.find(pid, ticks)
        if recent is None:
            return _Asked(place, route, row, key, pid)
        before, answer = recent
        if before == encode_payload(row):
            self.counters.marks[answer.model, "repeat"] += 1
            return msgspec.structs.replace(answer, repeat=True)
        column = changed_columns(before, row)[0]
        problem = Problem(
            "HF210",
            f"`{gate.id_column}` {key!r} was asked a moment ago with another `{column}`.",
            at=f"$.{column}",
            hint="send a new id for a new event",
        )
        self._reject(gate, problem, body, now)
        raise ConflictError(problem.message, code="HF210", at=problem.at, hint=problem.hint)

    def _judged(self, gate: Gate, body: bytes, now: int) -> Stored:
        """Return the stored values of a request, or journal why there are none and raise."""
        row = judge_row(gate, read_row(body), now)
        if not isinstance(row, Problem):
            return row
        self._reject(gate, row, body, now)
        raise BadRequestError(row.message, code=row.code, at=row.at, hint=row.hint)

    def _reject(self, gate: Gate, problem: Problem, body: bytes, now: int) -> None:
        self.counters.journal_bytes = self._journal.append(
            [rejected(gate.source, problem, body.decode(errors="replace"), now)]
        )
        self.counters.events[gate.source, "rejected"] += 1

    def _answer(
        self, asked: Sequence[_Asked], found: list[Answer | HoldfastError | None], now: int, began: int
    ) -> None:
        """Answer requests whose ids all differ: their scores, then one append, then their answers."""
        scored, spent = self._score(asked, began)
        frames: list[Entry] = []
        told: list[tuple[_Asked, Scored, bytes, Answer]] = []
        for one, score in zip(asked, scored, strict=True):
            if score is None:
                found[one.place] = _nothing_answers(one.route)
                continue
            answer, decision = _decide(one, score)
            payload = encode_payload(one.row)
            frames.append((EVENT, one.route.gate.source, now, payload))
            record = self._record(one, score, answer, decision, now, spent)
            frames.append((PREDICTION, one.route.model, now, encode_record(record)))
            told.append((one, score, payload, answer))
        if not told:
            return
        try:
            self.counters.journal_bytes = self._journal.append(frames)
        except HoldfastError as error:
            for one, *_ in told:
                found[one.place] = error
            return
        for one, score, payload, answer in told:
            self._recent.remember(one.pid, began, payload, answer)
            self._count(one.route, answer, score)
            found[one.place] = answer

    def _score(self, asked: Sequence[_Asked], began: int) -> tuple[list[Scored | None], list[int]]:
        """Return who answers each request, and the microseconds that features, models and all else took."""
        scored: list[Scored | None] = []
        features_ns, start = 0, self._ticks()
        with self._snapshot() as snapshot:
            at = 0
            while at < len(asked):
                route, end = asked[at].route, at + 1
                while end < len(asked) and asked[end].route is route:
                    end += 1
                begun = self._ticks()
                group, ready = score_rows(route, [one.row for one in asked[at:end]], snapshot, self._ticks)
                features_ns += ready - begun
                scored += group
                at = end
        done = self._ticks()
        self._count_unreadable(scored, has_state=snapshot is not None)
        features_us, model_us = features_ns // 1000, (done - start - features_ns) // 1000
        return scored, [features_us, model_us, (done - began) // 1000 - features_us - model_us]

    def _record(
        self, one: _Asked, scored: Scored, answer: Answer, decision: str | None, now: int, spent: list[int]
    ) -> LiveRecord:
        self._attempts += 1
        live = scored.live
        return LiveRecord(
            prediction_id=one.pid,
            attempt=f"a-{self._journal.id}-{self._attempts}",
            model=one.route.model,
            version=answer.version,
            bundle="" if live is None else live.bundle,
            runtime=scored.step if live is None else live.runtime,
            key=one.key,
            t_us=one.row[one.route.gate.time_column],
            known_at_us=BOUNDED_BY_BATCH,
            known_batch=() if scored.batch is None else (scored.batch,),
            request=one.row,
            features=b"" if scored.x is None else scored.x.astype(_LITTLE, copy=False).tobytes(),
            plan="" if scored.reads is None else scored.reads.fingerprint,
            score=scored.score,
            decision=decision,
            step=scored.step,
            missing=scored.missing,
            exposure="holdout" if answer.holdout else "served",
            answered_us=now,
            latency_us=spent,
            inexact=scored.inexact,
        )

    def _snapshot(self) -> AbstractContextManager[OnlineSnapshot | None]:
        """Begin to read the online state; None where it cannot be read."""
        if self._online is None:
            return nullcontext()
        try:
            return self._online.snapshot()
        except UnavailableError:
            self.counters.marks["", "unreadable_state"] += 1
            return nullcontext()

    def _count_unreadable(self, scored: Sequence[Scored | None], *, has_state: bool) -> None:
        """Count rows whose blobs could not be read although the state was open."""
        unreadable = has_state and sum(
            one is not None and one.degraded and one.reads is not None and not one.reads.lacks
            for one in scored
        )
        if unreadable:
            self.counters.marks["", "unreadable_state"] += unreadable

    def _count(self, route: Route, answer: Answer, scored: Scored) -> None:
        counters = self.counters
        counters.predictions[answer.model, answer.recommendation or "none", answer.step] += 1
        counters.events[route.gate.source, "accepted"] += 1
        if answer.missing:
            counters.missing[answer.model, answer.missing] += 1
        if answer.holdout:
            counters.marks[answer.model, "holdout"] += 1
        if answer.degraded:
            counters.marks[answer.model, "degraded"] += 1
        if answer.inexact:
            counters.marks[answer.model, "inexact"] += 1
        if scored.batch is not None:
            counters.batch = scored.batch

    def _no_model(self, model: str) -> HoldfastError:
        if not self._is_loaded:
            return _nothing_loaded()
        if model in self._in_batches:
            return NotFoundError(
                f"model `{model}` answers in batches, not single requests.",
                at="path",
                has=tuple(self._routes),
                hint=f"holdfast predict {model}",
            )
        return NotFoundError(
            f"there is no model `{model}`.",
            at="path",
            has=tuple(self._routes),
            hint=did_you_mean(model, self._routes),
        )

    # --- events ---------------------------------------------------------------------------------------

    def accept(self, source: str, body: bytes, *, feedback: bool = False) -> RowVerdict:
        """Accept one event.

        Parameters
        ----------
        feedback : whether it is an outcome, of a source that holds outcomes

        Raises
        ------
        NotFoundError
            If there is no such source (HF300).
        BadRequestError
            If the row breaks its contract; it is journalled as rejected.
        """
        gate = self._gate(source, feedback)
        now = self._clock.now_us()
        row = self._judged(gate, body, now)
        kind = FEEDBACK if feedback else EVENT
        self.counters.journal_bytes = self._journal.append([(kind, source, now, encode_payload(row))])
        self.counters.events[source, "accepted"] += 1
        return RowVerdict(str(row[gate.id_column]))

    def accept_many(self, source: str, body: bytes) -> list[RowVerdict]:
        """Accept the good rows of an array and journal the others as rejected, in one append.

        Raises
        ------
        BadRequestError
            If the body is no array of 1 to 1,000 rows.
        """
        gate = self._gate(source, False)
        parsed = read_rows(body)
        if isinstance(parsed, Reason):
            raise BadRequestError(parsed.message, code=parsed.code, at="$")
        now = self._clock.now_us()
        verdicts: list[RowVerdict] = []
        entries: list[Entry] = []
        for place, given in enumerate(parsed):
            row = judge_row(gate, given, now, f"$[{place}]")
            if isinstance(row, Problem):
                raw = json_text(given) if isinstance(given, dict) else "null"
                entries.append(rejected(source, row, raw, now))
                verdicts.append(RowVerdict(None, row))
            else:
                entries.append((EVENT, source, now, encode_payload(row)))
                verdicts.append(RowVerdict(str(row[gate.id_column])))
        self.counters.journal_bytes = self._journal.append(entries)
        bad = sum(verdict.problem is not None for verdict in verdicts)
        self.counters.events[source, "accepted"] += len(verdicts) - bad
        self.counters.events[source, "rejected"] += bad
        return verdicts

    def _gate(self, source: str, feedback: bool) -> Gate:
        if not self._is_loaded:
            raise _nothing_loaded()
        known = sorted(self._feedback) if feedback else list(self._gates)
        if source not in known:
            what = "takes outcomes" if feedback else "exists"
            raise NotFoundError(
                f"no source `{source}` {what}.",
                at="$.source" if feedback else "path",
                has=tuple(known),
                hint=did_you_mean(source, known),
            )
        return self._gates[source]

    # --- readiness ------------------------------------------------------------------------------------

    def rehearse(self, rows: Mapping[str, Stored]) -> None:
        """Walk the way of a request without a trace, so that no code is compiled by the first one.

        Parameters
        ----------
        rows : a row of stored values by model
        """
        for model, row in rows.items():
            one = _Asked(0, self._routes[model], row, "rehearsal", quick_prediction_id(model, "rehearsal"))
            for _ in range(3):
                (scored,), spent = self._score([one], self._ticks())
                if scored is None:
                    raise _nothing_answers(one.route)
                answer, decision = _decide(one, scored)
                encode_record(self._record(one, scored, answer, decision, 0, spent))
                encode_payload(row)


def _decide(one: _Asked, scored: Scored) -> tuple[Answer, str | None]:
    """Return the answer to a request, and what the policy decided: in the hold-out they differ."""
    route, live = one.route, scored.live
    policy = route.policy if live is None else live.policy
    decision = None if policy is None else policy.decide(scored.score)
    holdout = route.holdout > 0.0 and draw(one.pid) < route.holdout
    recommendation = policy.bands[-1][0] if holdout and policy is not None else decision
    answer = Answer(
        one.pid,
        scored.score,
        recommendation,
        route.model,
        0 if live is None else live.version,
        scored.step,
        scored.missing,
        holdout=holdout,
        degraded=scored.degraded,
        inexact=scored.inexact,
        score_name=route.score_name,
    )
    return answer, decision


def _nothing_answers(route: Route) -> UnavailableError:
    return UnavailableError(
        f"nothing can answer for `{route.model}` now.",
        at=f"models.{route.model}",
        hint="the server's log says why the champion does not; declare a constant as last fallback",
    )


def _nothing_loaded() -> UnavailableError:
    return UnavailableError("nothing is loaded yet.", hint="GET /readyz says what is waited for")
