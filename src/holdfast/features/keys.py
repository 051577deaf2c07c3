"""Keys of online state: which view, which entity, as bytes of a length that keeps values aligned.

A key is the ordinal of the view (one byte, from 1), the body, zeros up to the next multiple of 8, and in its
last byte the length of the body. In the body each column of the entity's key follows the one before: a text
as its length (one byte) and its UTF-8, anything else as 8 bytes, little-endian. Equal keys, equal entities;
nothing is hashed. The body has at most 255 bytes. No view has ordinal 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from holdfast.kernel.schema import Schema
from holdfast.kernel.time import instant_of

MAX_BODY = 255
MAX_VIEWS = 255

NO_KEY = bytes(8)
"""Stored nowhere: what is asked for where a column of the key is missing, an entity without events."""
TOO_LONG = bytes(7) + b"\xff"
"""Stored nowhere: what is asked for where the key is longer than state holds."""

Encoder = Callable[[Mapping[str, Any]], bytes]
"""Makes what follows the ordinal in a key from a row of stored values; or `NO_KEY`, or `TOO_LONG`."""

_HEADS = tuple(bytes((n,)) for n in range(256))
_TAILS = tuple(bytes(-(n + 2) % 8) + bytes((n,)) for n in range(256))
_WORD = struct.Struct("<q")
_NUMBER = struct.Struct("<d")


def head_of(ordinal: int) -> bytes:
    """Return the first byte of the keys of a view."""
    return _HEADS[ordinal]


def encoder_of(columns: Sequence[str], schema: Schema) -> Encoder:
    """Return what encodes the key columns of an entity, typed as in the schema."""
    kinds = tuple(schema.get(name).type for name in columns)
    fixed = tuple(schema.get(name).is_fixed_point for name in columns)
    if kinds == ("string",):
        return _one_text(columns[0])
    if kinds == ("string", "string"):
        return _two_texts(*columns)
    makers = tuple(
        _text if kind == "string" else _number if kind == "float" and not whole else _integer
        for kind, whole in zip(kinds, fixed, strict=True)
    )
    pairs = tuple(zip(columns, makers, strict=True))

    def encode(row: Mapping[str, Any]) -> bytes:
        body = b""
        for name, make in pairs:
            value = row[name]
            if value is None:
                return NO_KEY
            body += make(value)
        return body + _TAILS[len(body)] if len(body) <= MAX_BODY else TOO_LONG

    return encode


def _one_text(name: str) -> Encoder:
    """Return the encoder of the most common key, without its loops."""
    heads, tails = _HEADS, _TAILS

    def encode(row: Mapping[str, Any]) -> bytes:
        value = row[name]
        if value is None:
            return NO_KEY
        text: bytes = value.encode()
        n = len(text)
        return heads[n] + text + tails[n + 1] if n < MAX_BODY else TOO_LONG

    return encode


def _two_texts(first: str, second: str) -> Encoder:
    heads, tails = _HEADS, _TAILS

    def encode(row: Mapping[str, Any]) -> bytes:
        one, two = row[first], row[second]
        if one is None or two is None:
            return NO_KEY
        a: bytes = one.encode()
        b: bytes = two.encode()
        m, n = len(a), len(b)
        return heads[m] + a + heads[n] + b + tails[m + n + 2] if m + n < MAX_BODY - 1 else TOO_LONG

    return encode


def _text(value: str) -> bytes:
    text = value.encode()
    return _HEADS[len(text) if len(text) < MAX_BODY else MAX_BODY] + text


def _integer(value: int | datetime) -> bytes:
    return _WORD.pack(instant_of(value) if isinstance(value, datetime) else value)


def _number(value: float) -> bytes:
    return _NUMBER.pack(value + 0.0)  # one zero, not two
