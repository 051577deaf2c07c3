"""Capture: ordinary Python functions, run once with stand-ins for columns, become expressions.

A `Term` records what is done to it. What it cannot mean is noted, with the line and the remedy, and the
function goes on with a stand-in for the mistake, so that all are found and none invents another.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from types import FrameType
from typing import Any, NoReturn, TypeVar

from holdfast.features.aggregate import USABLE
from holdfast.kernel.errors import DefinitionError, Problem, did_you_mean
from holdfast.kernel.expr import Expr, Scalar, col, const, to_text
from holdfast.kernel.typecheck import postorder

_PACKAGE = __name__.partition(".")[0]
_BROKEN = "\0"  # the name of a column that no schema has: it stands for a mistake
_noted: ContextVar[list[Problem] | None] = ContextVar("noted", default=None)

MOST_NOTED = 100
"""Mistakes after which a function is not read further: it may be in a loop that only a value would end."""

T = TypeVar("T", bound=Callable[..., Any])


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of this package rather than the user's."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == _PACKAGE


def caller_place() -> str:
    """Return ``file:line`` of the nearest caller outside this package, or an empty string."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_ours(frame):
        frame = frame.f_back
    if frame is None:
        return ""
    name = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{frame.f_lineno}"


def _refuse(message: str, hint: str = "") -> NoReturn:
    raise DefinitionError(message, code="HF103", place=caller_place(), hint=hint)


@contextmanager
def noting() -> Iterator[list[Problem]]:
    """Collect the mistakes of what is read inside; outside of it the first one is raised."""
    found: list[Problem] = []
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def _note(message: str, hint: str = "", has: Iterable[str] = ()) -> Broken:
    """Note a mistake and return what stands in its place."""
    problem = Problem("HF103", message, place=caller_place(), has=tuple(has), hint=hint)
    noted = _noted.get()
    if noted is None or len(noted) >= MOST_NOTED:
        raise DefinitionError([problem])
    noted.append(problem)
    return Broken()


def is_broken(value: Any) -> bool:
    """Whether an expression, a term or an aggregate holds a mistake that has been noted."""
    if isinstance(value, MeasureTerm):
        return is_broken(value.where)
    expr = value.expr if isinstance(value, Term) else value
    return isinstance(expr, Expr) and any(
        node.op == "col" and node.params[0] == _BROKEN for node in postorder(expr)
    )


def _checked(method: T) -> T:
    """Note a call with arguments that the method does not take."""
    signature = inspect.signature(method)
    names = [name for name in signature.parameters if name != "self"]

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            unknown = [name for name in kwargs if name not in names]
            said = f"it takes no `{unknown[0]}`" if unknown else str(error)
            hint = did_you_mean(unknown[0], names) if unknown else ""
            return _note(f"`{method.__name__}` cannot be called so: {said}.", hint, names)
        return method(*args, **kwargs)

    return call  # type: ignore[return-value]


def lift(value: Any) -> Expr:
    """Return the expression of a term or constant; what is neither is noted."""
    if isinstance(value, Term):
        return value.expr
    if value is None or isinstance(value, bool | int | float | str):
        return const(value)
    if isinstance(value, MeasureTerm):
        return _note(
            "an aggregate over a window cannot stand inside an expression of the same view.",
            "name it in the view, then combine it in a feature",
        ).expr
    return _note(
        f"an expression holds columns, numbers and texts; found {type(value).__name__} {value!r}."
    ).expr


