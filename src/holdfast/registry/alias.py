"""Aliases: movable names of versions, each with a revision that compare-and-set checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.kernel.errors import ConflictError

AliasName = Literal["champion", "challenger"]


@dataclass(frozen=True, slots=True)
class Alias:
    """Which version answers, or wants to.

    Attributes
    ----------
    version : number of the version, or None where the name was withdrawn
    revision : 1, 2, 3 ...; grows by one with each change and never falls. An alias never set is at 0.
    """

    model: str
    name: AliasName
    version: int | None
    revision: int

    def describe(self) -> str:
        """Return what the alias says now, for people."""
        points = "no version" if self.version is None else f"`{self.model}@{self.version}`"
        return f"{points} since revision {self.revision}"


def advance(
    current: Alias | None, model: str, name: AliasName, version: int | None, expected_revision: int
) -> Alias:
    """Return the alias after a compare-and-set.

    Raises
    ------
    ConflictError
        If the alias is not at the expected revision (HF301).
    """
    revision = current.revision if current else 0
    if revision != expected_revision:
        raise ConflictError(
            f"`{name}` of `{model}` was changed meanwhile: expected revision {expected_revision}, "
            f"found {revision}.",
            at=f"{model}.{name}",
            has=(current.describe(),) if current else ("never set",),
            hint="look at the alias again; if the change is still wanted, repeat it",
        )
    return Alias(model, name, version, revision + 1)
