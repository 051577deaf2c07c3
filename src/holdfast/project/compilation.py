"""Compilations: a project on its way from what was written to nouns, with every problem found so far."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from holdfast.kernel.errors import DefinitionError, Problem, Severity
from holdfast.kernel.expr import Expr, const
from holdfast.kernel.time import DAY, format_duration, parse_duration
from holdfast.kernel.typecheck import as_number
from holdfast.project.capture import Term, is_broken, is_ours, noting
from holdfast.project.compiled import CompiledProject

T = TypeVar("T")

MOST_MESSAGE = 1_000
"""Greatest length of a problem's message, in characters."""
LONGEST = 18_262 * DAY
"""Longest duration that a definition may name: 50 years, more than any history."""


@dataclass
class Compilation:
    """A compiled project, the problems found on the way, and the place of each path.

    Attributes
    ----------
    project : nodes are added to it one by one
    places : ``file:line`` by path
    unresolved : paths of features whose problem is reported already, so that nobody judges them again
    entities : key columns by the name of an entity
    """

    project: CompiledProject
    problems: list[Problem] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    unresolved: set[str] = field(default_factory=set)
    entities: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def report(
        self,
        code: str,
        message: str,
        at: str,
        *,
        place: str = "",
        has: Iterable[str] = (),
        hint: str = "",
        severity: Severity = "error",
    ) -> None:
        """Add a problem at a path; its place is looked up along the path where none is given."""
        where, path = place, at
        while not where and path:
            where = self.places.get(path, "")
            path = path.rpartition(".")[0]
        if len(message) > MOST_MESSAGE:  # it quotes what the user wrote, however long that is
            message = f"{message[: MOST_MESSAGE - 3]}..."
        self.problems.append(Problem(code, message, at, where, tuple(has), hint, severity))

    def duration(self, value: Any, at: str, place: str = "") -> int | None:
        """Return a duration in microseconds, or None after reporting that it is none."""
        if isinstance(value, int | float) and value != 0:
            text = shown(value)
            unit = f"say the unit: '{text}s', '{text}m', '{text}h' or '{text}d'"
            self.report("HF105", f"a duration has a unit, found {text}.", at, place=place, hint=unit)
            return None
        try:
            length = parse_duration(value)
        except DefinitionError as error:
            found = error.problem
            self.report(found.code, found.message, at, place=place, hint=found.hint)
            return None
        if length <= LONGEST:
            return length
        self.report(
            "HF105",
            f"a duration is at most {format_duration(LONGEST)} (50 years), found {shown(value)}.",
            at,
            place=place,
            hint="count from the beginning of what is stored: no window reaches further",
        )
        return None

    def number(self, value: Any, what: str, at: str, place: str = "", code: str = "HF103") -> float:
        """Return a finite number, or 0 after reporting that it is none."""
        found = None if isinstance(value, bool) else as_number(value)
        if found is not None:
            return found
        self.report(code, f"{what} is a finite number, found {shown(value)}.", at, place=place)
        return 0.0

    def expression(self, value: Any, what: str, at: str) -> Expr | None:
        """Return the expression of a term or a number, or None after reporting that it is neither."""
        if is_broken(value):
            return None
        if isinstance(value, Term):
            return value.expr
        if isinstance(value, int | float):
            return const(value)
        self.report("HF103", f"{what} is an expression over columns, found {value!r}.", at)
        return None

    def expect(self, kind: type[T], value: Any, what: str, at: str, code: str = "HF103") -> T | None:
        """Return the value if it is of that kind or None, else None after reporting what was found."""
        if value is None or isinstance(value, kind):
            return value
        self.report(code, f"{what} takes hf.{kind.__name__}(...), found {value!r}.", at)
        return None

    def claim(self, name: Any, taken: Container[str], kind: str, place: str) -> bool:
        """Return whether a name is plain and free, and remember its place; report it otherwise."""
        at = f"{kind}s.{name}"
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            self.report(
                "HF101",
                f"{kind.replace('_', ' ')} name {name!r} is not a plain identifier.",
                at,
                place=place,
                hint="use letters, digits and underscores, beginning with a letter",
            )
            return False
        if name in taken:
            self.report(
                "HF101",
                f"{kind.replace('_', ' ')} `{name}` is defined twice.",
                at,
                place=place,
                hint=f"the first is at {self.places.get(at, 'another place')}",
            )
            return False
        self.places[at] = place
        return True

    def captured(self, call: Callable[[], T], at: str, place: str) -> T | None:
        """Run a user's function with stand-ins; mistakes become problems, an exception makes it None."""
        answer = None
        with noting() as found:
            try:
                answer = call()
            except DefinitionError as error:
                found.extend(error.problems)
            except Exception as error:  # the user's own code may raise anything
                if not found:  # else it may well be a consequence
                    self.report(
                        "HF103",
                        f"the function fails while it is read: {type(error).__name__}: {error}.",
                        at,
                        place=_user_line(error) or place,
                        hint="it is called once with stand-ins for columns",
                    )
        for one in dict.fromkeys(found):
            self.report(one.code, one.message, at, place=one.place or place, has=one.has, hint=one.hint)
        return answer


def shown(value: object) -> str:
    """Return how a value of the user's is written, shortened; of one that cannot say so, its type."""
    try:
        text = repr(value)
    except Exception:  # the user's own classes may raise anything, and so do integers of 5,000 digits
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _user_line(error: BaseException) -> str:
    """Return ``file:line`` of the innermost frame that is not ours."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if not is_ours(trace.tb_frame):
            name = trace.tb_frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
            found = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
