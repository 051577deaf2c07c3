"""What a user says of rows: the entities they are about, and the instants they stand at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.project.capture import caller_place


class Entity:
    """A thing that features describe, and the column or columns that identify it.

    Parameters
    ----------
    name : such as ``"card"``
    key : column name, or several
    """

    def __init__(self, name: str, *, key: str | Sequence[str]) -> None:
        self.name = name
        self.key = (key,) if isinstance(key, str) else tuple(key)
        self.place = caller_place()


class Spine:
    """Rows at regular instants for every combination of entities seen, instead of rows from events.

    Parameters
    ----------
    entities : whose combinations form the rows
    every : distance of the instants, such as ``"1d"``
    include_zero
        Keep instants without any event since the one before, from the first event of a combination on: a day
        without sales is a day of zero sales.
    """

    def __init__(self, *entities: Entity, every: Any, include_zero: bool = True) -> None:
        self.entities, self.every, self.include_zero = entities, every, include_zero
        self.place = caller_place()
