"""The walk of `why` on terminals of any width, and in a pipe."""

import io
import math
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.app.outcomes import Explanation
from holdfast.cli.common import terminal_width
from holdfast.cli.why_render import why
from holdfast.serving.explain import FeatureEvidence

ENTITY = "per store_item of sales"
DAYS = [f"on_{n}_56d = sum of `quantity` over 56d, where day.weekday() == {n}, {ENTITY}" for n in range(7)]
WIDE = "where(target.weekday() == 0, on_0_56d, on_1_56d) / 8; " + "; ".join(DAYS)
FEATURES = (
    FeatureEvidence("same_weekday_mean", 16.5, 16.5, 1.72, WIDE),
    FeatureEvidence("country", 3.0, 3.0, -0.41, "country.code(['DE', 'PT'])", "PT"),
    FeatureEvidence("amount", 912.5, 912.5, 0.05, "amount"),
)
FOUND = Explanation(
    answer={
        "prediction_id": "p-da5c5750c4105c264619", "t_us": 1_772_792_100_000_000, "score": 0.32,
        "known_at_us": 1_772_792_100_000_000, "known_batch": [9], "decision": "block",
        "answered_us": 1_772_792_100_824_768, "step": "champion", "exposure": "batch", "runtime": "lightgbm",
        "inexact": False,
    },
    recomputed={"score": 0.32, "decision": "block"},
    request={"tx_id": "t-0025000603", "card_id": "c-0030", "amount": 912.5, "at": 1_772_792_100_000_000},
    features=FEATURES,
    base=-2.11,
    version={
        "name": "fraud@1", "state": "champion", "author": "eva", "bundle": "2f3649a6abbe" * 4,
        "approvals": [{"at_us": 1_772_792_100_000_000, "by": "ana", "reason": "gates green, slices checked"}],
    },
    run={"id": "r-9ce2ebbe9ce2ebbe", "seed": 7, "code": "files:df4ebd5b", "facts": {"python": "3.11.7"}},
    dataset={"id": "d-184b5f49", "as_of": 1_772_792_100_000_000, "boundaries": {"test_start": 0}},
    tables={"chargebacks": 4, "transactions": 4},
    views={name: f"{name}@ea029af4" for name in ("card_activity", "device_history", "terminal_risk")},
    events={
        "card_activity": {"rows": 130, "first_batch": 1, "last_batch": 9},
        "device_history": {"rows": 1, "first_batch": 9, "last_batch": 9},
    },
)  # fmt: skip


def letters(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = why(FOUND, width).splitlines()

    assert max(map(len, lines)) <= width


def test_a_definition_stands_beside_its_row_where_there_is_room() -> None:
    lines = why(FOUND, 100).splitlines()

    head = next(line for line in lines if line.startswith("  feature"))
    at = head.index("definition")
    first = lines.index(head) + 1
    assert [line[at:] for line in lines[first : first + 5]] == [
        "where(target.weekday() == 0, on_0_56d,",
        "on_1_56d) / 8; on_0_56d = sum of `quantity`",
        "over 56d, where day.weekday() == 0, per …",
        "country.code(['DE', 'PT'])",
        "amount",
    ]
    assert [line[:at].strip() for line in lines[first + 1 : first + 3]] == ["", ""]


def test_a_definition_stands_below_its_row_where_there_is_none() -> None:
    lines = why(FOUND, 80).splitlines()

    first = next(i for i, line in enumerate(lines) if line.startswith("  feature"))
    assert lines[first : first + 6] == [
        "  feature            stored     oracle         pushed",
        "  same_weekday_mean    16.5       16.5  equal   +1.72",
        "      where(target.weekday() == 0, on_0_56d, on_1_56d) / 8; on_0_56d = sum of",
        "      `quantity` over 56d, where day.weekday() == 0, per store_item of sales;",
        "      on_1_56d = sum of `quantity` over 56d, where day.weekday() == 1, per …",
        "  country                PT  same code  equal   -0.41",
    ]


def test_facts_are_folded_between_two_of_them() -> None:
    lines = why(FOUND, 60).splitlines()

    first = next(i for i, line in enumerate(lines) if line.startswith("  request"))
    assert lines[first : first + 3] == [
        "  request     tx_id t-0025000603, card_id c-0030,",
        "              amount 912.50, at 2026-03-06T10:15:00Z",
        "  answered    2026-03-06T10:15:00.824768Z, step champion,",
    ]


def test_a_pipe_gets_every_feature_whole_on_one_line() -> None:
    lines = why(FOUND).splitlines()

    for feature in FEATURES:
        (line,) = (line for line in lines if line.startswith(f"  {feature.name} "))
        assert line.endswith(f"  {feature.definition}")
    assert [line[:13].strip() for line in lines if line.startswith("  request")] == ["request"]


@pytest.mark.parametrize("width", [None, 80])
@pytest.mark.parametrize("sent", ["Porto\nLisboa", "Porto\x1b[2J", "Porto\u2028Lisboa", "Porto\r\x0b\x85"])
def test_what_was_sent_breaks_no_line_and_moves_no_cursor(width: int | None, sent: str) -> None:
    feature = FeatureEvidence("city", 1.0, 1.0, 9.0, "city", sent)
    approval = {"at_us": 0, "by": "ana", "reason": sent}
    found = replace(
        FOUND, features=(feature,), request={"city": sent}, version=FOUND.version | {"approvals": [approval]}
    )

    shown = why(found, width)

    assert letters(shown).count(letters(sent.encode("unicode_escape").decode())) == 3
    assert all(line.isprintable() for line in shown.split("\n"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_has_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "91")

    monkeypatch.setattr(sys, "stdout", Terminal())
    assert terminal_width() == 91
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert terminal_width() is None


TEXTS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), max_size=300)


@given(
    width=st.integers(60, 200),
    features=st.lists(st.tuples(TEXTS, st.none() | TEXTS, st.floats(-9, 9)), max_size=20),
    request=st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), TEXTS, max_size=9),
)
def test_any_walk_fits_any_terminal(
    width: int, features: list[tuple[str, str | None, float]], request: dict[str, str]
) -> None:
    evidence = tuple(
        FeatureEvidence(f"feature_{n}", pushed, math.nan, pushed, definition, text)
        for n, (definition, text, pushed) in enumerate(features)
    )
    found = replace(FOUND, features=evidence, request=request)

    lines = why(found, width).splitlines()

    assert all(len(line) <= width for line in lines), max(lines, key=len)


@given(width=st.integers(100, 400), words=st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), max_size=12))
def test_folding_loses_nothing(width: int, words: list[str]) -> None:
    short = tuple(replace(feature, definition=" ".join(words)) for feature in FEATURES)
    found = replace(FOUND, features=short, request=dict(enumerate(words)))

    assert letters(why(found, width)) == letters(why(found))
