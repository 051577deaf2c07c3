"""The ledger: every change as an entry that carries the hash of the entry before it.

Whoever alters, removes or inserts an entry must rewrite all later ones; `verify` names the first that
does not follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from holdfast.kernel.errors import ContractError, Problem
from holdfast.kernel.ids import canonical_json, fingerprint, short, to_data


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: who did what to which thing, when, why, and upon what evidence.

    Attributes
    ----------
    sequence : 1, 2, 3 ... without gaps; this is the order, whatever the times say
    at_us : by the project's clock, which demos and tests may set back
    subject : what it is about, such as ``fraud@7``
    evidence : plain JSON values
    previous : hash of the entry before; empty for the first
    hash : fingerprint of all other fields
    """

    sequence: int
    at_us: int
    actor: str
    action: str
    subject: str
    reason: str
    evidence: dict[str, Any]
    previous: str
    hash: str


def next_entry(
    previous: Entry | None,
    *,
    at_us: int,
    actor: str,
    action: str,
    subject: str,
    reason: str,
    evidence: Mapping[str, Any],
) -> Entry:
    """Return the entry that follows another, or the first one.

    Raises
    ------
    ContractError
        If the evidence or a text has no canonical JSON (HF202).
    """
    sequence, link = (previous.sequence + 1, previous.hash) if previous else (1, "")
    words = {"actor": actor, "action": action, "subject": subject, "reason": reason, "evidence": evidence}
    plain = json.loads(json_text(words, f"the entry `{action}` of `{subject}`"))
    entry = Entry(sequence, at_us, **plain, previous=link, hash="")
    return replace(entry, hash=_hash(entry))


def json_text(value: Mapping[str, Any], what: str) -> str:
    """Return canonical JSON, the form in which records are kept and hashed.

    Raises
    ------
    ContractError
        If the value holds what JSON has no form for (HF202).
    """
    try:
        return canonical_json(value).decode()
    except (TypeError, ValueError) as error:
        raise ContractError(
            f"{what} cannot be kept as JSON: {error}.",
            code="HF202",
            hint="JSON holds texts, finite numbers, truth values, lists and objects; NaN is written null",
        ) from error


def verify(entries: Iterable[Entry]) -> Problem | None:
    """Return the first break of the chain (HF501), or None if it is whole.

    Parameters
    ----------
    entries : all entries, in order

    Notes
    -----
    O(n) time, O(1) space. A chain whose newest entries were cut off is still whole: to notice that, compare
    the last hash with one noted elsewhere, such as in a backup.
    Law: any change of any stored field of any entry is found (tests/laws/test_registry.py).
    """
    link = ""
    for sequence, entry in enumerate(entries, start=1):
        if entry.sequence != sequence:
            return _broken(f"entry {sequence} is missing: found {entry.sequence} in its place.", sequence)
        if entry.previous != link:
            return _broken(
                f"entry {sequence} does not follow entry {sequence - 1}: expected the previous hash "
                f"{_shown(link)}, found {_shown(entry.previous)}.",
                sequence,
            )
        found = _hash(entry)
        if entry.hash != found:
            return _broken(
                f"entry {sequence} (`{entry.action}` of `{entry.subject}`) was altered: expected hash "
                f"{_shown(entry.hash)}, found {_shown(found)}.",
                sequence,
            )
        link = entry.hash
    return None


def _hash(entry: Entry) -> str:
    content = to_data(entry)
    del content["hash"]
    return fingerprint(content)


def _shown(value: str) -> str:
    return f"`{short(value)}`" if value else "none"


def _broken(message: str, sequence: int) -> Problem:
    hint = f"compare from entry {sequence} on with a backup" + (
        f"; entries 1 to {sequence - 1} are as they were written" if sequence > 1 else ""
    )
    return Problem("HF501", message, at=f"history[{sequence}]", hint=hint)
