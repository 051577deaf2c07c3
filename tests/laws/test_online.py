"""Laws of online state: however events were applied, a request reads what the oracle says, or is marked."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.events.ports import Blob
from holdfast.events.source import ARRIVED, BATCH
from holdfast.features import aggregate, online, online_kernels
from holdfast.features.online import OnlineRow, Reading, apply_events, compile_state, fold
from holdfast.features.tile import SLACK, StatePlan
from holdfast.features.view import Measure, View
from holdfast.features.window import Window
from holdfast.kernel.ids import text_code
from holdfast.kernel.schema import Schema
from holdfast.kernel.time import DAY, HOUR
from holdfast.testing.oracle import measures_of, superseded_by
from holdfast.testing.strategies import (
    CARD,
    CORRECTED,
    PAYMENT,
    STEP,
    corrected_rows,
    event_frame,
    event_rows,
    instants,
    views,
)

SOURCES = {"payments": PAYMENT}
FOREVER = 2**62
Rows = Sequence[Mapping[str, Any]]


@dataclass
class State:
    """Blobs of one plan in memory, and the rows that made them."""

    plan: StatePlan
    blobs: dict[bytes, bytes] = field(default_factory=dict)

    def get(self, keys: Sequence[bytes]) -> list[Blob]:
        return [self.blobs.get(key, b"") for key in keys]

    def apply(self, rows: Rows, before: Rows = ()) -> "State":
        schema = self.plan.schemas["payments"]
        past = event_frame(before, schema)

        def history(where: Any, columns: Any) -> Any:
            found = past.filter(where)
            return found if columns is None else found.select(columns)

        puts = fold(self.plan, "payments", event_frame(rows, schema), self.get, history)
        self.blobs |= {key: bytes(blob) for key, blob in puts.items()}
        return self

    def read(self, request: Mapping[str, Any]) -> Reading:
        row = OnlineRow(self.plan, self.plan.views)
        return row.measure(self.get(row.keys(request)), request["_t"])


@st.composite
def plans(draw: st.DrawFn, schema: Schema = PAYMENT) -> StatePlan:
    """Plans of one or two views, with rings that overflow."""
    ring = draw(st.integers(1, 6))
    return compile_state(
        draw(views()),
        {"payments": schema},
        ring=ring,
        most=ring + draw(st.integers(0, 6)),
        slack=draw(st.sampled_from((0, 1, STEP, HOUR))),
        exact=2,
    )


@pytest.fixture(autouse=True, scope="module")
def few_different_values_are_exact() -> Iterator[None]:
    """Let the oracle estimate above two different values, as `plans` do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregate, "EXACT_DISTINCT", 2)
        yield


