"""What a user says of events: a schema and its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.project.capture import caller_place


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What was said of one column."""

    role: str = "value"
    scale: int | None = None
    ge: float | None = None
    le: float | None = None
    max_length: int | None = None
    one_of: tuple[str, ...] | None = None
    doc: str = ""
    known_later: Any = False


def field(
    *,
    scale: int | None = None,
    ge: float | None = None,
    le: float | None = None,
    max_length: int | None = None,
    one_of: Sequence[str] | None = None,
    known_later: bool = False,
    doc: str = "",
) -> Any:
    """Say more of a column than its type.

    Parameters
    ----------
    scale : decimal places; such a column is stored exactly and may be summed
    ge, le : inclusive bounds in the column's own unit
    max_length : greatest number of characters of a text
    one_of : the only texts allowed
    known_later
        What is stored was filled in or corrected after the row arrived, such as a country that is asked
        for at check-in. `validate` refuses features, views and entities that read it; labels, filters of
        the test part and costs may, as they look back on what became of a row. Where rows come live, and
        so without it, its type is ``| None``.
    doc : what it means, for people
    """
    allowed = None if one_of is None else tuple(one_of)
    return FieldSpec("value", scale, ge, le, max_length, allowed, doc, known_later)


def event_id(*, content: bool = False, max_length: int | None = None, doc: str = "") -> Any:
    """Mark the column that identifies an event; a second row with the same id is a duplicate.

    Parameters
    ----------
    content
        The rows come without an id: it is made, a hash of all other columns, so that rows equal in
        everything are one event. No input has such a column.
    max_length : greatest number of characters of a text
    doc : what it means, for people
    """
    return FieldSpec("content_id" if content else "event_id", max_length=max_length, doc=doc)


def event_time(*, doc: str = "") -> Any:
    """Mark the column that says when the event happened."""
    return FieldSpec("event_time", doc=doc)


def arrival_time(*, doc: str = "") -> Any:
    """Mark the column that says when the event was learnt."""
    return FieldSpec("arrival_time", doc=doc)


def supersedes(*, max_length: int | None = None, doc: str = "") -> Any:
    """Mark the column that names the id of an earlier event which this one corrects, or is missing.

    From the arrival of the correction on the earlier event is not seen any more; what was known before stays
    known before. Corrections of corrections are legal, and so is one that arrives before its target.
    """
    return FieldSpec("supersedes", max_length=max_length, doc=doc)


class Event:
    """Base of a schema: annotated columns of str, int, float, Decimal, bool or datetime.

    A column that may be missing is ``| None``.
    """

    _holdfast_place: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._holdfast_place = caller_place()
