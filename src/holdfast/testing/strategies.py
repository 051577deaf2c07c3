"""Hypothesis strategies for events, spines and views that crowd the edges of windows.

Times lie on a coarse lattice, a microsecond off at most, so ties, events exactly at an edge and equal
arrivals are common; values reach the fixed-point limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from hypothesis import strategies as st

from holdfast.events.entity import Entity
from holdfast.events.source import ARRIVED, BATCH
from holdfast.features.aggregate import AGGREGATES
from holdfast.features.view import Feature, Measure, View, is_text
from holdfast.features.window import ALWAYS, Window
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.schema import FIXED_POINT_LIMIT, Column, Schema
from holdfast.kernel.time import DAY, HOUR, MINUTE, SECOND

PAYMENT = Schema(
    "Payment",
    (
        Column("tx_id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("card_id", "string", nullable=True),
        Column("shop", "int", nullable=True),
        Column("amount", "decimal", nullable=True, scale=2),
        Column("rate", "float", nullable=True, scale=5),
        Column("items", "int"),
        Column("weight", "float", nullable=True),
        Column("country", "string", nullable=True),
        Column("online", "bool"),
    ),
)
"""The schema that the strategies draw rows of: every column type, and every kind of aggregate."""
NAMELESS = Schema("Nameless", tuple(column for column in PAYMENT.columns if column.role != "event_id"))
"""The same without an event id, as a table may be."""

CARD = Entity("card", ("card_id",))
AT_SHOP = Entity("card at shop", ("card_id", "shop"))
ALL = Entity("all", ())

STEP = 10 * SECOND

_DTYPES: dict[str, Any] = {
    "string": pl.String,
    "int": pl.Int64,
    "float": pl.Float64,
    "decimal": pl.Int64,
    "bool": pl.Boolean,
    "time": pl.Int64,
}

FILTERS: tuple[Expr, ...] = (
    Expr("ge", (col("amount"), const(1.5))),
    Expr("isin", (col("country"),), (("AT", "DE"),)),
    Expr("not", (col("online"),)),
    Expr("is_missing", (col("amount"),)),
    Expr("or", (Expr("lt", (col("items"), const(0))), Expr("gt", (col("rate"), const(0.5))))),
)
"""Filters over `PAYMENT`, missing truth values among them."""


def instants() -> st.SearchStrategy[int]:
    """Instants on a coarse lattice around the epoch, or a microsecond beside it."""
    return st.builds(
        lambda step, beside: step * STEP + beside, st.integers(-4, 9), st.sampled_from((0, 0, 0, -1, 1))
    )


def windows() -> st.SearchStrategy[Window]:
    """Windows from one microsecond to a day, with and without offset and hop."""
    return st.builds(
        Window,
        over=st.sampled_from((1, STEP, 2 * STEP, 3 * STEP, MINUTE, MINUTE, HOUR, DAY)),
        offset=st.sampled_from((0, 0, 1, STEP, 90 * SECOND)),
        hop=st.sampled_from((0, 0, 1, 7 * SECOND, STEP, MINUTE, HOUR)),
    )


def fixed_point_values() -> st.SearchStrategy[int]:
    """Stored values of a summed column: small, any, and at the limit."""
    return st.one_of(
        st.integers(-3, 3),
        st.integers(-FIXED_POINT_LIMIT, FIXED_POINT_LIMIT),
        st.sampled_from((-FIXED_POINT_LIMIT, FIXED_POINT_LIMIT, FIXED_POINT_LIMIT - 1)),
    )


@st.composite
def event_rows(draw: st.DrawFn, max_size: int = 16) -> list[dict[str, Any]]:
    """Draw events of `PAYMENT` as the lake stores them: late ones, retries, nulls, ties."""
    delays = st.sampled_from((0, 0, 0, 1, STEP, STEP, 3 * STEP, 30 * DAY, -STEP))
    content: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {
            "at": instants(),
            "card_id": st.sampled_from(("a", "a", "a", "a", "a", "b", None)),
            "shop": st.sampled_from((1, 1, 1, 2, None)),
            "amount": st.none() | fixed_point_values(),
            "rate": st.none() | fixed_point_values(),
            "items": fixed_point_values(),
            "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "country": st.sampled_from(("AT", "DE", "FR", None)),
            "online": st.booleans(),
            BATCH: st.integers(1, 4),
        }
    )
    rows: list[dict[str, Any]] = []
    least = draw(st.sampled_from((0, max_size // 2)))  # small lists shrink well, long ones find more
    for number, row in enumerate(draw(st.lists(content, min_size=least, max_size=max_size))):
        rows.append({"tx_id": f"e{number}", **row, ARRIVED: row["at"] + draw(delays)})
    for number, row in enumerate(draw(st.lists(st.sampled_from(rows), max_size=3)) if rows else []):
        rows.append({**row, "tx_id": f"again{number}", ARRIVED: row[ARRIVED] + draw(delays)})
    return rows


@st.composite
def spine_rows(draw: st.DrawFn, max_size: int = 8) -> list[dict[str, Any]]:
    """Draw spine rows: keys seen, unseen and missing; known at t, before and after it."""
    known = st.sampled_from((0, 0, 0, 1, -1, STEP, -STEP, -3 * STEP, 60 * DAY))
    least = draw(st.sampled_from((0, max_size // 2)))
    row: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {
            "card_id": st.sampled_from(("a", "a", "a", "a", "b", "never", None)),
            "shop": st.sampled_from((1, 2, 3, None)),
            "_t": instants(),
        }
    )
    return [
        {**r, "_known_at": r["_t"] + draw(known)}
        for r in draw(st.lists(row, min_size=least, max_size=max_size))
    ]


@st.composite
def measures(draw: st.DrawFn, filtered: bool = True) -> Measure:
    """Draw a measure of `PAYMENT`, of any aggregate and a column it accepts; its name says nothing."""
    aggregate = draw(st.sampled_from(sorted(AGGREGATES)))
    numbers = ("amount", "rate", "items", "online")
    columns: dict[str, tuple[str | None, ...]] = {
        "count": (None, None, "country", "amount", "weight"),
        "min": (*numbers, "weight", "at"),
        "max": (*numbers, "weight", "at"),
        "first": (*numbers, "weight", "country"),
        "last": (*numbers, "weight", "country"),
        "distinct": (*numbers, "weight", "country", "at"),
        "as_of": (*numbers, "weight", "country"),
        "time_since_last": (None,),
    }
    always = st.sampled_from((Window(ALWAYS, 0, ALWAYS), Window(ALWAYS, -1, ALWAYS)))
    return Measure(
        "measure",
        aggregate,  # type: ignore[arg-type]
        draw(windows() | always if aggregate == "as_of" else windows()),
        draw(st.sampled_from(columns.get(aggregate, numbers))),
        draw(st.sampled_from((None, None, None, *FILTERS))) if filtered else None,
    )


@st.composite
def views(draw: st.DrawFn, source: str = "payments", filtered: bool = True) -> tuple[View, ...]:
    """Draw one or two views of a source, for a card, for a card at a shop, or for all of them."""
    entities = draw(st.sampled_from(((CARD,), (AT_SHOP,), (CARD, AT_SHOP), (CARD, ALL))))
    drawn: list[View] = []
    for entity in entities:
        found = draw(st.lists(measures(filtered), min_size=1, max_size=8))
        named = tuple(
            Measure(f"{entity.name} {i}", m.aggregate, m.window, m.column, m.where)
            for i, m in enumerate(found)
        )
        drawn.append(View(entity.name, source, entity, named))
    return tuple(drawn)


def readable(found: Sequence[View]) -> tuple[tuple[Feature, ...], dict[str, tuple[str, ...]]]:
    """Return features that read each measure of views of `PAYMENT`, and vocabularies of the texts."""
    every = [measure for view in found for measure in view.measures]
    texts = [measure.name for measure in every if is_text(measure, PAYMENT)]
    features: list[Feature] = []
    for name in (measure.name for measure in every):
        if name not in texts:
            features.append(Feature(f"same {name}", col(name)))
            continue
        features += [
            Feature(f"code {name}", Expr("code", (col(name),)), "categorical"),
            Feature(f"german {name}", Expr("isin", (col(name),), (("DE",),))),
            Feature(f"not french {name}", Expr("ne", (col(name), const("FR")))),
            Feature(f"missing {name}", Expr("is_missing", (col(name),))),
        ]
    return tuple(features), dict.fromkeys(texts, ("AT", "DE"))


def event_frame(rows: Sequence[Mapping[str, Any]], schema: Schema = PAYMENT) -> pl.DataFrame:
    """Return rows of stored values as the lake gives them: times as Datetime, decimals as int64."""
    dtypes = {c.name: pl.Int64 if c.is_fixed_point else _DTYPES[c.type] for c in schema.columns}
    frame = pl.DataFrame(list(rows), schema={**dtypes, ARRIVED: pl.Int64, BATCH: pl.Int64})
    times = [c.name for c in schema.columns if c.type == "time"]
    return frame.with_columns(pl.col(name).cast(pl.Datetime("us", "UTC")) for name in times)


def spine_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return spine rows as a frame."""
    dtypes = {"card_id": pl.String, "shop": pl.Int64, "_t": pl.Int64, "_known_at": pl.Int64}
    return pl.DataFrame(list(rows), schema=dtypes)
