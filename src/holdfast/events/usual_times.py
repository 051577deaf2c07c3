"""Times as most files write them: texts of one length, each digit at its place, in UTC."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.kernel.time import DAY, HOUR, MINUTE, SECOND

_MARKS: Final = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":", 19: "."}
_SHORTEST, _LONGEST = len("2026-11-02T10:15:00Z"), len("2026-11-02T10:15:00.123456Z")


def usual_micros(cells: pl.Series) -> NDArray[np.int64] | None:
    """Return the microseconds of texts such as ``2026-11-02T10:15:00.25Z``.

    None, unless every one of them is an instant of the years 1000 to 9999, written like that, with as many
    digits as the others: then each has to be looked at in another way. Law: as `instant_text` says, one by
    one (tests/laws/test_rule_table.py).
    """
    if not len(cells) or cells.null_count():
        return None
    lengths = cells.str.len_bytes()
    length = int(lengths[0])
    whole = length == _SHORTEST
    if (not whole and not _SHORTEST + 2 <= length <= _LONGEST) or (lengths != length).any():
        return None
    text = np.frombuffer(cells.str.join("").item().encode(), np.uint8)
    at = np.ascontiguousarray(text.reshape(-1, length).T)  # one row for each place
    marks = {**_MARKS, length - 1: "Z"}
    if any((at[place] != ord(mark)).any() for place, mark in marks.items()):
        return None
    digits = at - np.uint8(ord("0"))
    if any((digits[place] > 9).any() for place in range(length) if place not in marks):
        return None

    def number(start: int, end: int) -> NDArray[np.int64]:
        value: NDArray[np.int64] = digits[start].astype(np.int64)
        for place in range(start + 1, end):
            value = value * 10 + digits[place]
        return value

    year, month, day = number(0, 4), number(5, 7), number(8, 10)
    hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
    if not ((year >= 1000) & (month >= 1) & (month <= 12) & (day >= 1)).all():
        return None
    months = ((year - 1970) * 12 + (month - 1)).astype("M8[M]")
    first = months.astype("M8[D]").astype(np.int64)
    length_of_month = (months + 1).astype("M8[D]").astype(np.int64) - first
    if not ((day <= length_of_month) & (hour <= 23) & (minute <= 59) & (second <= 59)).all():
        return None
    micros: NDArray[np.int64] = (first + day - 1) * DAY + hour * HOUR + minute * MINUTE + second * SECOND
    if not whole:
        micros += number(20, length - 1) * 10 ** (6 - (length - 21))
    return micros
