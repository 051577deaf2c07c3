import json
import math
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving_world import NOW, PAST, PLAN, ROW, World, body

from holdfast.events.journal import EVENT, FEEDBACK, PREDICTION, REJECTED, decode_payload
from holdfast.features.oracle import features_of
from holdfast.kernel.errors import (
    ConflictError,
    HoldfastError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from holdfast.kernel.time import DAY, MINUTE, SECOND, format_instant
from holdfast.serving.frames import BOUNDED_BY_BATCH, LIVE_SCHEMA, LiveRecord, records_frame
from holdfast.serving.intake import REMEMBERED, Recent, draw, quick_prediction_id
from holdfast.serving.record import from_row, prediction_id
from holdfast.serving.serve import BadRequestError, DataPlane


def test_an_answer_is_journalled_with_its_event_in_one_append() -> None:
    world = World()

    answer = world.plane.predict("fraud", body())

    assert answer.to_data() == {
        "prediction_id": prediction_id("fraud", "p-9"),
        "risk_score": 0.4,
        "recommendation": "allow",
        "model": "fraud",
        "version": 3,
        "step": "champion",
        "missing": (),
    }
    event, prediction = world.frames()
    assert (event.kind, event.source, event.arrived_us) == (EVENT, "payments", NOW)
    assert decode_payload(event.payload) == {
        "id": "p-9", "at": NOW, "card": "c-1", "amount": 4000, "country": "PT"
    }  # fmt: skip
    assert (prediction.kind, prediction.source, prediction.arrived_us) == (PREDICTION, "fraud", NOW)
    (row,) = records_frame([prediction.payload]).to_dicts()
    assert list(row) == list(LIVE_SCHEMA)
    record = from_row(row)
    assert record.known_batch == (7,)
    assert record.known_at_us == BOUNDED_BY_BATCH
    assert (record.exposure, record.decision, record.version) == ("served", "allow", 3)
    assert record.plan == PLAN.fingerprint
    assert len(record.latency_us) == 3
    assert row["inexact"] is False


def test_an_answer_for_a_time_before_the_kept_events_is_marked_inexact() -> None:
    """The caller is told, the record keeps it, and the counter counts it."""
    n = 100  # more than a ring keeps one by one
    past = pl.DataFrame(
        {
            "id": [f"p-{i}" for i in range(n)],
            "at": [NOW - (n - i) * SECOND for i in range(n)],
            "card": "c-1",
            "amount": 1000,
            "country": None,
        },
        schema_overrides={"country": pl.String},
    ).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    world = World(past=past)

    early = world.plane.predict("fraud", body(id="late", at=format_instant(NOW - 90 * SECOND)))
    usual = world.plane.predict("fraud", body())

    assert early.to_data()["inexact"] is True
    assert "inexact" not in usual.to_data()
    records = records_frame([frame.payload for frame in world.frames() if frame.kind == PREDICTION])
    assert records["inexact"].to_list() == [True, False]
    assert world.plane.counters.marks["fraud", "inexact"] == 1


def test_features_are_those_of_the_oracle_bit_for_bit() -> None:
    world = World()

    world.plane.predict("fraud", body())

    (row,) = records_frame([world.frames()[1].payload]).to_dicts()
    record = from_row(row)
    past = [
        {**event, "at": int(event["at"].timestamp() * 1e6), "_arrived": NOW - MINUTE, "_batch": 7}
        for event in PAST.to_dicts()
    ]
    expected = features_of(PLAN, record.request, {"payments": past}, record.t_us, NOW, max_batch=7)
    found = dict(zip(PLAN.names, record.features.tolist(), strict=True))
    assert found == expected
    assert found["count_1h"] == 2.0
    assert found["ratio"] == 2.0


def test_a_retry_gets_the_stored_answer_and_leaves_no_trace() -> None:
    world = World()
    first = world.plane.predict("fraud", body())

    again = world.plane.predict("fraud", body())

    assert again.repeat
    assert again.score == first.score
    assert len(world.frames()) == 2


def test_the_same_request_written_differently_is_a_retry() -> None:
    world = World()
    world.plane.predict("fraud", body())

    again = world.plane.predict("fraud", body(amount=40, at="2026-11-02T11:15:00+01:00"))

    assert again.repeat


def test_a_request_after_the_retry_window_is_answered_anew() -> None:
    world = World()
    world.plane.predict("fraud", body())
    world.now_ns = 61_000_000_000

    again = world.plane.predict("fraud", body())

    assert not again.repeat
    attempts = {decode_payload(f.payload)["attempt"] for f in world.frames() if f.kind == PREDICTION}
    assert len(attempts) == 2


def test_an_id_asked_with_other_content_is_a_conflict_and_journalled() -> None:
    world = World()
    world.plane.predict("fraud", body())

    with pytest.raises(ConflictError) as caught:
        world.plane.predict("fraud", body(amount=41.0))

    assert (caught.value.code, caught.value.problem.at) == ("HF210", "$.amount")
    assert world.frames()[-1].kind == REJECTED


def test_remembered_answers_are_bounded() -> None:
    world = World(recent=Recent(2))

    for n in range(4):
        world.plane.predict("fraud", body(id=f"p-{n}"))

    assert REMEMBERED > 1_000
    assert not world.plane.predict("fraud", body(id="p-0")).repeat
    assert world.plane.predict("fraud", body(id="p-3")).repeat


@pytest.mark.parametrize(
    ("content", "code", "at"),
    [
        (b"", "HF214", "$"),
        (b"{", "HF214", "$"),
        (b"[]", "HF214", "$"),
        (b'"text"', "HF214", "$"),
        (b"[" * 50_000, "HF214", "$"),
        (b'{"a":' * 50_000, "HF214", "$"),
        (b"\xff", "HF214", "$"),
        (body()[:-1] + b', "id": "p-8"}', "HF214", "$.id"),
        (body(amount=None), "HF201", "$.amount"),
        (body(amuont=1), "HF209", "$.amuont"),
        (body(amount="much"), "HF202", "$.amount"),
        (body(amount=True), "HF202", "$.amount"),
        (body(amount={"value": 1}), "HF202", "$.amount"),
        (body(card=7), "HF202", "$.card"),
        (body(amount=math.nan), "HF206", "$.amount"),
        (body(amount=math.inf), "HF206", "$.amount"),
        (body().replace(b"40.0", b"1e400"), "HF203", "$.amount"),
        (body().replace(b"40.0", b"9" * 6_000), "HF203", "$.amount"),
        (body(amount=-1), "HF203", "$.amount"),
        (body().replace(b"40.0", b"1.234"), "HF204", "$.amount"),
        (body(at="2026-11-02T10:15:00"), "HF205", "$.at"),
        (body(card="x" * 21), "HF208", "$.card"),
        (body(at=format_instant(NOW + 6 * MINUTE)), "HF203", "$.at"),
    ],
)
def test_a_bad_request_is_refused_and_journalled(content: bytes, code: str, at: str) -> None:
    world = World()

    with pytest.raises(BadRequestError) as caught:
        world.plane.predict("fraud", content)

    assert (caught.value.code, caught.value.problem.at) == (code, at)
    (frame,) = world.frames()
    assert (frame.kind, frame.source) == (REJECTED, "payments")
    assert decode_payload(frame.payload)["code"] == code
    assert not world.plane.predict("fraud", body()).repeat


def test_an_amount_in_hundredths_is_asked_about() -> None:
    with pytest.raises(BadRequestError) as caught:
        World().plane.predict("fraud", body(amount=912_500))

    assert caught.value.hint == "`amount` is not in hundredths: 9125.00?"


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        (body(amount=None), "add it, a number from 0 to 100000 with at most 2 decimal places"),
        (body(card=""), "it is an empty text: send text of at most 20 characters"),
        (body().replace(b"40.0", b"null"), "it is null: send a number from 0 to 100000 with at most"),
        (
            body(at=None, card=None),
            "add it, a time such as 2026-11-02T10:15:00Z; the row also lacks `card`",
        ),
        (body(amount=None).replace(b"{", b'{"amonut": null, '), "send `amount`, not `amonut`"),
    ],
)
def test_what_to_send_is_said_where_a_value_is_missing(sent: bytes, hint: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        World().plane.predict("fraud", sent)

    assert caught.value.code == "HF201"
    assert caught.value.hint.startswith(hint)


def test_an_event_of_the_far_past_is_answered() -> None:
    world = World()

    answer = world.plane.predict("fraud", body(at=format_instant(NOW - 3_000 * DAY)))

    assert answer.missing == ("ratio",)


def test_a_clock_set_back_does_not_stop_the_plane() -> None:
    world = World()
    world.plane.predict("fraud", body())
    world.clock.now -= 5 * DAY

    with pytest.raises(BadRequestError) as caught:
        world.plane.predict("fraud", body(id="p-10"))
    again = world.plane.predict("fraud", body(id="p-11", at=format_instant(world.clock.now)))

    assert "at most 5 minutes after the clock" in str(caught.value)
    assert again.step == "champion"


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="did you mean `fraud`"):
        World().plane.predict("fruad", body())


