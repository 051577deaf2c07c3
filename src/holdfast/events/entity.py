"""Entities: the things features describe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing features describe, and the column or columns that identify it."""

    name: str
    key: tuple[str, ...]
