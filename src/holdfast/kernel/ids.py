"""Canonical JSON and fingerprints: equal content, equal id, on every machine and version of Python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from holdfast.kernel.errors import ContractError

T = TypeVar("T")


def to_data(value: Any) -> Any:
    """Return a noun (nested frozen dataclasses, tuples, scalars) as plain JSON values."""
    return msgspec.to_builtins(value, str_keys=True)


def from_data(kind: type[T], data: Any) -> T:
    """Return the noun of that type from plain JSON values, checked strictly.

    Raises
    ------
    ContractError
        If the values do not have the shape of the type.
    """
    try:
        return msgspec.convert(data, kind, str_keys=True)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise ContractError(f"stored {kind.__name__} cannot be read: {error}.", code="HF200") from error


def settled(noun: T) -> T:
    """Return a noun as it will be read back: whole numbers where floats are declared become floats.

    Without it a value would have one fingerprint before it is stored and another one after.
    """
    return from_data(type(noun), to_data(noun))


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no blanks, shortest floats, UTF-8.

    Dataclasses become objects and tuples arrays. NaN and infinities have no canonical form.

    Raises
    ------
    ValueError
        If a float is not finite.
    """
    plain = to_data(value)
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(parts: Iterable[bytes | memoryview] | bytes) -> str:
    """Return the BLAKE2b-160 digest of bytes, or of a sequence of them, as 40 hexadecimal characters."""
    state = hashlib.blake2b(digest_size=20)
    for part in (parts,) if isinstance(parts, bytes) else parts:
        state.update(part)
    return state.hexdigest()


def fingerprint(value: Any) -> str:
    """Return the content hash of a value's canonical JSON."""
    return digest(canonical_json(value))


def short(identifier: str, length: int = 8) -> str:
    """Return the first characters of a fingerprint, for people."""
    return identifier[:length]


def text_code(text: str) -> int:
    """Return the number, from 1 and below 2^53, by which features know a text.

    Notes
    -----
    The first 53 bits of a hash: a float64 holds it exactly, and two texts of a million share one with a
    probability of 1 in 18,000.
    """
    found = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 11
    return found or 1


def content_code(content: Iterable[tuple[str, object]]) -> int:
    """Return a number like `text_code` of stored values by name; None does not count."""
    return text_code("".join(f"{name}={value!r};" for name, value in content if value is not None))
