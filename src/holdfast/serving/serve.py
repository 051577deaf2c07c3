"""The verb of live inference: one request becomes an answer, and a record in the journal before it leaves.

This is the data plane; it knows no HTTP. A request is read, judged, given features from one snapshot of the
online state, scored, decided, and journalled with its event in one append.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from holdfast.events.contract import Reason
from holdfast.events.journal import (
    EVENT,
    FEEDBACK,
    PREDICTION,
    REJECTED,
    JournalWriter,
    decode_payload,
    encode_payload,
)
from holdfast.events.row import Parsed, RowJudge, Stored, json_text, read_row, read_rows
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
from holdfast.kernel.time import MINUTE, format_instant
from holdfast.serving.frames import BOUNDED_BY_BATCH, encode_record
from holdfast.serving.live import Features, LiveModel, RowFeatures, Rules
from holdfast.serving.record import FORMAT, Step, prediction_id
from holdfast.training.policy import Bands

AHEAD = 5 * MINUTE
"""How far after the clock an event's own time may lie."""
REPEAT_S = 60
"""Seconds for which a stored answer is given again to the same request."""
REMEMBERED = 65_536
"""Greatest number of answers that are remembered."""
_NS = 1_000_000_000
_LITTLE = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class Gate:
    """One source as it is accepted live.

    Attributes
    ----------
    id_column, time_column : names of the columns that identify and date an event
    known_ahead : whether an event's time may lie far after the clock
    """

    source: str
    judge: RowJudge
    id_column: str
    time_column: str
    known_ahead: bool = False

    def is_future(self, row: Stored, now: int) -> bool:
        """Whether an event happens later than it may."""
        return not self.known_ahead and row[self.time_column] > now + AHEAD


