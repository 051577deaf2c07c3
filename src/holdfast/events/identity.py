"""What makes a row's content: one canonical encoding, from which digests and ids of content are made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

_ENCODE = msgspec.msgpack.Encoder().encode


def digest_rows(rows: pl.DataFrame, names: Sequence[str]) -> list[bytes]:
    """Return 16 bytes for each stored row, equal for equal content of these columns.

    Missing values do not count, so a column that is added later changes nothing. Zero has no sign.
    """
    ordered = sorted(names)
    plain = rows.select(
        pl.col(name).to_physical() + 0.0 if rows.schema[name] == pl.Float64 else pl.col(name).to_physical()
        for name in ordered
    )
    encode, blake2b = _ENCODE, hashlib.blake2b
    # Inline, as this is most of what loading such rows costs.
    return [
        blake2b(
            encode([pair for pair in zip(ordered, row, strict=True) if pair[1] is not None]), digest_size=16
        ).digest()
        for row in plain.iter_rows()
    ]


def digest_row(stored: Mapping[str, Any], names: Sequence[str]) -> bytes:
    """Return for one row of stored values what `digest_rows` returns; times are microseconds."""
    values = ((name, stored[name]) for name in sorted(names))
    present = [
        (name, value + 0.0 if type(value) is float else value) for name, value in values if value is not None
    ]
    return hashlib.blake2b(_ENCODE(present), digest_size=16).digest()
