"""Law: a label is what outcomes say that had arrived by its horizon, without those superseded by then."""

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from holdfast.datasets.label import Label, attach_labels
from holdfast.events.source import Source
from holdfast.kernel.expr import col
from holdfast.kernel.schema import Column, Schema

OUTCOMES = Source(
    "outcomes",
    Schema(
        "Outcome",
        (
            Column("id", "string", role="event_id"),
            Column("row", "string"),
            Column("at", "time", role="event_time"),
            Column("value", "int"),
            Column("corrects", "string", nullable=True, role="supersedes"),
        ),
    ),
)
HORIZON, NOW = 5, 30


@st.composite
def outcomes(draw: st.DrawFn) -> list[dict[str, Any]]:
    n = draw(st.integers(0, 8))
    times = st.integers(0, 20)
    return [
        {
            "id": f"o{i}",
            "row": draw(st.sampled_from("ab")),
            "at": draw(times),
            "value": draw(st.integers(1, 9)),
            "corrects": draw(st.sampled_from([None, None, *(f"o{k}" for k in range(n + 1))])),
            "_arrived": draw(times),
        }
        for i in range(n)
    ]


def naive(rows: list[dict[str, Any]], key: str, fixed: int) -> float:
    known = [row for row in rows if row["_arrived"] <= fixed]
    gone = {row["corrects"] for row in known if row["corrects"] != row["id"]}
    left = [row for row in known if row["row"] == key and row["id"] not in gone]
    decides = max(left, key=lambda row: (row["at"], row["_arrived"], row["id"]), default=None)
    return 0.0 if decides is None else float(decides["value"])


@given(outcomes(), st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), min_size=1, max_size=6))
def test_corrected_outcomes_decide_until_their_correction_arrives(
    rows: list[dict[str, Any]], asked: list[tuple[str, int]]
) -> None:
    times = {"at": pl.Int64, "value": pl.Int64, "_arrived": pl.Int64}
    texts = {"id": pl.String, "row": pl.String, "corrects": pl.String}
    frame = pl.DataFrame(rows, schema=texts | times)
    spine = pl.DataFrame(
        {"row": [key for key, _ in asked], "_t": [t for _, t in asked], "_known_at": [t for _, t in asked]}
    ).with_columns(pl.col("row").alias("_key"))
    label = Label("outcomes", horizon=HORIZON, key="row", value=col("value"), absent=0)

    found = attach_labels(spine, label, OUTCOMES, frame, as_of=NOW)

    assert found.values.to_list() == [naive(rows, key, t + HORIZON) for key, t in asked]
