"""Online state refuses what it cannot mean: other plans, damaged blobs, values beyond the limit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.features.keys import MAX_BODY, NO_KEY, TOO_LONG, encoder_of
from holdfast.features.online import (
    OnlineRow,
    apply_events,
    compile_state,
    dump_plan,
    fold,
    load_plan,
    read_measures,
)
from holdfast.features.view import Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import ContractError, DefinitionError, NotFoundError
from holdfast.kernel.schema import FIXED_POINT_LIMIT, Column, Schema
from holdfast.kernel.time import DAY, HOUR
from holdfast.testing.strategies import AT_SHOP, CARD, FILTERS, PAYMENT, event_frame

SOURCES = {"payments": PAYMENT}
VIEW = View(
    "card",
    "payments",
    CARD,
    (
        Measure("count", "count", Window(DAY, 0, HOUR)),
        Measure("std", "std", Window(DAY), "amount"),
        Measure("low", "min", Window(2 * DAY, 0, HOUR), "weight"),
        Measure("sum", "sum", Window(DAY, 0, HOUR), "amount", FILTERS[0]),
    ),
)


def row(at: int, **changes: Any) -> dict[str, Any]:
    base = {"tx_id": f"t{at}", "at": at, "card_id": "a", "shop": 1, "amount": 200, "rate": 1, "items": 1}
    return {**base, "weight": 0.5, "country": "AT", "online": True, "_arrived": at, "_batch": 1, **changes}


def blob_of(n: int = 30, ring: int = 4) -> tuple[Any, bytes]:
    plan = compile_state([VIEW], SOURCES, ring=ring, most=ring, slack=0)
    (blob,) = fold(plan, "payments", event_frame([row(i * HOUR) for i in range(n)])).values()
    return plan, bytes(blob)


def test_fold_of_no_events_or_of_another_source_changes_nothing() -> None:
    plan, blob = blob_of()

    assert fold(plan, "payments", event_frame([])) == {}
    assert fold(plan, "refunds", event_frame([row(1)])) == {}
    assert fold(plan, "payments", event_frame([row(1, card_id=None)])) == {}
    assert apply_events(plan, 1, blob, event_frame([])) == blob


def test_events_without_arrival_move_time_by_themselves() -> None:
    plan, blob = blob_of()
    rows = event_frame([row(i * HOUR) for i in range(30)]).drop("_arrived")

    assert apply_events(plan, 1, b"", rows) == blob


@pytest.mark.parametrize(
    "damage",
    [
        lambda words: words[:3],
        lambda words: words[:-1],
        lambda words: np.append(words, 0),
        lambda words: np.append(words[:1] + 1, words[1:]),
        lambda words: np.concatenate((words[:3], [-1], words[4:])),
        lambda words: np.concatenate((words[:3], [2**40], words[4:])),
        lambda words: np.concatenate((words[:5], [-1], words[6:])),
        lambda words: np.concatenate((words[:5], [2**40], words[6:])),
    ],
)
def test_damaged_blob_is_refused(damage: Any) -> None:
    plan, blob = blob_of()
    broken = damage(np.frombuffer(blob, np.int64)).astype(np.int64).tobytes()

    with pytest.raises(ContractError) as read:
        read_measures(plan, [broken], DAY)
    with pytest.raises(ContractError) as applied:
        apply_events(plan, 1, broken, event_frame([row(1)]))

    assert read.value.code == applied.value.code == "HF404"


def test_blob_of_half_a_word_is_refused() -> None:
    plan, blob = blob_of()

    with pytest.raises(ContractError):
        apply_events(plan, 1, blob[:-4], event_frame([row(1)]))


def test_blob_of_another_plan_is_refused() -> None:
    _, blob = blob_of(ring=4)
    other = compile_state([VIEW], SOURCES, ring=5)

    with pytest.raises(ContractError, match="holdfast materialize"):
        read_measures(other, [blob], DAY)


def test_value_beyond_the_limit_is_refused_where_it_is_summed() -> None:
    plan = compile_state([VIEW], SOURCES)
    bad = row(1, amount=FIXED_POINT_LIMIT + 1)

    with pytest.raises(ContractError, match="`amount` exceeds it") as refused:
        fold(plan, "payments", event_frame([row(0), bad]))
    assert refused.value.code == "HF213"
    assert fold(plan, "payments", event_frame([row(0), {**bad, "card_id": None}]))


def test_view_that_the_state_does_not_hold_is_not_found() -> None:
    plan = compile_state([VIEW], SOURCES)
    other = View("card", "payments", CARD, VIEW.measures[:1])

    with pytest.raises(NotFoundError, match="holds no view"):
        OnlineRow(plan, [other])


def test_more_views_than_ordinals_are_refused() -> None:
    found = [View(f"v{n}", "payments", CARD, VIEW.measures[:1]) for n in range(256)]

    with pytest.raises(DefinitionError, match="at most 255"):
        compile_state(found, SOURCES)
    assert len(compile_state(found[:255], SOURCES).layouts) == 255


def test_text_in_a_sum_is_refused() -> None:
    bad = View("v", "payments", CARD, (Measure("m", "sum", Window(DAY), "country"),))

    with pytest.raises(DefinitionError):
        compile_state([bad], SOURCES)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"views":1}'])
def test_what_is_no_plan_is_refused(text: bytes) -> None:
    with pytest.raises(ContractError):
        load_plan(text)


def test_fingerprint_follows_views_schemas_and_what_is_kept() -> None:
    other = View("other", "payments", AT_SHOP, VIEW.measures)
    wider = {"payments": Schema("Payment", (*PAYMENT.columns, Column("more", "int", nullable=True)))}
    plans = [
        compile_state([VIEW], SOURCES),
        compile_state([VIEW, other], SOURCES),
        compile_state([VIEW], wider),
        compile_state([VIEW], SOURCES, ring=5),
        compile_state([VIEW], SOURCES, most=65),
        compile_state([VIEW], SOURCES, slack=5),
    ]

    assert len({plan.fingerprint for plan in plans}) == len(plans)
    assert compile_state([other, VIEW, other], SOURCES).fingerprint == plans[1].fingerprint
    assert load_plan(dump_plan(plans[1])).fingerprint == plans[1].fingerprint


def test_rows_of_a_frame_and_of_a_request_have_the_same_key() -> None:
    kinds = ("string", "int", "bool", "time", "float", "decimal")
    schema = Schema(
        "Any",
        (
            Column("at", "time", role="event_time"),
            *(Column(kind, kind, scale=2 if kind == "decimal" else None) for kind in kinds),  # type: ignore[arg-type]
        ),
    )
    dtypes: Sequence[Any] = (pl.String, pl.Int64, pl.Boolean, pl.Datetime("us", "UTC"), pl.Float64, pl.Int64)
    values = ("é", -5, True, 1_750_000_000_123_456, -0.0, 123)
    frame = pl.DataFrame({"at": [1], **{k: [v] for k, v in zip(kinds, values, strict=True)}}).with_columns(
        pl.col("at").cast(pl.Datetime("us", "UTC")),
        *(pl.col(kind).cast(dtype) for kind, dtype in zip(kinds, dtypes, strict=True)),
    )
    request = {**dict(zip(kinds, values, strict=True)), "float": 0.0}

    for key in (*((kind,) for kind in kinds), ("string", "string"), ("string", "int"), kinds):
        entity = type(CARD)("e", key)
        view = View("v", "any", entity, (Measure("n", "count", Window(DAY)),))
        plan = compile_state([view], {"any": schema})

        assert list(fold(plan, "any", frame)) == OnlineRow(plan, [view]).keys(request)


texts = st.text(max_size=6) | st.sampled_from(("", "\0", "\0\0", "a\0", "a" * 9))
PAIR = Schema("Pair", (Column("a", "string"), Column("b", "string"), Column("n", "int")))


@given(st.lists(st.tuples(texts, texts, st.integers(0, 3)), max_size=8, unique=True))
def test_different_entities_have_different_keys_of_whole_words(entities: list[tuple[str, str, int]]) -> None:
    rows = [dict(zip("abn", each, strict=True)) for each in entities]
    for columns in (("a",), ("a", "b"), ("a", "b", "n"), ("n",)):
        encode = encoder_of(columns, PAIR)
        found = {tuple(each[c] for c in columns): encode(each) for each in rows}

        assert len(set(found.values())) == len(found)
        assert all(len(body) % 8 == 7 and body not in (NO_KEY, TOO_LONG) for body in found.values())


@pytest.mark.parametrize("columns", [("a",), ("a", "b"), ("a", "b", "n")])
def test_longest_key(columns: tuple[str, ...]) -> None:
    encode = encoder_of(columns, PAIR)
    least = {1: 1, 2: 2, 3: 10}[len(columns)]
    fits = encode({"a": "x" * (MAX_BODY - least), "b": "", "n": 1})

    assert len(fits) + 1 == 264
    assert fits[-1] == MAX_BODY
    assert encode({"a": "x" * (MAX_BODY - least + 1), "b": "", "n": 1}) == TOO_LONG
    assert encode({"a": "x" * 1000, "b": "y" * 1000, "n": 1}) == TOO_LONG
    assert encode({"a": None, "b": "", "n": 1}) == NO_KEY


def test_state_that_was_written_in_another_format_is_refused() -> None:
    plan, _ = blob_of()

    assert load_plan(dump_plan(plan), plan.fingerprint) == plan
    with pytest.raises(ContractError, match="another format") as caught:
        load_plan(dump_plan(plan), "0" * 40)
    assert "materialize" in caught.value.problem.hint