def requests() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw requests: keys seen, unseen and missing, at any time."""
    row = st.fixed_dictionaries(
        {
            "card_id": st.sampled_from(("a", "a", "a", "b", "never", None)),
            "shop": st.sampled_from((1, 1, 2, 3, None)),
            "_t": instants() | st.sampled_from((-40 * DAY, 40 * DAY)),
        }
    )
    return st.lists(row, min_size=1, max_size=5)


def at_events(asked: Rows, events: Rows) -> list[Mapping[str, Any]]:
    """Return the requests, and some more at the time of events, as when an event asks for itself again."""
    return [*asked, *({**row, "_t": row["at"]} for row in events[:6])]


def mine(view: View, rows: Rows, request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    key = [request[name] for name in view.entity.key]
    return [row for row in rows if None not in key and [row[name] for name in view.entity.key] == key]


def may_be_inexact(plan: StatePlan, view: View, window: Window, rows: Rows, t: int) -> bool:
    """Say what the page of the format says: whether too much has happened to know this window exactly."""
    if not rows:
        return False
    now = max(min(row["at"], row[ARRIVED]) for row in rows)
    exact = [m.window.offset + m.window.over for m in view.measures if not m.window.hop]
    reach = max(exact, default=0) + plan.slack
    recent = sum(row["at"] >= now - reach for row in rows)
    kept = max(plan.ring, min(plan.most, recent))
    gone = sorted(row["at"] for row in rows)[: max(0, len(rows) - kept)]
    lo, hi = window.bounds(t)
    if not gone or gone[-1] < lo:
        return False
    if not window.hop:
        return True
    level = max(m.window.offset + m.window.over for m in view.measures if m.window.hop == window.hop)
    pruned = lo < ((now - level) // window.hop - 1) * window.hop
    return pruned or (window.offset <= 0 and gone[-1] >= hi)


def assert_reads_the_oracle(state: State, rows: Rows, request: Mapping[str, Any]) -> None:
    values, inexact, flags = state.read(request)
    t = request["_t"]
    assert (inexact != 0) == bool(flags.any())
    at = 0
    for view in state.plan.views:
        key = [request[name] for name in view.entity.key]
        schema = state.plan.schemas["payments"]
        truth = measures_of(view, schema, rows, key, t, FOREVER)
        for measure in view.measures:
            value, flag = float(values[at]), int(flags[at])
            at += 1
            if flag:
                gone = superseded_by(rows, schema, FOREVER)
                left = [row for row in mine(view, rows, request) if row["tx_id"] not in gone]
                assert may_be_inexact(state.plan, view, measure.window, left, t)
                continue
            expected = truth[measure.name]
            if isinstance(expected, str):
                expected = float(text_code(expected))
            if expected is None:
                assert math.isnan(value), measure
            else:
                assert np.float64(value).view(np.int64) == np.float64(expected).view(np.int64), (
                    measure,
                    value,
                    expected,
                )


@pytest.fixture(params=["few", "many"], scope="module")
def size(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tell entities apart as in small batches, or as in large ones."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "many":
            patch.setattr(online, "FEW", 0)
        yield


@given(plans(), event_rows(), requests(), st.randoms(use_true_random=False))
def test_reading_equals_the_oracle_after_every_batch(
    size: None, plan: StatePlan, events: Rows, asked: Rows, random: Any
) -> None:
    state, seen = State(plan), []
    for batch in range(1, 5):
        rows = [row for row in events if row[BATCH] == batch]
        state.apply(random.sample(rows, len(rows)))
        seen += rows
        for request in at_events(asked, events):
            assert_reads_the_oracle(state, seen, request)


@given(plans(CORRECTED), corrected_rows(), requests(), st.randoms(use_true_random=False))
def test_reading_equals_the_oracle_after_every_batch_of_corrections(
    size: None, plan: StatePlan, events: Rows, asked: Rows, random: Any
) -> None:
    state, seen = State(plan), []
    for batch in range(1, 5):
        rows = [row for row in events if row[BATCH] == batch]
        state.apply(random.sample(rows, len(rows)), seen)
        seen += rows
        for request in at_events(asked, events):
            assert_reads_the_oracle(state, seen, request)


@given(plans(CORRECTED), corrected_rows(), st.randoms(use_true_random=False))
def test_order_and_cuts_of_corrections_change_no_byte(plan: StatePlan, events: Rows, random: Any) -> None:
    together = State(plan).apply(events)

    pieces, rest, seen = State(plan), random.sample(list(events), len(events)), []
    while rest:
        cut = random.randint(1, len(rest))
        pieces.apply(rest[:cut], seen)
        seen += rest[:cut]
        rest = rest[cut:]

    empty = {layout.empty_blob for layout in plan.layouts}  # of entities that lost all of their events
    assert {key: blob for key, blob in pieces.blobs.items() if blob not in empty} == together.blobs


@pytest.fixture(scope="module")
def plain_python() -> Iterator[None]:
    """Run the kernels as Python."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("apply_groups", "read_blobs"):
            patch.setattr(online_kernels, name, getattr(online_kernels, name).py_func)
        yield


@settings(max_examples=25)
@given(plans(), event_rows(max_size=10), requests())
def test_kernels_as_plain_python_equal_the_oracle(
    plain_python: None, plan: StatePlan, events: Rows, asked: Rows
) -> None:
    state = State(plan)
    for batch in (1, 2, 3, 4):
        state.apply([row for row in events if row[BATCH] == batch])

    for request in at_events(asked, events):
        assert_reads_the_oracle(state, events, request)


@given(plans(), event_rows(), st.randoms(use_true_random=False))
def test_order_and_cuts_change_no_byte(plan: StatePlan, events: Rows, random: Any) -> None:
    together = State(plan).apply(events)

    pieces, rest = State(plan), random.sample(list(events), len(events))
    while rest:
        cut = random.randint(1, len(rest))
        pieces.apply(rest[:cut])
        rest = rest[cut:]

    assert pieces.blobs == together.blobs


@given(views(), event_rows(), requests())
def test_few_events_are_always_exact(found: tuple[View, ...], events: Rows, asked: Rows) -> None:
    state = State(compile_state(found, SOURCES, exact=2)).apply(events)

    for request in at_events(asked, events):
        assert state.read(request).inexact == 0
        assert_reads_the_oracle(state, events, request)


@given(plans(), event_rows(), requests())
def test_events_from_the_request_on_change_no_exact_value(plan: StatePlan, events: Rows, asked: Rows) -> None:
    state = State(plan).apply(events)
    for request in asked:
        before = State(plan).apply([row for row in events if row["at"] <= request["_t"]]).read(request)
        found = state.read(request)

        exact = (found.flags == 0) & (before.flags == 0)
        assert found.values[exact].tobytes() == before.values[exact].tobytes()


