"""Every error holdfast raises, and the one table of their codes.

An error states a fact: what was expected and what was found, where, what there is instead, and a computed
hint. Exit and HTTP statuses are decided at the edge (`cli`, `server`), never here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

CODES: dict[str, str] = {
    # definitions
    "HF100": "the project file cannot be loaded",
    "HF101": "a name is defined twice",
    "HF102": "a name is read that does not exist",
    "HF103": "an expression cannot mean what it says",
    "HF104": "a column type does not allow this use",
    "HF105": "a window or duration is impossible",
    "HF106": "declared bounds allow an overflow",
    "HF107": "definitions depend on each other in a cycle",
    "HF108": "a label leaks into the features",
    "HF109": "history has no arrival basis",
    "HF110": "a release lacks a gate, an approver or a band",
    "HF111": "a schema is incomplete or contradictory",
    "HF112": "a scale is inferred or a bound is assumed",
    "HF113": "a definition compiles but cannot be evaluated yet",
    "HF114": "holdfast.toml cannot be read",
    # data
    "HF200": "a file is not what it says",
    "HF201": "a required value is missing",
    "HF202": "a value has the wrong type",
    "HF203": "a value is outside its bounds",
    "HF204": "a value has more decimal places than declared",
    "HF205": "a time has no zone",
    "HF206": "a value is not finite",
    "HF207": "a value is not one of those declared",
    "HF208": "a value is too long",
    "HF209": "a column is unknown or absent",
    "HF210": "an event id was seen with different content",
    "HF211": "history has no arrival basis",
    "HF212": "a dataset cannot be built from these events",
    "HF213": "a window holds more than it can",
    "HF214": "a line cannot be parsed",
    # registry, state
    "HF300": "not found",
    "HF301": "a compare-and-set was lost",
    "HF302": "an illegal transition",
    "HF303": "another process holds the lease",
    "HF304": "a stored format is newer than this version",
    # policy
    "HF400": "a gate failed",
    "HF401": "an approval is missing or not allowed",
    "HF402": "an artifact does not match its manifest",
    "HF403": "a model has no safe format",
    "HF404": "the state was made by a different definition",
    # determinism
    "HF500": "a recomputation did not match the record",
    "HF501": "the history chain is broken",
    # the world
    "HF600": "a file or store cannot be read or written",
    "HF601": "a system library is missing",
    "HF602": "the user's code failed",
    # usage
    "HF700": "the command cannot be run like this",
}
"""Meaning of each error code; `docs/reference/errors.md` lists the same."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with its place and a computed hint.

    Attributes
    ----------
    code : key of `CODES`
    message : the fact, with expected and found values
    at : path inside the definition or input, such as ``views.card_activity.card_spend_24h`` or ``$.amount``
    place : ``file:line`` when known
    has : what exists instead
    hint : what to do, computed from the facts
    """

    code: str
    message: str
    at: str = ""
    place: str = ""
    has: tuple[str, ...] = ()
    hint: str = ""
    severity: Severity = "error"

    def render(self) -> str:
        """Return the problem as the block of lines a terminal shows."""
        lines = [self.message]
        if self.at or self.place:
            where = f"{self.at}  ({self.place})" if self.at and self.place else self.at or self.place
            lines.append(f"  at      {where}")
        if self.has:
            lines.append(f"  has     {', '.join(self.has)}")
        if self.hint:
            lines.append(f"  hint    {self.hint}")
        lines[-1] = f"{lines[-1]}  [{self.code}]"
        return "\n".join(lines)


class HoldfastError(Exception):
    """Root of the tree: `str()` is the message a person reads, without a traceback.

    Parameters
    ----------
    message : the fact
    code, at, place, has, hint : see `Problem`
    """

    default_code = "HF700"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        at: str = "",
        place: str = "",
        has: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        self.problem = Problem(code or self.default_code, message, at, place, tuple(has), hint)
        super().__init__(self.problem.render())

    def within(self, place: str) -> Self:
        """Return the same error, its place inside a wider one: ``fraud@1: model.txt``."""
        found = self.problem
        return type(self)(
            found.message,
            code=found.code,
            at=f"{place}: {found.at}" if found.at else place,
            place=found.place,
            has=found.has,
            hint=found.hint,
        )

    @property
    def code(self) -> str:
        """Key of `CODES`."""
        return self.problem.code

    @property
    def hint(self) -> str:
        """What to do, or an empty string."""
        return self.problem.hint


class DefinitionError(HoldfastError):
    """The project says something impossible; carries *all* problems at once."""

    default_code = "HF103"

    def __init__(self, problems: Iterable[Problem] | str, **where: object) -> None:
        if isinstance(problems, str):
            super().__init__(problems, **where)  # type: ignore[arg-type]
            self.problems: tuple[Problem, ...] = (self.problem,)
            return
        found = tuple(problems)
        first = found[0]
        super().__init__(
            first.message, code=first.code, at=first.at, place=first.place, has=first.has, hint=first.hint
        )
        self.problems = found
        self.args = ("\n\n".join(problem.render() for problem in found),)


class ContractError(HoldfastError):
    """Data broke its contract."""

    default_code = "HF200"


class NotFoundError(HoldfastError):
    """A named thing does not exist."""

    default_code = "HF300"


class ConflictError(HoldfastError):
    """An illegal transition or a lost compare-and-set."""

    default_code = "HF301"


class RefusedError(HoldfastError):
    """A policy said no: approval missing, gate failed, artifact not as recorded."""

    default_code = "HF400"


class DeterminismError(HoldfastError):
    """A replay did not match the record."""

    default_code = "HF500"


class UnavailableError(HoldfastError):
    """The world did not answer; trying again may help."""

    default_code = "HF600"
    retryable = True


class UsageError(HoldfastError):
    """The command or call cannot be carried out as asked."""

    default_code = "HF700"


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return ``did you mean `x`?`` for the nearest candidate, or an empty string."""
    known = list(candidates)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)  # a slip of a letter
    if not near and len(name) > 2:
        near = sorted((c for c in known if _abbreviates(name, c)), key=len)
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.65)
    return f"did you mean `{near[0]}`?" if near else ""


def _abbreviates(name: str, candidate: str) -> bool:
    """Whether the letters of a name stand in a candidate in order, from its first one on."""
    letters = iter(candidate)
    return candidate[:1] == name[:1] and all(letter in letters for letter in name)
