"""Laws of windows: the kernel equals the oracle bit for bit, and nothing unknown ever changes a value."""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from holdfast.features import aggregate, kernels, lowering_kernels
from holdfast.features.lowering_kernels import MAX_MOMENT_SCALE
from holdfast.features.materialize import materialize, measures_as_known
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import NotFoundError
from holdfast.kernel.expr import Expr, col
from holdfast.kernel.ids import text_code
from holdfast.kernel.schema import Column, Schema
from holdfast.testing.oracle import features_of, measures_of
from holdfast.testing.strategies import (
    CARD,
    CORRECTED,
    NAMELESS,
    PAYMENT,
    corrected_rows,
    event_frame,
    event_rows,
    fixed_point_values,
    readable,
    spine_frame,
    spine_rows,
    views,
)

SOURCES = {"payments": PAYMENT}
Rows = Sequence[Mapping[str, Any]]


def computed(
    found: Sequence[View], events: Rows, spine: Rows, schema: Schema = PAYMENT
) -> dict[str, np.ndarray]:
    frames = {"payments": event_frame(events, schema)}
    return measures_as_known(found, {"payments": schema}, spine_frame(spine), frames)


def expected(
    found: Sequence[View], events: Rows, spine: Rows, schema: Schema = PAYMENT
) -> dict[str, np.ndarray]:
    columns: dict[str, list[float]] = {measure.name: [] for view in found for measure in view.measures}
    for row in spine:
        for view in found:
            key = [row[name] for name in view.entity.key]
            values = measures_of(view, schema, events, key, row["_t"], row["_known_at"])
            for name, value in values.items():
                columns[name].append(in_register(value))
    return {name: np.array(column, np.float64) for name, column in columns.items()}


def in_register(value: float | str | None) -> float:
    """Return a value of the oracle as kernels write it."""
    if isinstance(value, str):
        return float(text_code(value))
    return math.nan if value is None else value


def assert_same_bits(left: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        missing = np.isnan(left[name])
        np.testing.assert_array_equal(missing, np.isnan(right[name]), name)
        np.testing.assert_array_equal(
            left[name][~missing].view(np.int64), right[name][~missing].view(np.int64), name
        )


@pytest.fixture(params=["scan", "sweep"], scope="module")
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Make the kernel scan events that were still unknown, or sweep them in order of arrival.

    Above two different values their number is estimated, so that few events show it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregate, "EXACT_DISTINCT", 2)
        patch.setattr(kernels, "PATIENCE", math.inf if request.param == "scan" else -1.0)
        yield request.param


@given(views(), event_rows(), spine_rows())
def test_kernel_equals_the_oracle(way: str, found: tuple[View, ...], events: Rows, spine: Rows) -> None:
    assert_same_bits(computed(found, events, spine), expected(found, events, spine))


@given(views(), event_rows(max_size=8), spine_rows(max_size=4))
def test_kernel_as_plain_python_equals_the_oracle(
    way: str, found: tuple[View, ...], events: Rows, spine: Rows
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "window_values", kernels.window_values.py_func)
        values = computed(found, events, spine)

    assert_same_bits(values, expected(found, events, spine))


@given(views(), event_rows(), spine_rows())
def test_rows_without_an_id_are_told_apart_by_their_content(
    found: tuple[View, ...], events: Rows, spine: Rows
) -> None:
    rows = [{name: value for name, value in row.items() if name != "tx_id"} for row in events]

    assert_same_bits(computed(found, rows, spine, NAMELESS), expected(found, rows, spine, NAMELESS))


@given(views(), corrected_rows(), spine_rows())
def test_superseded_events_are_seen_until_their_correction_arrives(
    way: str, found: tuple[View, ...], events: Rows, spine: Rows
) -> None:
    assert_same_bits(computed(found, events, spine, CORRECTED), expected(found, events, spine, CORRECTED))


@given(views(), corrected_rows(), spine_rows(), st.none() | st.integers(0, 4))
def test_features_with_corrections_equal_the_oracle(
    found: tuple[View, ...], events: Rows, spine: Rows, max_batch: int | None
) -> None:
    read, vocabularies = readable(found)
    keys = Schema("Asked", (Column("card_id", "string", nullable=True), Column("shop", "int", nullable=True)))
    chosen = FeatureSet("f", "asked", read, tuple(v.name for v in found))
    plan = FeaturePlan(chosen, keys, found, {"payments": CORRECTED}, vocabularies)

    values = materialize(plan, spine_frame(spine), Tables(events, CORRECTED), max_batch=max_batch)

    for row, at in zip(values, spine, strict=True):
        truth = features_of(plan, at, {"payments": events}, at["_t"], at["_known_at"], max_batch)
        assert [None if math.isnan(value) else value for value in row.tolist()] == list(truth.values())


@given(views(), event_rows(), event_rows(), spine_rows())
def test_unknowable_events_change_nothing(
    found: tuple[View, ...], events: Rows, more: Rows, spine: Rows
) -> None:
    assume(spine)
    last, known = max(row["_t"] for row in spine), max(row["_known_at"] for row in spine)
    future = [row for row in more if row["at"] > last]
    unheard = [row for row in more if row["_arrived"] > known]

    assert_same_bits(computed(found, [*future, *events, *unheard], spine), computed(found, events, spine))


