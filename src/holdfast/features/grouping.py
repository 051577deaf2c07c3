"""Events and spine rows brought together by entity, sorted by time, as the arrays the window kernels take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.features.kernels import counting_order
from holdfast.kernel.errors import ContractError

Ints = NDArray[np.int64]


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
    in it, and an event of an entity the spine does not name, have code -1. O(n + m) expected.

    Raises
    ------
    ContractError
        If the two frames store a key column in different types.
    """
    if not keys:
        return np.zeros(spine.height, np.int64), np.zeros(events.height, np.int64), 1
    asked = spine.select(_like(spine[key], events[key]) for key in keys).with_row_index("_row")
    known = asked.group_by(keys).agg("_row").drop_nulls(list(keys)).with_row_index("_code")
    codes = np.full(spine.height, -1, np.int64)
    rows = known["_row"]
    codes[rows.explode().to_numpy()] = np.repeat(np.arange(known.height), rows.list.len().to_numpy())
    found = events.select(keys).join(known.drop("_row"), on=list(keys), how="left", maintain_order="left")
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
    A counting sort, O(n + groups), where the rows are in order of their times; else O(n log n).
    """
    if _ascending(times):
        return Groups(*counting_order(codes, groups))
    by_time = np.lexsort(times[::-1])
    order, start = counting_order(codes[by_time], groups)
    return Groups(by_time[order], start)


def _ascending(times: Sequence[Ints]) -> bool:
    if times[0].size < 2:
        return True
    tied = np.ones(times[0].size - 1, np.bool_)
    for column in times:
        before, after = column[:-1], column[1:]
        if np.any(tied & (after < before)):
            return False
        tied &= after == before
    return True


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