def failing(_: np.ndarray) -> float:
    raise RefusedError("the model broke.", code="HF402")


@pytest.mark.parametrize("broken", [failing, lambda x: math.nan])
@pytest.mark.parametrize(
    ("ladder", "step", "version", "score"),
    [
        (("previous", "rules", "constant"), "previous", 2, 0.6),
        (("rules", "constant"), "rules", 0, 0.05),
        (("constant",), "constant", 0, 0.5),
    ],
)
def test_the_ladder_answers_where_the_champion_cannot(
    broken: Any, ladder: tuple[str, ...], step: str, version: int, score: float
) -> None:
    world = World(broken, ladder=ladder)

    answer = world.plane.predict("fraud", body())

    assert (answer.step, answer.version, answer.score) == (step, version, score)
    (row,) = records_frame([world.frames()[1].payload]).to_dicts()
    assert (row["step"], row["version"]) == (step, version)


def test_rules_answer_where_no_version_is_loaded() -> None:
    answer = World(ladder=("rules",), champion=False).plane.predict("fraud", body(amount=501))

    assert (answer.step, answer.recommendation) == ("rules", "block")


def test_without_any_step_nothing_is_answered_or_journalled() -> None:
    world = World(failing)

    with pytest.raises(UnavailableError):
        world.plane.predict("fraud", body())

    assert world.frames() == []