class Term:
    """A column or an expression over columns, as a user's function sees it.

    Arithmetic, comparisons and ``&``, ``|``, ``~`` build larger terms; methods are those of the expression
    table (`holdfast.kernel.expr.OPS`).
    """

    __slots__ = ("expr", "place")

    def __init__(self, expr: Expr) -> None:
        self.expr = expr
        self.place = caller_place()

    def _binary(self, op: str, other: Any, swap: bool = False) -> Term:
        left, right = self.expr, lift(other)
        return Term(Expr(op, (right, left) if swap else (left, right)))

    def __add__(self, other: Any) -> Term:
        return self._binary("add", other)

    def __radd__(self, other: Any) -> Term:
        return self._binary("add", other, swap=True)

    def __sub__(self, other: Any) -> Term:
        return self._binary("sub", other)

    def __rsub__(self, other: Any) -> Term:
        return self._binary("sub", other, swap=True)

    def __mul__(self, other: Any) -> Term:
        return self._binary("mul", other)

    def __rmul__(self, other: Any) -> Term:
        return self._binary("mul", other, swap=True)

    def __truediv__(self, other: Any) -> Term:
        return self._binary("div", other)

    def __rtruediv__(self, other: Any) -> Term:
        return self._binary("div", other, swap=True)

    def __lt__(self, other: Any) -> Term:
        return self._binary("lt", other)

    def __le__(self, other: Any) -> Term:
        return self._binary("le", other)

    def __gt__(self, other: Any) -> Term:
        return self._binary("gt", other)

    def __ge__(self, other: Any) -> Term:
        return self._binary("ge", other)

    def __eq__(self, other: object) -> Term:  # type: ignore[override]
        return self._binary("eq", other)

    def __ne__(self, other: object) -> Term:  # type: ignore[override]
        return self._binary("ne", other)

    def __and__(self, other: Any) -> Term:
        return self._binary("and", other)

    def __rand__(self, other: Any) -> Term:
        return self._binary("and", other, swap=True)

    def __or__(self, other: Any) -> Term:
        return self._binary("or", other)

    def __ror__(self, other: Any) -> Term:
        return self._binary("or", other, swap=True)

    def __invert__(self) -> Term:
        return Term(Expr("not", (self.expr,)))

    def __neg__(self) -> Term:
        return Term(Expr("neg", (self.expr,)))

    def __abs__(self) -> Term:
        return Term(Expr("abs", (self.expr,)))

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        self._note(
            "has no truth value while the definition is read.",
            "use hf.where(condition, a, b) instead of if, .isin([...]) instead of in, "
            "and (a < x) & (x < b) instead of and, or, not and chained comparisons",
        )
        return True

    def __contains__(self, item: object) -> bool:
        _note("`in` cannot be captured.", "use column.isin([...])")
        return True

    def __iter__(self) -> Iterator[Any]:
        _refuse(f"`{to_text(self.expr)}` stands for a column and cannot be iterated.")

    def __float__(self) -> float:
        self._note("has no value while the definition is read.", "use .log(), .exp(), .abs()")
        return 1.0

    def __int__(self) -> int:
        return int(self.__float__())

    def __call__(self, *_: Any, **__: Any) -> Term:
        """Note that what looks like a method of the source is one of its columns."""
        name = self.expr.params[0] if self.expr.op == "col" else ""
        hint = "" if name in _AGGREGATE_METHODS else did_you_mean(str(name), _AGGREGATE_METHODS)
        return self._note(
            "stands for a column and cannot be called.",
            hint
            or "an aggregate stands on a column, such as tx.amount.sum(over='24h'); tx.count() on the source",
        )

    def _note(self, message: str, hint: str, has: Iterable[str] = ()) -> Broken:
        """Note what this term cannot mean, unless it is part of another mistake."""
        return Broken() if is_broken(self) else _note(f"`{to_text(self.expr)}` {message}", hint, has)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        methods = [m for m in dir(type(self)) if not m.startswith("_") and m not in ("expr", "place")]
        hint = did_you_mean(name, methods)
        if name in _AGGREGATE_METHODS:
            hint = "aggregate a column of the source itself, and filter with where="
        return self._note(f"has no method `{name}`.", hint, methods)

    @_checked
    def abs(self) -> Term:
        """Return the absolute value."""
        return Term(Expr("abs", (self.expr,)))

    @_checked
    def log(self) -> Term:
        """Return the natural logarithm; missing for values at or below 0."""
        return Term(Expr("log", (self.expr,)))

    @_checked
    def exp(self) -> Term:
        """Return e to this power."""
        return Term(Expr("exp", (self.expr,)))

    @_checked
    def sqrt(self) -> Term:
        """Return the square root; missing for negative values."""
        return Term(Expr("sqrt", (self.expr,)))

    @_checked
    def clip(self, low: float | None = None, high: float | None = None) -> Term:
        """Return the value limited to ``[low, high]``."""
        return Term(Expr("clip", (self.expr,), (low, high)))

    @_checked
    def is_missing(self) -> Term:
        """Return 1 where the value is missing, else 0."""
        return Term(Expr("is_missing", (self.expr,)))

    @_checked
    def fill(self, value: float) -> Term:
        """Return the value, or the given one where it is missing."""
        return Term(Expr("fill", (self.expr,), (value,)))

    @_checked
    def isin(self, values: Iterable[Scalar]) -> Term:
        """Return 1 where the value equals one of those given."""
        if not isinstance(values, list | tuple | set | frozenset):
            return _note(f"`isin` takes a list of values, found {values!r}.", f"write .isin([{values!r}])")
        ordered = sorted(values, key=repr) if isinstance(values, set | frozenset) else values
        return Term(Expr("isin", (self.expr,), (tuple(ordered),)))

    @_checked
    def hour(self, tz: str = "UTC") -> Term:
        """Return the hour of day, 0-23, in the zone."""
        return Term(Expr("hour", (self.expr,), (tz,)))

    @_checked
    def weekday(self, tz: str = "UTC") -> Term:
        """Return the day of week, Monday 0 to Sunday 6, in the zone."""
        return Term(Expr("weekday", (self.expr,), (tz,)))

    @_checked
    def day(self, tz: str = "UTC") -> Term:
        """Return the day of month, in the zone."""
        return Term(Expr("day", (self.expr,), (tz,)))

    @_checked
    def month(self, tz: str = "UTC") -> Term:
        """Return the month, 1-12, in the zone."""
        return Term(Expr("month", (self.expr,), (tz,)))


