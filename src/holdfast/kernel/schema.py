"""Schemas: the columns of an event, their types, bounds and roles, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.kernel.errors import NotFoundError, did_you_mean

ColumnType = Literal["string", "int", "float", "decimal", "bool", "time"]
Role = Literal[
    "value",
    "event_id",
    "content_id",
    "event_time",
    "arrival_time",
    "supersedes",
    "target_time",
    "known_later",
]

FIXED_POINT_LIMIT = 2**32
"""Greatest |value| x 10^scale of a column that enters sum, mean, std or var."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a schema.

    Attributes
    ----------
    type
        ``decimal`` is stored as int64 fixed point with `scale` places; ``time`` as int64 microseconds UTC.
    scale
        Decimal places of a decimal column, or of a float column that is summed; none means undeclared.
    ge, le
        Inclusive bounds, in the column's own unit (never fixed point), as numbers.
    role
        ``content_id`` identifies an event and is made here, of all other columns; no input has it.
        ``target_time`` says which instant a row of a grid is about. ``known_later`` is a value that was
        filled in or corrected after the row's arrival: no feature may read it.
    """

    name: str
    type: ColumnType
    nullable: bool = False
    role: Role = "value"
    scale: int | None = None
    ge: int | float | None = None
    le: int | float | None = None
    max_length: int | None = None
    one_of: tuple[str, ...] | None = None
    doc: str = ""

    @property
    def is_fixed_point(self) -> bool:
        """Whether the lake stores this column as int64 times 10^-scale."""
        return self.type == "decimal" or (self.type == "float" and self.scale is not None)


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one kind of event, in declared order."""

    name: str
    columns: tuple[Column, ...]

    def find(self, name: str) -> Column | None:
        """Return the column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def get(self, name: str) -> Column:
        """Return the column of that name.

        Raises
        ------
        NotFoundError
            If there is none; the hint names the nearest.
        """
        column = self.find(name)
        if column is None:
            raise NotFoundError(
                f"schema `{self.name}` has no column `{name}`.",
                code="HF102",
                has=self.names,
                hint=did_you_mean(name, self.names),
            )
        return column

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(column.name for column in self.columns)

    def _role(self, role: Role) -> Column | None:
        return next((column for column in self.columns if column.role == role), None)

    @property
    def event_id(self) -> Column | None:
        """The column that identifies an event."""
        return self._role("event_id") or self._role("content_id")

    @property
    def event_time(self) -> Column | None:
        """The column that says when it happened."""
        return self._role("event_time")

    @property
    def supersedes(self) -> Column | None:
        """The column that names the earlier event that an event corrects, where the schema has one."""
        return self._role("supersedes")

    @property
    def target_time(self) -> Column | None:
        """The column that says which instant a row is about, where that is not its own time."""
        return self._role("target_time")

    @property
    def arrival_time(self) -> Column | None:
        """The column that says when it was learnt, where the schema has one."""
        return self._role("arrival_time")
