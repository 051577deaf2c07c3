from dataclasses import replace
from typing import Any

import pytest

from holdfast.kernel.errors import ContractError
from holdfast.registry.ledger import Entry, next_entry, verify


def follow(previous: Entry | None, **evidence: Any) -> Entry:
    return next_entry(
        previous,
        at_us=1_000,
        actor="ben",
        action="approve",
        subject="fraud@7",
        reason="gates green, slice PT checked",
        evidence=evidence,
    )


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for step in range(length):
        entries.append(follow(entries[-1] if entries else None, step=step))
    return entries


def test_first_entry_follows_nothing() -> None:
    entry = follow(None)

    assert (entry.sequence, entry.previous) == (1, "")
    assert len(entry.hash) == 40


def test_each_entry_carries_the_hash_of_the_one_before() -> None:
    first, second = chain(2)

    assert (second.sequence, second.previous) == (2, first.hash)
    assert second.hash != first.hash


def test_hash_is_the_same_on_every_machine() -> None:
    assert follow(None, metric=0.1).hash == "97a627c1597ec492b84de2eed608c217cbe7854a"


def test_evidence_is_kept_as_it_will_be_read_back() -> None:
    assert follow(None, table=(1, 2.5)).evidence == {"table": [1, 2.5]}


@pytest.mark.parametrize("evidence", [float("nan"), object(), "\udcff"])
def test_evidence_that_is_no_json_is_refused(evidence: object) -> None:
    with pytest.raises(ContractError, match="entry `approve` of `fraud@7` cannot be kept as JSON") as caught:
        follow(None, value=evidence)

    assert caught.value.code == "HF202"


def test_whole_chain_has_no_problem() -> None:
    assert verify([]) is None
    assert verify(chain(5)) is None


def test_altered_entry_is_named() -> None:
    entries = chain(4)
    entries[2] = replace(entries[2], actor="ana")

    problem = verify(entries)

    assert problem is not None
    assert (problem.code, problem.at) == ("HF501", "history[3]")
    assert problem.message.startswith("entry 3 (`approve` of `fraud@7`) was altered: expected hash `")
    assert problem.hint == "compare from entry 3 on with a backup; entries 1 to 2 are as they were written"


def test_entry_altered_together_with_its_hash_breaks_the_next_one() -> None:
    entries = chain(4)
    entries[1] = follow(entries[0], step="forged")

    problem = verify(entries)

    assert problem is not None
    assert problem.message.startswith("entry 3 does not follow entry 2: expected the previous hash `")


def test_missing_entry_is_named() -> None:
    first, _, third = chain(3)

    problem = verify([first, third])

    assert problem is not None
    assert problem.message == "entry 2 is missing: found 3 in its place."


def test_forged_beginning_is_named() -> None:
    problem = verify([replace(follow(None), previous="0" * 40)])

    assert problem is not None
    assert problem.message == (
        "entry 1 does not follow entry 0: expected the previous hash none, found `00000000`."
    )
    assert problem.hint == "compare from entry 1 on with a backup"
