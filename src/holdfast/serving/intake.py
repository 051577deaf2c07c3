"""Single rows at the door: judged by their contract, refused with a reason, named, remembered for a retry."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from holdfast.events.journal import REJECTED, Entry, decode_payload, encode_payload
from holdfast.events.reason import Reason
from holdfast.events.row import Parsed, Stored
from holdfast.kernel.errors import Problem
from holdfast.kernel.time import format_instant
from holdfast.serving.answer import Answer
from holdfast.serving.record import prediction_id
from holdfast.serving.route import Gate

REPEAT_S: Final = 60
"""Seconds for which a stored answer is given again to the same request."""
REMEMBERED: Final = 65_536
"""Greatest number of answers that are remembered."""
_NS = 1_000_000_000


def judge_row(gate: Gate, parsed: Parsed, now: int, at: str = "$") -> Stored | Problem:
    """Return the stored values of a row, or why there are none.

    Parameters
    ----------
    now : microseconds of the project's clock; a row may be five minutes ahead of it
    at : where the row stands in the request
    """
    row = gate.judge.judge(parsed)
    if isinstance(row, Reason):
        where = f"{at}.{row.column}" if row.column else at
        return Problem(row.code, row.message, at=where, hint=gate.judge.hint(row, parsed))
    if not gate.is_future(row, now):
        return row
    column = gate.time_column
    return Problem(
        "HF203",
        f"`{column}` must be at most 5 minutes after the clock, found {format_instant(row[column])} "
        f"at {format_instant(now)}.",
        at=f"{at}.{column}",
        hint="check the sender's clock and zone",
    )


def rejected(source: str, problem: Problem, raw: str, now: int) -> Entry:
    """Return the journal entry of a row that was refused."""
    column = problem.at.rpartition(".")[2] if "." in problem.at else ""
    return (
        REJECTED,
        source,
        now,
        encode_payload({"code": problem.code, "column": column, "reason": problem.message, "raw": raw}),
    )


def quick_prediction_id(model: str, key: str) -> str:
    """Return `prediction_id`, for a usual key without the detour of canonical JSON."""
    if key.isascii() and key.isprintable() and '"' not in key and "\\" not in key:
        text = f'["{model}","{key}"]'
        return f"p-{hashlib.blake2b(text.encode(), digest_size=20).hexdigest()[:20]}"
    return prediction_id(model, key)


def draw(pid: str) -> float:
    """Return a number in [0, 1) that is the same for every attempt at a prediction."""
    drawn = hashlib.blake2b(pid.encode(), digest_size=7, person=b"holdout").digest()
    return (int.from_bytes(drawn, "little") >> 3) / 2**53


class Recent:
    """The answers of the last minute, so that a retry is told the same.

    Parameters
    ----------
    most : answers that are remembered at most
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        # Only bytes and numbers: many objects that the garbage collector follows would make it stop for long.
        self._answers: OrderedDict[str, tuple[int, bytes, Answer]] = OrderedDict()

    def find(self, pid: str, ticks: int) -> tuple[bytes, Answer] | None:
        """Return the payload and the answer of an earlier request of this id, or None.

        Parameters
        ----------
        ticks : nanoseconds of the clock that `remember` was given
        """
        found = self._answers.get(pid)
        if found is None:
            return None
        when, payload, answer = found
        if ticks - when > REPEAT_S * _NS:
            del self._answers[pid]
            return None
        return payload, answer

    def remember(self, pid: str, ticks: int, payload: bytes, answer: Answer) -> None:
        """Keep an answer, and forget the oldest where there are too many."""
        self._answers[pid] = (ticks, payload, answer)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)


def changed_columns(before: bytes, row: Stored) -> list[str]:
    """Return the columns in which a row differs from the payload of an earlier one."""
    known = decode_payload(before)
    return sorted(name for name in row if known.get(name) != row[name])
