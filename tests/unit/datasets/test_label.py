"""Labels: what had arrived by `t + horizon`, and the fate of every row."""

import polars as pl
import pytest

from holdfast.datasets.label import Label, Labels, attach_labels
from holdfast.events.source import Source
from holdfast.features.view import Measure
from holdfast.features.window import Window
from holdfast.kernel.errors import ContractError, DefinitionError
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import Column, Schema

CHARGEBACKS = Source(
    "chargebacks",
    Schema(
        "Chargeback",
        (
            Column("cb_id", "string", role="event_id"),
            Column("tx_id", "string"),
            Column("at", "time", role="event_time"),
            Column("lost", "decimal", nullable=True, scale=2, ge=0, le=1000),
        ),
    ),
)
LABEL = Label("chargebacks", horizon=100, key="tx_id", absent=0)


def spine(*rows: tuple[str, int]) -> pl.DataFrame:
    """Rows of (id, time), known at once."""
    ids, times = [row[0] for row in rows], [row[1] for row in rows]
    return pl.DataFrame({"tx_id": ids, "_key": ids, "_t": times, "_known_at": times})


def outcomes(*rows: tuple[str | None, int, int, int | None]) -> pl.DataFrame:
    """Lake rows of (id of the transaction, event time, arrival, cents)."""
    return pl.DataFrame(
        {
            "cb_id": [f"c{index}" for index in range(len(rows))],
            "tx_id": [row[0] for row in rows],
            "at": [row[1] for row in rows],
            "lost": [row[3] for row in rows],
            "_arrived": [row[2] for row in rows],
        },
        schema={
            "cb_id": pl.String,
            "tx_id": pl.String,
            "at": pl.Int64,
            "lost": pl.Int64,
            "_arrived": pl.Int64,
        },
    )


def found(labels: Labels) -> list[tuple[float | None, str]]:
    return list(zip(labels.values.to_list(), labels.fates.to_list(), strict=True))


def test_outcome_that_arrived_by_the_horizon_counts_and_its_absence_is_a_value() -> None:
    rows = spine(("b", 20), ("a", 10), ("c", 30))
    known = outcomes(("b", 20, 120, None), ("a", 10, 111, None))

    labels = attach_labels(rows, LABEL, CHARGEBACKS, known, as_of=1000)

    assert found(labels) == [(1.0, "labelled"), (0.0, "labelled"), (0.0, "labelled")]
    assert labels.late.tolist() == [False, True, False]
    assert labels.values.dtype == pl.Float64


def test_row_whose_horizon_is_after_the_instant_of_knowledge_is_immature() -> None:
    labels = attach_labels(
        spine(("a", 100), ("b", 101)), LABEL, CHARGEBACKS, outcomes(("b", 1, 2, None)), as_of=200
    )

    assert found(labels) == [(0.0, "labelled"), (None, "immature")]


def test_row_without_outcome_is_unlabelled_where_absence_is_no_value() -> None:
    label = Label("chargebacks", horizon=100, key="tx_id")
    known = outcomes(("a", 10, 10, None), ("b", 10, 111, None))

    labels = attach_labels(spine(("a", 10), ("b", 10)), label, CHARGEBACKS, known, as_of=1000)

    assert found(labels) == [(1.0, "labelled"), (None, "unlabelled")]
    assert labels.late.tolist() == [False, True]


def test_row_whose_recommendation_prevented_the_outcome_is_censored_even_if_one_came() -> None:
    label = Label("chargebacks", horizon=100, key="tx_id", absent=0, censored_by="block")
    decisions = pl.DataFrame({"_key": ["a", "b", "b", "c"], "decision": ["block", "allow", "block", "block"]})
    known = outcomes(("a", 10, 20, None), ("a", 10, 500, None))
    rows = spine(("a", 10), ("b", 10), ("c", 950), ("d", 10))

    labels = attach_labels(rows, label, CHARGEBACKS, known, as_of=1000, decisions=decisions)

    assert labels.fates.to_list() == ["censored", "labelled", "immature", "labelled"]
    assert labels.values.to_list() == [None, 0.0, None, 0.0]
    assert not labels.late.any()


def test_without_decisions_nothing_is_censored() -> None:
    label = Label("chargebacks", horizon=100, key="tx_id", absent=0, censored_by="block")

    labels = attach_labels(spine(("a", 10)), label, CHARGEBACKS, outcomes(), as_of=1000)

    assert found(labels) == [(0.0, "labelled")]


def test_latest_known_outcome_in_total_order_decides() -> None:
    label = Label("chargebacks", horizon=100, key="tx_id", value=col("lost"))
    known = outcomes(
        ("a", 10, 60, 100),  # greatest event time and arrival known by 110
        ("a", 10, 50, 200),
        ("a", 9, 90, 300),
        ("a", 11, 111, 400),  # too late
        ("b", 5, 50, 100),
        ("b", 5, 50, 700),  # same instants: the greater id
    )

    labels = attach_labels(spine(("a", 10), ("b", 10)), label, CHARGEBACKS, known, as_of=1000)

    assert labels.values.to_list() == [1.0, 7.0]
    assert labels.late.tolist() == [True, False]