class Broken(Term):
    """What a mistake leaves behind: whatever is done to it is part of the same mistake."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(col(_BROKEN))

    def __call__(self, *_: Any, **__: Any) -> Term:
        """Return itself."""
        return self


def where(condition: Any, then: Any, otherwise: Any) -> Term:
    """Return `then` where the condition holds and `otherwise` where not; missing where it is missing."""
    return Term(Expr("where", (lift(condition), lift(then), lift(otherwise))))


@dataclass(frozen=True, slots=True, eq=False)
class MeasureTerm:
    """An aggregate over a window as written; checked when the project is compiled."""

    source: str
    aggregate: str
    column: str | None
    over: Any
    offset: Any
    hop: Any
    where: Any
    after: bool
    place: str

    def __bool__(self) -> bool:
        _note("an aggregate has no truth value while the definition is read.", "combine it in a feature")
        return True

    def _combine(self, *_: Any) -> Term:
        return _note(
            f"`{self.aggregate}` over a window cannot be combined inside its view.",
            "name it in the view, then combine it in a feature",
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _combine
    __lt__ = __le__ = __gt__ = __ge__ = _combine


_AGGREGATE_METHODS = USABLE


class StreamColumn(Term):
    """A column of a source: a term, and the place where aggregates begin."""

    __slots__ = ("_name", "_source")

    def __init__(self, source: str, name: str) -> None:
        super().__init__(col(name))
        self._source, self._name = source, name

    def _measure(
        self, aggregate: str, over: Any, offset: Any, hop: Any, where: Any, after: bool
    ) -> MeasureTerm:
        return MeasureTerm(
            self._source, aggregate, self._name, over, offset, hop, where, after, caller_place()
        )

    @_checked
    def count(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Count the non-missing values in a window."""
        return self._measure("count", over, offset, hop, where, after)

    @_checked
    def sum(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Sum the values in a window, exactly."""
        return self._measure("sum", over, offset, hop, where, after)

    @_checked
    def mean(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Average the values in a window."""
        return self._measure("mean", over, offset, hop, where, after)

    @_checked
    def std(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Return the sample standard deviation in a window."""
        return self._measure("std", over, offset, hop, where, after)

    @_checked
    def var(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Return the sample variance in a window."""
        return self._measure("var", over, offset, hop, where, after)

    @_checked
    def min(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Return the smallest value in a window."""
        return self._measure("min", over, offset, hop, where, after)

    @_checked
    def max(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Return the greatest value in a window."""
        return self._measure("max", over, offset, hop, where, after)

    @_checked
    def first(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Return the first value in a window, in the order of event time, arrival time and event id."""
        return self._measure("first", over, offset, hop, where, after)

    @_checked
    def last(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Return the last value in a window, in the order of event time, arrival time and event id."""
        return self._measure("last", over, offset, hop, where, after)

    @_checked
    def distinct(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Count the different values in a window."""
        return self._measure("distinct", over, offset, hop, where, after)


class Stream:
    """The events of a source, as a view's function sees them: columns, `count` and `time_since_last`.

    ``stream["count"]`` reaches a column whose name a method hides.
    """

    def __init__(self, source: str) -> None:
        self._source = source

    def __getattr__(self, name: str) -> StreamColumn:
        if name.startswith("_"):
            raise AttributeError(name)
        return StreamColumn(self._source, name)

    def __getitem__(self, name: str) -> Term:
        if not isinstance(name, str):
            return _note(f"a column is reached by its name, found {name!r:.60}.", 'write row["amount"]')
        return StreamColumn(self._source, name)

    def __iter__(self) -> Iterator[Any]:  # without it Python asks for item 0, 1, 2 and never ends
        _refuse("the columns cannot be iterated.", "name those you mean")

    @_checked
    def count(
        self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None, after: bool = False
    ) -> Any:
        """Count the events in a window."""
        return MeasureTerm(self._source, "count", None, over, offset, hop, where, after, caller_place())

    @_checked
    def time_since_last(self, *, over: Any, offset: Any = 0, hop: Any = None, where: Any = None) -> Any:
        """Return the seconds from the last event in a window to the row's time."""
        return MeasureTerm(
            self._source, "time_since_last", None, over, offset, hop, where, False, caller_place()
        )


class Row:
    """One row's columns and features by name, as a feature function or a rule sees them."""

    def __getattr__(self, name: str) -> Term:
        if name.startswith("_"):
            raise AttributeError(name)
        return Term(col(name))

    def __getitem__(self, name: str) -> Term:
        if not isinstance(name, str):
            return _note(f"a column is reached by its name, found {name!r:.60}.", 'write row["amount"]')
        return Term(col(name))

    def __iter__(self) -> Iterator[Any]:  # without it Python asks for item 0, 1, 2 and never ends
        _refuse("the columns cannot be iterated.", "name those you mean")