@dataclass(frozen=True, slots=True, eq=False)
class Fallback:
    """One step below the champion: an earlier version, rules over features, or a constant.

    Attributes
    ----------
    features : what rules read; none for a constant
    """

    step: Step
    live: LiveModel | None = None
    rules: Rules | None = None
    features: RowFeatures | None = None
    constant: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """How requests for one model are answered; replaced as a whole when anything changes.

    Attributes
    ----------
    champion : the version that answers, or None where it could not be loaded
    ladder : what answers instead, in order
    holdout : share of requests whose recommendation nobody acts upon
    policy : decisions where no version answers
    score_name : key of the score in an answer
    """

    model: str
    gate: Gate
    champion: LiveModel | None
    ladder: tuple[Fallback, ...] = ()
    holdout: float = 0.0
    policy: Bands | None = None
    score_name: str = "risk_score"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a caller is told.

    Attributes
    ----------
    recommendation
        What to do: the lowest band where the request is in the hold-out, so that its outcome is observable.
    holdout : whether it is; the record keeps what the policy decided
    degraded : whether features are missing because the online state could not be read
    repeat : whether this is the stored answer to the same request
    """

    prediction_id: str
    score: float
    recommendation: str | None
    model: str
    version: int
    step: str
    missing: tuple[str, ...]
    holdout: bool = False
    degraded: bool = False
    repeat: bool = False
    score_name: str = "risk_score"

    def to_data(self) -> dict[str, Any]:
        """Return the answer as a JSON object; marks that do not hold are left out."""
        told: dict[str, Any] = {"prediction_id": self.prediction_id, self.score_name: self.score}
        if self.recommendation is not None:
            told["recommendation"] = self.recommendation
        told |= {"model": self.model, "version": self.version, "step": self.step, "missing": self.missing}
        for mark in ("holdout", "degraded", "repeat"):
            if getattr(self, mark):
                told[mark] = True
        return told


@dataclass(frozen=True, slots=True)
class RowVerdict:
    """What became of one event: its id where it was accepted, else the problem."""

    id: str | None
    problem: Problem | None = None


@dataclass(slots=True)
class Counters:
    """What this process has done since it started; whole numbers that only grow."""

    predictions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    missing: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    marks: Counter[tuple[str, str]] = field(default_factory=Counter)
    journal_bytes: int = 0
    batch: int = 0


class BadRequestError(ContractError):
    """A request that broke its contract, with the place in it."""


class DataPlane:
    """Answers requests in one process, one at a time.

    Parameters
    ----------
    journal : of this process
    clock : the project's
    ticks : nanoseconds of a clock that only measures durations

    Notes
    -----
    `predict` and `accept` are called from one thread. `swap` replaces routes and state between two requests;
    a request sees the old ones or the new ones, never both.
    """

    def __init__(self, journal: JournalWriter, clock: Clock, ticks: Callable[[], int]) -> None:
        self.counters = Counters()
        self._journal = journal
        self._clock = clock
        self._ticks = ticks
        self._routes: Mapping[str, Route] = {}
        self._gates: Mapping[str, Gate] = {}
        self._feedback: frozenset[str] = frozenset()
        self._online: OnlineReader | None = None
        self._recent: OrderedDict[str, tuple[int, bytes, Answer]] = OrderedDict()
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
    ) -> None:
        """Replace what answers; takes effect with the next request.

        Parameters
        ----------
        feedback : sources that hold outcomes
        """
        self._routes, self._gates, self._online, self._feedback = dict(routes), dict(gates), online, feedback
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
        route = self._routes.get(model)
        if route is None:
            raise self._no_model(model)
        gate = route.gate
        row = self._judged(gate, read_row(body), body)
        now = self._clock.now_us()
        key = str(row[gate.id_column])
        pid = _prediction_id(model, key)
        began = self._ticks()
        told = self._remembered(gate, pid, key, row, body, now, began)
        if told is not None:
            return told
        t: int = row[gate.time_column]
        step, live, found, score, spent = self._score(route, row, t, began)
        policy = route.policy if live is None else live.policy
        decision = None if policy is None else policy.decide(score)
        holdout = route.holdout > 0.0 and _lot(pid) < route.holdout
        names: tuple[str, ...] = () if found is None else found[0].names
        missing = () if found is None else _missing(names, found[1])
        recommendation = policy.bands[-1][0] if holdout and policy is not None else decision
        answer = Answer(
            pid,
            score,
            recommendation,
            model,
            0 if live is None else live.version,
            step,
            missing,
            holdout=holdout,
            degraded=found is not None and found[1].degraded,
            score_name=route.score_name,
        )
        self._attempts += 1
        spent.append((self._ticks() - began) // 1000 - sum(spent))
        batch = None if found is None else found[1].batch
        inexact = found is not None and found[1].inexact
        record: dict[str, Any] = {
            "format": FORMAT,
            "prediction_id": pid,
            "attempt": f"a-{self._journal.id}-{self._attempts}",
            "model": model,
            "version": answer.version,
            "bundle": "" if live is None else live.bundle,
            "runtime": step if live is None else live.runtime,
            "key": key,
            "t_us": t,
            "known_at_us": BOUNDED_BY_BATCH,
            "known_batch": () if batch is None or answer.degraded else (batch,),
            "request": row,
            "features": b"" if found is None else found[1].x.astype(_LITTLE, copy=False).tobytes(),
            "plan": "" if found is None else found[0].fingerprint,
            "score": score,
            "decision": decision,
            "step": step,
            "missing": missing,
            "exposure": "holdout" if holdout else "served",
            "answered_us": now,
            "latency_us": spent,
            "inexact": inexact,
        }
        payload = encode_payload(row)
        entries = [
            (EVENT, gate.source, now, payload),
            (PREDICTION, model, now, encode_record(record)),
        ]
        self.counters.journal_bytes = self._journal.append(entries)
        self._remember(pid, began, payload, answer)
        self._count(route, answer, inexact, batch)
        return answer

    def _judged(self, gate: Gate, parsed: Parsed, body: bytes) -> Stored:
        """Return the stored values of a request, or journal why there are none and raise."""
        row = gate.judge.judge(parsed)
        now = self._clock.now_us()
        problem = None
        if isinstance(row, Reason):
            problem = _problem(row, gate, parsed, "$")
        elif gate.is_future(row, now):
            problem = _future(row[gate.time_column], now, f"$.{gate.time_column}", gate.time_column)
        if problem is None:
            assert not isinstance(row, Reason)
            return row
        self._reject(gate, [(problem, body.decode(errors="replace"))], now)
        raise BadRequestError(problem.message, code=problem.code, at=problem.at, hint=problem.hint)

    def _reject(self, gate: Gate, found: Sequence[tuple[Problem, str]], now: int) -> None:
        self.counters.journal_bytes = self._journal.append(
            [_rejected(gate.source, problem, raw, now) for problem, raw in found]
        )
        self.counters.events[gate.source, "rejected"] += len(found)

    def _remembered(
        self, gate: Gate, pid: str, key: str, row: Stored, body: bytes, now: int, ticks: int
    ) -> Answer | None:
        """Return the stored answer to the same request, or None where there is none."""
        recent = self._recent.get(pid)
        if recent is None:
            return None
        when, before, answer = recent
        if ticks - when > REPEAT_S * _NS:
            del self._recent[pid]
            return None
        if before == encode_payload(row):
            self.counters.marks[answer.model, "repeat"] += 1
            return _repeated(answer)
        known = decode_payload(before)
        changed = sorted(name for name in row if known.get(name) != row[name])
        at = f"$.{changed[0]}"
        message = f"`{gate.id_column}` {key!r} was asked a moment ago with another `{changed[0]}`."
        problem = Problem("HF210", message, at=at, hint="send a new id for a new event")
        self._reject(gate, [(problem, body.decode(errors="replace"))], now)
        raise ConflictError(message, code="HF210", at=at, hint=problem.hint)

    def _remember(self, pid: str, ticks: int, payload: bytes, answer: Answer) -> None:
        # Only bytes and numbers: many objects that the garbage collector follows would make it stop for long.
        recent = self._recent
        recent[pid] = (ticks, payload, answer)
        if len(recent) > REMEMBERED:
            recent.popitem(last=False)

    def _score(
        self, route: Route, row: Stored, t: int, began: int
    ) -> tuple[Step, LiveModel | None, tuple[RowFeatures, Features] | None, float, list[int]]:
        """Return who answered, with which features, and the microseconds that features and model took."""
        with self._snapshot() as snapshot:
            if route.champion is not None:
                features = self._features(route.champion.features, row, snapshot, t)
                ready = self._ticks()
                score = self._try(route.champion, features)
                if score is not None:
                    spent = [(ready - began) // 1000, (self._ticks() - ready) // 1000]
                    return "champion", route.champion, (route.champion.features, features), score, spent
            for below in route.ladder:
                if below.constant is not None:
                    return below.step, None, None, below.constant, [(self._ticks() - began) // 1000, 0]
                reads = below.features if below.live is None else below.live.features
                assert reads is not None
                features = self._features(reads, row, snapshot, t)
                ready = self._ticks()
                score = self._try(below.live or below.rules, features)
                if score is not None:
                    spent = [(ready - began) // 1000, (self._ticks() - ready) // 1000]
                    return below.step, below.live, (reads, features), score, spent
        raise UnavailableError(
            f"nothing can answer for `{route.model}` now.",
            at=f"models.{route.model}",
            hint="the server's log says why the champion does not; declare a constant as last fallback",
        )

    def _features(self, reads: RowFeatures, row: Stored, snapshot: OnlineSnapshot | None, t: int) -> Features:
        """Return features, without the state where it cannot be read."""
        try:
            return reads.evaluate(row, snapshot, t)
        except HoldfastError:
            self.counters.marks["", "unreadable_state"] += 1
            return reads.evaluate(row, None, t)

    def _try(self, scorer: LiveModel | Rules | None, features: Features) -> float | None:
        if scorer is None:
            return None
        try:
            score = scorer.score(features.x)
        except HoldfastError:
            return None
        return score if math.isfinite(score) else None

    def _snapshot(self) -> AbstractContextManager[OnlineSnapshot | None]:
        """Begin to read the online state; None where it cannot be read."""
        if self._online is None:
            return nullcontext()
        try:
            return self._online.snapshot()
        except UnavailableError:
            self.counters.marks["", "unreadable_state"] += 1
            return nullcontext()

    def _count(self, route: Route, answer: Answer, inexact: bool, batch: int | None) -> None:
        counters = self.counters
        counters.predictions[answer.model, answer.recommendation or "none", answer.step] += 1
        counters.events[route.gate.source, "accepted"] += 1
        if answer.missing:
            counters.missing[answer.model, answer.missing] += 1
        if answer.holdout:
            counters.marks[answer.model, "holdout"] += 1
        if answer.degraded:
            counters.marks[answer.model, "degraded"] += 1
        if inexact:
            counters.marks[answer.model, "inexact"] += 1
        if batch is not None:
            counters.batch = batch

    def _no_model(self, model: str) -> HoldfastError:
        if not self._is_loaded:
            return self._nothing_loaded()
        return NotFoundError(
            f"there is no model `{model}`.",
            at="path",
            has=tuple(self._routes),
            hint=did_you_mean(model, self._routes),
        )

    @staticmethod
    def _nothing_loaded() -> UnavailableError:
        return UnavailableError("nothing is loaded yet.", hint="GET /readyz says what is waited for")

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
        row = self._judged(gate, read_row(body), body)
        now = self._clock.now_us()
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
        verdicts, entries = [], []
        for place, (given, row) in enumerate(zip(parsed, gate.judge.judge_many(parsed), strict=True)):
            if isinstance(row, Reason):
                problem = _problem(row, gate, given, f"$[{place}]")
            elif gate.is_future(row, now):
                at = f"$[{place}].{gate.time_column}"
                problem = _future(row[gate.time_column], now, at, gate.time_column)
            else:
                entries.append((EVENT, source, now, encode_payload(row)))
                verdicts.append(RowVerdict(str(row[gate.id_column])))
                continue
            raw = json_text(given) if isinstance(given, dict) else "null"
            entries.append(_rejected(source, problem, raw, now))
            verdicts.append(RowVerdict(None, problem))
        self.counters.journal_bytes = self._journal.append(entries)
        bad = sum(verdict.problem is not None for verdict in verdicts)
        self.counters.events[source, "accepted"] += len(verdicts) - bad
        self.counters.events[source, "rejected"] += bad
        return verdicts

    def _gate(self, source: str, feedback: bool) -> Gate:
        if not self._is_loaded:
            raise self._nothing_loaded()
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
            route = self._routes[model]
            t = row[route.gate.time_column]
            for _ in range(3):
                _, live, found, score, spent = self._score(route, row, t, self._ticks())
                if live is not None and live.policy is not None:
                    live.policy.decide(score)
                x = b"" if found is None else found[1].x.tobytes()
                encode_record({"request": row, "features": x, "latency_us": spent})
                encode_payload(row)


def _prediction_id(model: str, key: str) -> str:
    """Return `prediction_id`, for a usual key without the detour of canonical JSON."""
    if key.isascii() and key.isprintable() and '"' not in key and "\\" not in key:
        text = f'["{model}","{key}"]'
        return f"p-{hashlib.blake2b(text.encode(), digest_size=20).hexdigest()[:20]}"
    return prediction_id(model, key)


def _lot(pid: str) -> float:
    """Return a number in [0, 1) that is the same for every attempt at a prediction."""
    drawn = hashlib.blake2b(pid.encode(), digest_size=7, person=b"holdout").digest()
    return (int.from_bytes(drawn, "little") >> 3) / 2**53


def _missing(names: tuple[str, ...], features: Features) -> tuple[str, ...]:
    return tuple([name for name, value in zip(names, features.x.tolist(), strict=True) if value != value])


def _repeated(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, repeat=True)


def _problem(reason: Reason, gate: Gate, parsed: Parsed, at: str) -> Problem:
    where = f"{at}.{reason.column}" if reason.column else at
    return Problem(reason.code, reason.message, at=where, hint=gate.judge.hint(reason, parsed))


def _future(t: int, now: int, at: str, column: str) -> Problem:
    return Problem(
        "HF203",
        f"`{column}` must be at most 5 minutes after the clock, found {format_instant(t)} "
        f"at {format_instant(now)}.",
        at=at,
        hint="check the sender's clock and zone",
    )


def _rejected(source: str, problem: Problem, raw: str, now: int) -> tuple[int, str, int, bytes]:
    column = problem.at.rpartition(".")[2] if "." in problem.at else ""
    return (
        REJECTED,
        source,
        now,
        encode_payload({"code": problem.code, "column": column, "reason": problem.message, "raw": raw}),
    )