def test_rows_that_share_a_key_each_see_what_was_known_at_their_own_horizon() -> None:
    label = Label("chargebacks", horizon=100, key="tx_id", value=col("lost"))
    known = outcomes(("a", 10, 50, 100), ("a", 20, 150, 200), ("a", 15, 160, 300))
    rows = spine(("a", 0), ("a", 49), ("a", 50), ("a", 60), ("a", 900))

    labels = attach_labels(rows, label, CHARGEBACKS, known, as_of=1000)

    assert labels.values.to_list() == [1.0, 1.0, 2.0, 2.0, 2.0]


def test_value_is_an_expression_over_the_outcome_and_a_missing_one_leaves_the_row_unlabelled() -> None:
    label = Label(
        "chargebacks", horizon=100, key="tx_id", value=Expr("mul", (col("lost"), const(2.0))), absent=0
    )
    known = outcomes(("a", 10, 20, 150), ("b", 10, 20, None))

    labels = attach_labels(spine(("a", 10), ("b", 10), ("c", 10)), label, CHARGEBACKS, known, as_of=1000)

    assert found(labels) == [(3.0, "labelled"), (None, "unlabelled"), (0.0, "labelled")]


def test_outcome_without_key_or_after_the_instant_of_knowledge_is_no_outcome() -> None:
    known = outcomes((None, 10, 20, None), ("a", 10, 201, None))

    labels = attach_labels(spine(("a", 100)), LABEL, CHARGEBACKS, known, as_of=200)

    assert found(labels) == [(0.0, "labelled")]
    assert labels.late.tolist() == [False]


def test_key_of_another_type_is_refused() -> None:
    known = outcomes(("1", 10, 20, None)).with_columns(pl.col("tx_id").cast(pl.Int64))

    with pytest.raises(ContractError, match="the label joins `tx_id`"):
        attach_labels(spine(("1", 10)), LABEL, CHARGEBACKS, known, as_of=1000)


def windowed(aggregate: str, *, horizon: int = 100, **label: object) -> Label:
    measure = Measure("lost_next", aggregate, Window(50, 0, 7), None if aggregate == "count" else "lost")  # type: ignore[arg-type]
    return Label("chargebacks", horizon=horizon, key="tx_id", window=measure, **label)  # type: ignore[arg-type]


def test_window_label_aggregates_exactly_the_events_after_the_prediction() -> None:
    known = outcomes(
        ("a", 9, 9, 100), ("a", 10, 11, 200), ("a", 59, 59, 400), ("a", 60, 60, 800), ("b", 10, 10, 50)
    )

    labels = attach_labels(spine(("a", 10), ("b", 500)), windowed("sum"), CHARGEBACKS, known, as_of=1000)

    assert found(labels) == [(6.0, "labelled"), (0.0, "labelled")]


def test_window_label_is_fixed_at_the_horizon_and_says_what_came_late() -> None:
    known = outcomes(("a", 20, 110, 100), ("a", 30, 111, 200), ("b", 20, 1001, 300))

    labels = attach_labels(spine(("a", 10), ("b", 10)), windowed("sum"), CHARGEBACKS, known, as_of=1000)

    assert labels.values.to_list() == [1.0, 0.0]
    assert labels.late.tolist() == [True, False]


def test_window_label_without_value_is_unlabelled_or_absent() -> None:
    rows = spine(("a", 10))

    without = attach_labels(rows, windowed("mean"), CHARGEBACKS, outcomes(), as_of=1000)
    absent = attach_labels(rows, windowed("mean", absent=0), CHARGEBACKS, outcomes(), as_of=1000)

    assert found(without) == [(None, "unlabelled")]
    assert found(absent) == [(0.0, "labelled")]


def test_window_label_joins_by_the_columns_of_a_grid() -> None:
    label = Label("chargebacks", horizon=100, window=Measure("n", "count", Window(50)))

    labels = attach_labels(
        spine(("a", 10)),
        label,
        CHARGEBACKS,
        outcomes(("a", 20, 20, None)),
        as_of=1000,
        entity=("tx_id",),
    )

    assert found(labels) == [(1.0, "labelled")]


@pytest.mark.parametrize(
    ("label", "fact"),
    [
        (Label("chargebacks", horizon=100), "needs the key"),
        (Label("chargebacks", horizon=100, window=Measure("n", "count", Window(50))), "needs the key"),
        (windowed("count", horizon=49), "cannot be fixed after"),
        (Label("chargebacks", 100, "tx_id", window=Measure("n", "count", Window(5, 1))), "an offset of 1us"),
    ],
)
def test_impossible_label_is_refused(label: Label, fact: str) -> None:
    with pytest.raises(DefinitionError, match=fact):
        attach_labels(spine(("a", 10)), label, CHARGEBACKS, outcomes(), as_of=1000)