@given(plans(), event_rows())
def test_apply_events_equals_fold(plan: StatePlan, events: Rows) -> None:
    state = State(plan).apply(events)
    for ordinal, view in enumerate(plan.views, 1):
        request = {"card_id": "a", "shop": 1}
        rows = mine(view, events, request)
        blob: bytes = b""
        for row in rows:
            blob = apply_events(plan, ordinal, blob, event_frame([row]))

        key = OnlineRow(plan, [view]).keys(request)
        assert state.get(key) == [blob]


@given(views(), event_rows(), st.integers(1, 3), st.data())
def test_future_event_does_not_prune(found: tuple[View, ...], events: Rows, ring: int, data: Any) -> None:
    plan = compile_state(found, SOURCES, ring=ring, most=ring, exact=2)
    base = {"tx_id": "x", "card_id": "a", "shop": 1, "amount": 1, "rate": 1, "items": 1, "weight": 1.0}
    wrong = {**base, "country": "AT", "online": True, BATCH: 1, "at": 10_000 * DAY, ARRIVED: 0}
    state = State(plan).apply([wrong]).apply(events)

    for request in data.draw(requests()):
        flags = state.read(request).flags
        rows = mine(plan.views[0], [*events, wrong], request)
        for measure, flag in zip(plan.views[0].measures, flags, strict=False):
            if flag & 2:
                now = max(min(row["at"], row[ARRIVED]) for row in rows)
                assert now < 1000 * DAY
                assert may_be_inexact(plan, plan.views[0], measure.window, rows, request["_t"])


@given(st.lists(st.integers(0, 3 * DAY), min_size=200, max_size=400), st.integers(0, 6))
@settings(max_examples=20)
def test_busy_entity_is_exact_at_the_newest_event(times: list[int], beside: int) -> None:
    windows = (Window(HOUR, 0, 300_000_000), Window(DAY, 0, HOUR), Window(2 * DAY, HOUR, HOUR))
    view = View(
        "busy",
        "payments",
        CARD,
        tuple(
            Measure(f"{aggregate} {n}", aggregate, window, None if aggregate == "count" else "items")  # type: ignore[arg-type]
            for n, window in enumerate(windows)
            for aggregate in ("count", "sum", "std", "min", "max")
        ),
    )
    content = {
        "card_id": "a",
        "shop": 1,
        "amount": None,
        "rate": None,
        "weight": None,
        "country": None,
        "online": True,
    }
    rows = [
        {"tx_id": str(n), **content, "items": (at * 7919) % 1013 - 500, "at": at, ARRIVED: at, BATCH: 1}
        for n, at in enumerate(times)
    ]
    state = State(compile_state([view], SOURCES))
    for cut in range(0, len(rows), 50):
        state.apply(rows[cut : cut + 50])

    for t in (max(times) + beside, max(times), max(times) - SLACK):
        request = {"card_id": "a", "shop": 1, "_t": t}
        assert state.read(request).inexact == 0
        assert_reads_the_oracle(state, rows, request)


def test_event_with_a_key_that_is_too_long_is_left_out_and_its_request_marked(size: None) -> None:
    view = View("v", "payments", CARD, (Measure("count", "count", Window(DAY)),))
    content = {
        "shop": 1,
        "amount": None,
        "rate": None,
        "items": 1,
        "weight": None,
        "country": None,
        "online": True,
    }
    rows = [
        {"tx_id": card, "card_id": card, **content, "at": 0, ARRIVED: 0, BATCH: 1}
        for card in ("a" * 254, "a" * 255, "ä" * 128)
    ]
    state = State(compile_state([view], SOURCES)).apply(rows)
    row = OnlineRow(state.plan, [view])

    class Snapshot:
        batch = 1
        get = state.get

    known = row.read(Snapshot(), {"card_id": "a" * 254}, 1)  # type: ignore[arg-type]
    unknown = row.read(Snapshot(), {"card_id": "a" * 255}, 1)  # type: ignore[arg-type]

    assert len(state.blobs) == 1
    assert (known.values.tolist(), known.inexact) == ([1.0], 0)
    assert math.isnan(unknown.values[0])
    assert unknown.inexact == unknown.flags[0] == online_kernels.KEYLESS


def test_plan_is_read_back_as_it_was_written() -> None:
    view = View("v", "payments", CARD, (Measure("count", "count", Window(DAY)),))
    plan = compile_state([view, view], SOURCES, ring=3, most=2)

    again = online.load_plan(online.dump_plan(plan))

    assert again == plan
    assert again.fingerprint == plan.fingerprint
    assert len(plan.views) == 1
    assert plan.most == 3