def test_without_the_online_state_the_answer_says_so() -> None:
    world = World(online=False)

    answer = world.plane.predict("fraud", body())

    assert answer.to_data()["degraded"] is True
    assert answer.missing == ("ratio", "count_1h")
    (row,) = records_frame([world.frames()[1].payload]).to_dicts()
    assert row["known_batch"] == []


def test_a_store_that_fails_is_answered_without() -> None:
    world = World()

    class Broken:
        generation = plan = None

        def snapshot(self) -> Any:
            raise UnavailableError("the state is gone.")

        def close(self) -> None: ...

    world.plane.swap({"fraud": world.route}, {}, Broken())  # type: ignore[arg-type]

    answer = world.plane.predict("fraud", body())

    assert answer.degraded
    assert answer.missing == ("ratio", "count_1h")


def test_the_hold_out_is_told_the_lowest_band_and_the_record_keeps_the_decision() -> None:
    world = World(lambda x: 0.95, holdout=1.0)

    answer = world.plane.predict("fraud", body())

    assert (answer.recommendation, answer.holdout) == ("allow", True)
    (row,) = records_frame([world.frames()[1].payload]).to_dicts()
    assert (row["decision"], row["exposure"]) == ("block", "holdout")


def test_the_hold_out_is_drawn_by_id_in_its_share() -> None:
    drawn = [draw(prediction_id("fraud", f"t-{n}")) for n in range(4_000)]

    assert 0.17 < np.mean(np.array(drawn) < 0.2) < 0.23
    assert draw("p-1") == draw("p-1")


@pytest.mark.parametrize("key", ["t-1", "é", 'a"b', "a\\b", "\x01", "\x7f", "", "a/b", "\u2028"])
def test_the_prediction_id_is_the_id(key: str) -> None:
    assert quick_prediction_id("fraud", key) == prediction_id("fraud", key)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fraud", "fruad"]),
            st.sampled_from(["p-1", "p-2", "p-3", "p-4"]),
            st.sampled_from([40.0, 41.0, -1.0, 1_000.0]),
            st.sampled_from(["c-1", "c-2", None]),
        ),
        max_size=12,
    ),
    st.sampled_from([(), ("rules", "constant")]),
)
def test_requests_that_come_together_are_answered_as_one_by_one(
    asked: list[tuple[str, str, float, str | None]], ladder: tuple[str, ...]
) -> None:
    def score(x: np.ndarray) -> float:
        return failing(x) if x[0] > 900 else float(x[0]) / 100

    together, alone = World(score, ladder=ladder, holdout=0.5), World(score, ladder=ladder, holdout=0.5)
    requests = [
        (model, body(id=key, amount=amount, card=card or "c-1", country="PT" if card else None))
        for model, key, amount, card in asked
    ]

    found = together.plane.predict_many(requests)

    expected = []
    for model, content in requests:
        try:
            expected.append(alone.plane.predict(model, content))
        except HoldfastError as error:
            expected.append(error)
    assert list(map(told, found)) == list(map(told, expected))
    assert together.plane.counters == alone.plane.counters
    # Rejections do not wait for the answers beside them; within each kind the order is that of the requests.
    for kind in (EVENT, PREDICTION, REJECTED):
        assert [plain(f) for f in together.frames() if f.kind == kind] == [
            plain(f) for f in alone.frames() if f.kind == kind
        ]