@given(views(), event_rows(), spine_rows(), st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(
    found: tuple[View, ...], events: Rows, spine: Rows, random: Any
) -> None:
    mixed, order = random.sample(list(events), len(events)), random.sample(range(len(spine)), len(spine))

    values = computed(found, events, spine)
    permuted = computed(found, mixed, [spine[i] for i in order])

    assert_same_bits({name: column[order] for name, column in values.items()}, permuted)


@given(views(), event_rows(), spine_rows(max_size=5))
def test_batch_equals_one_row_at_a_time(found: tuple[View, ...], events: Rows, spine: Rows) -> None:
    assume(spine)
    single = [computed(found, events, [row]) for row in spine]

    together = {name: np.concatenate([one[name] for one in single]) for name in single[0]}

    assert_same_bits(computed(found, events, spine), together)


@given(views(), event_rows(), spine_rows())
def test_entity_never_seen_is_an_empty_window(found: tuple[View, ...], events: Rows, spine: Rows) -> None:
    assume(all(view.entity.key for view in found))
    unseen = [{**row, "card_id": "stranger"} for row in spine]

    assert_same_bits(computed(found, events, unseen), computed(found, [], spine))


@given(st.lists(fixed_point_values(), min_size=2, max_size=40), st.integers(0, MAX_MOMENT_SCALE))
def test_mean_and_std_are_within_two_units_of_the_exact_value(values: list[int], scale: int) -> None:
    schema = Schema(
        "Reading",
        (
            Column("at", "time", role="event_time"),
            Column("card_id", "string"),
            Column("value", "decimal", scale=scale),
        ),
    )
    window = Window(over=1000)
    view = View(
        "v", "s", CARD, (Measure("mean", "mean", window, "value"), Measure("std", "std", window, "value"))
    )
    events = event_frame(
        [{"at": i, "card_id": "a", "value": v, "_arrived": i, "_batch": 1} for i, v in enumerate(values)],
        schema,
    )
    spine = spine_frame([{"card_id": "a", "_t": 100, "_known_at": 100}])

    found = measures_as_known((view,), {"s": schema}, spine, {"s": events})

    mean, std = float(found["mean"][0]), float(found["std"][0])
    exact = [Fraction(value, 10**scale) for value in values]
    centre = sum(exact) / len(exact)
    assert abs(Fraction(mean) - centre) <= 2 * Fraction(math.ulp(mean))
    variance = sum((value - centre) ** 2 for value in exact) / (len(exact) - 1)
    unit = 2 * Fraction(math.ulp(std))
    assert max(Fraction(0), Fraction(std) - unit) ** 2 <= variance <= (Fraction(std) + unit) ** 2


class Tables:
    """A lake of one table that filters as it is told."""

    def __init__(self, rows: Rows, schema: Schema = PAYMENT) -> None:
        self.rows, self.schema = rows, schema

    def read(self, table: str, columns: Any = None, *, where: Any = None, version: Any = None) -> Any:
        if table != "payments":
            raise NotFoundError(f"no table `{table}`.")
        return event_frame(self.rows, self.schema).filter(where).select(columns)


@given(views(), event_rows(), spine_rows(), st.none() | st.integers(0, 4))
def test_features_of_a_plan_equal_the_oracle(
    found: tuple[View, ...], events: Rows, spine: Rows, max_batch: int | None
) -> None:
    read, vocabularies = readable(found)
    doubled = read[0].expr
    features = (*read, Feature("doubled", Expr("add", (doubled, doubled))), Feature("shop", col("shop")))
    keys = Schema("Asked", (Column("card_id", "string", nullable=True), Column("shop", "int", nullable=True)))
    chosen = FeatureSet("f", "asked", features, tuple(v.name for v in found))
    plan = FeaturePlan(chosen, keys, found, SOURCES, vocabularies)

    values = materialize(plan, spine_frame(spine), Tables(events), max_batch=max_batch)

    assert values.shape == (len(spine), len(features))
    for row, at in zip(values, spine, strict=True):
        truth = features_of(plan, at, {"payments": events}, at["_t"], at["_known_at"], max_batch)
        assert [None if math.isnan(value) else value for value in row.tolist()] == list(truth.values())


# ---------------------------------------------------------------------------------- arithmetic of the kernels
limbs = st.integers(0, 2**32 - 1)


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_product_is_exact(a: int, b: int) -> None:
    high, low = lowering_kernels.product(a, b)

    assert high * 2**32 + low == a * b
    assert 0 <= low < 2**32


@given(st.integers(0, 2**30 - 1) | st.just(0), limbs | st.just(0), limbs, limbs, st.booleans())
@example(w3=0, w2=0, w1=2**31, w0=2**10, tie=False)  # half way between two doubles, and a little more
@example(w3=0, w2=0, w1=2**31, w0=2**10 + 1, tie=False)
@example(w3=0, w2=2**20, w1=0, w0=1, tie=True)
def test_nearest_rounds_like_python(w3: int, w2: int, w1: int, w0: int, tie: bool) -> None:
    number = ((w3 * 2**32 + w2) * 2**32 + w1) * 2**32 + w0
    if tie and number >= 2**54:  # exactly half way between two doubles
        shift = number.bit_length() - 54
        number = (number >> shift | 1) << shift
    w3, w2, w1, w0 = (number >> shift & (2**32 - 1) for shift in (96, 64, 32, 0))

    assert lowering_kernels.nearest(w3, w2, w1, w0) == float(number)


@given(st.lists(fixed_point_values(), min_size=1, max_size=20), st.integers(1, 2**26))
def test_spread_is_exact_up_to_one_rounding(values: list[int], times: int) -> None:
    n, S, Q = len(values) * times, sum(values) * times, sum(v * v for v in values) * times
    qh = sum(v * v >> 32 for v in values) * times
    ql = sum(v * v & 0xFFFFFFFF for v in values) * times

    assert lowering_kernels.spread(n, S, qh, ql) == float(n * Q - S * S)


@given(st.integers(2, 2**31 - 1), st.integers(0, 26))
def test_pairs_is_exact_up_to_one_rounding(n: int, power: int) -> None:
    assert lowering_kernels.pairs(n, 5**power) == float(n * (n - 1) * 5**power)
