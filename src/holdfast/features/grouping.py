"""Events and spine rows brought together by entity, sorted by time, as the arrays the window kernels take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.features import grouping_kernels as kernels
from holdfast.kernel.errors import ContractError

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CHUNK_ROWS = 1 << 20
"""Events whose keys are compared at a time; memory grows with it."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of one frame sorted by (group, time): `order` says which, group g is [start[g], start[g+1])."""

    order: Ints
    start: Ints


def key_codes(keys: Sequence[str], spine: pl.DataFrame, events: pl.DataFrame) -> tuple[Ints, Ints, int]:
    """Number the entities of a spine, and find them among the events.

    Parameters
    ----------
    keys : the columns that identify an entity, in both frames; without any, all rows are of one

    Returns
    -------
    Codes of the spine's rows (n,), codes of the events (m,), and how many codes there are. A key with a null
    in it, and an event of an entity the spine does not name, have code -1. Keys are found by a hash and then
    compared; where two of them share one, as if on purpose, all are numbered by their values.
    O(n + m) expected.

    Raises
    ------
    ContractError
        If the two frames store a key column in different types.
    """
    if not keys:
        return np.zeros(spine.height, np.int64), np.zeros(events.height, np.int64), 1
    asked = spine.select(_like(spine[key], events[key]) for key in keys)
    held = events.select(keys)
    return _by_hash(asked, held) or _by_value(asked, held)


def _by_hash(asked: pl.DataFrame, held: pl.DataFrame) -> tuple[Ints, Ints, int] | None:
    """Number the rows by a hash of their key; None where two keys have one hash, as no two should."""
    codes, first, words, numbers = kernels.number_words(*_words(asked))
    entities = asked[first]
    entities = pl.concat([entities, entities.clear(1)])  # what code -1 is looked up as: no key
    if _differ(entities, codes, asked):
        return None
    found = np.empty(held.height, np.int64)
    for start in range(0, held.height, CHUNK_ROWS):
        some, here = held[start : start + CHUNK_ROWS], found[start : start + CHUNK_ROWS]
        kernels.find_words(*_words(some), words, numbers, here)
        if _differ(entities, here, some):
            return None
    return codes, found, first.size


def _words(keys: pl.DataFrame) -> tuple[Ints, Bools]:
    """Return the hash of each row, and whether all of its key is there."""
    missing = np.zeros(keys.height, np.bool_)
    for column in keys:
        if column.null_count():
            missing |= column.is_null().to_numpy()
    return keys.hash_rows().to_numpy().view(np.int64), ~missing


def _differ(entities: pl.DataFrame, codes: Ints, rows: pl.DataFrame) -> bool:
    """Whether a row has the code of an entity with another key."""
    place = pl.Series(np.where(codes < 0, entities.height - 1, codes))
    return any((entities[column.name].gather(place) != column).any() for column in rows)


def _by_value(asked: pl.DataFrame, held: pl.DataFrame) -> tuple[Ints, Ints, int]:
    """Number the rows by the keys themselves, several times as slow."""
    keys = asked.columns
    grouped = asked.with_row_index("_row").group_by(keys).agg("_row")
    known = grouped.drop_nulls(keys).with_row_index("_code")
    codes = np.full(asked.height, -1, np.int64)
    rows = known["_row"]
    codes[rows.explode().to_numpy()] = np.repeat(np.arange(known.height), rows.list.len().to_numpy())
    found = held.join(known.drop("_row"), on=keys, how="left", maintain_order="left")
    return codes, found["_code"].cast(pl.Int64).fill_null(-1).to_numpy(), known.height


def _like(column: pl.Series, model: pl.Series) -> pl.Series:
    same_kind = column.dtype.is_integer() and model.dtype.is_integer()
    if column.dtype != model.dtype and not same_kind and column.null_count() < column.len():
        raise ContractError(
            f"key `{column.name}` is {model.dtype} in the events, {column.dtype} in the spine.",
            code="HF202",
            at=column.name,
            hint=f"store `{column.name}` as {model.dtype} in both",
        )
    return column.cast(model.dtype)


def grouped(codes: Ints, groups: int, *times: Ints) -> Groups:
    """Sort rows by (code, times...), leaving out codes below 0.

    Parameters
    ----------
    codes : (n,) group of each row
    times : (n,) each, the most significant first; remaining ties stay in input order

    Notes
    -----
    A counting sort, O(n + groups), where the rows are in order of the first time; else O(n log n). Only rows
    that agree in it are compared by the next ones.
    """
    by_time = _by_time(times)
    if by_time is None:
        return Groups(*kernels.counting_order(codes, groups))
    order, start = kernels.counting_order(codes[by_time], groups)
    return Groups(by_time[order], start)


def _by_time(times: Sequence[Ints]) -> Ints | None:
    """Return the order of rows by their times; None where they are in order."""
    first = times[0]
    if np.any(first[1:] < first[:-1]):
        return np.lexsort(times[::-1])
    same = first[1:] == first[:-1]
    if len(times) == 1 or not same.any():
        return None
    tied = np.zeros(first.size, np.bool_)
    tied[1:] = same
    tied[:-1] |= same
    rows = np.flatnonzero(tied)  # each run of equal times stays where it is
    order = np.arange(first.size)
    order[rows] = rows[np.lexsort([column[rows] for column in times[::-1]])]
    return order


def int64_of(column: pl.Series) -> Ints:
    """Return a column of integers or times as int64.

    Raises
    ------
    ContractError
        If a value is missing.
    """
    if column.null_count():
        raise ContractError(
            f"`{column.name}` is missing in {column.null_count()} of {column.len()} rows.",
            code="HF201",
            at=column.name,
        )
    array: NDArray[Any] = column.to_physical().cast(pl.Int64).to_numpy()
    return np.ascontiguousarray(array)