def told(one: Any) -> Any:
    return (type(one), one.problem) if isinstance(one, HoldfastError) else one


def plain(frame: Any) -> Any:
    values = decode_payload(frame.payload)
    return frame.source, {k: v for k, v in values.items() if k not in ("attempt", "latency_us")}


def test_events_are_accepted_one_by_one_and_in_arrays() -> None:
    world = World()

    one = world.plane.accept("payments", body())
    many = world.plane.accept_many("payments", b"[" + body(id="a") + b"," + body(amount=-1) + b", 3]")

    assert one.id == "p-9"
    assert [verdict.id for verdict in many] == ["a", None, None]
    assert [v.problem and (v.problem.code, v.problem.at) for v in many[1:]] == [
        ("HF203", "$[1].amount"),
        ("HF214", "$[2]"),
    ]
    assert [frame.kind for frame in world.frames()] == [EVENT, EVENT, REJECTED, REJECTED]
    assert json.loads(decode_payload(world.frames()[2].payload)["raw"])["amount"] == -1


def test_an_array_is_empty_or_too_long() -> None:
    world = World()

    for content in (b"[]", b"[" + b",".join([body()] * 1_001) + b"]"):
        with pytest.raises(BadRequestError, match="1 to 1,000 rows"):
            world.plane.accept_many("payments", content)


def test_feedback_is_an_event_of_a_source_of_outcomes() -> None:
    world = World()

    verdict = world.plane.accept("disputes", b'{"id": "d-1", "at": "2026-11-02T10:00:00Z"}', feedback=True)

    assert verdict.id == "d-1"
    assert [frame.kind for frame in world.frames()] == [FEEDBACK]
    with pytest.raises(NotFoundError, match="no source `payments` takes outcomes"):
        world.plane.accept("payments", body(), feedback=True)


def test_before_anything_is_loaded_nothing_is_said_to_be_unknown() -> None:
    plane = DataPlane(World().journal.writer("serve"), World().clock, lambda: 0)

    with pytest.raises(UnavailableError, match="nothing is loaded yet"):
        plane.predict("fraud", body())
    with pytest.raises(UnavailableError, match="nothing is loaded yet"):
        plane.accept("payments", body())


def test_a_rehearsal_leaves_no_trace() -> None:
    world = World()

    world.plane.rehearse({"fraud": {"id": "x", "at": NOW, "card": "c-1", "amount": 1, "country": None}})

    assert world.frames() == []
    assert not world.plane.counters.predictions


def test_a_journal_that_cannot_be_written_answers_nothing() -> None:
    world = World()

    class Full:
        id = "full-1"

        def append(self, frames: Any) -> int:
            raise UnavailableError("the disk is full.")

    world.plane._journal = Full()  # type: ignore[assignment]

    with pytest.raises(HoldfastError, match="the disk is full"):
        world.plane.predict("fraud", body())
    world.plane._journal = world.journal.writer("later")
    assert not world.plane.predict("fraud", body()).repeat


def test_a_live_record_has_the_columns_of_its_table_in_order() -> None:
    assert LiveRecord.__struct_fields__ == tuple(LIVE_SCHEMA)


def test_records_of_a_newer_format_are_refused() -> None:
    world = World()
    world.plane.predict("fraud", body())
    record = decode_payload(world.frames()[1].payload)

    with pytest.raises(ConflictError, match="format 2"):
        records_frame([msgspec.msgpack.encode({**record, "format": 2})])
    assert ROW["id"] == record["key"]


@pytest.mark.parametrize(("known_ahead", "refused"), [(False, True), (True, False)])
def test_a_row_of_the_far_future_is_accepted_only_where_things_are_known_ahead(
    known_ahead: bool, refused: bool
) -> None:
    world = World()
    (gate,) = [route.gate for route in world.plane.routes.values()]

    found = replace(gate, known_ahead=known_ahead).is_future({gate.time_column: NOW + 30 * DAY}, NOW)

    assert found is refused
