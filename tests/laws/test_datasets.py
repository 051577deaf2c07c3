"""Laws of datasets: what is learnt too late changes nothing, and every row has one place."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from holdfast.datasets.build import build
from holdfast.datasets.label import Label, attach_labels
from holdfast.datasets.snapshot import Snapshot, verify
from holdfast.datasets.spine import Grid, event_spine, grid_spine
from holdfast.datasets.split import PARTS, TimeSplit, resolve
from holdfast.events.entity import Entity
from holdfast.events.source import Source
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import ContractError
from holdfast.kernel.expr import Expr, col
from holdfast.kernel.schema import Column, Schema

SALES = Source(
    "sales",
    Schema(
        "Sale",
        (
            Column("id", "string", role="event_id"),
            Column("at", "time", role="event_time"),
            Column("card", "string"),
            Column("cents", "decimal", scale=2, ge=0, le=1000),
            Column("country", "string", nullable=True),
        ),
    ),
)
REPORTS = Source(
    "reports",
    Schema(
        "Report",
        (
            Column("report", "string", role="event_id"),
            Column("id", "string"),
            Column("at", "time", role="event_time"),
            Column("card", "string"),
            Column("lost", "int", nullable=True, ge=0, le=1000),
        ),
    ),
)
CARD = Entity("card", ("card",))
VIEWS = (
    View(
        "own", "sales", CARD,
        (Measure("spent", "sum", Window(20), "cents"), Measure("last", "max", Window(90, 0, 10), "cents")),
    ),
    View("risk", "reports", CARD, (Measure("reported", "count", Window(50, 10, 5)),)),
)  # fmt: skip
PLAN = FeaturePlan(
    FeatureSet(
        "f",
        "sales",
        (
            Feature("country", Expr("code", (col("country"),)), "categorical"),
            Feature("share", Expr("div", (col("cents"), col("spent")))),
            Feature("last", col("last")),
            Feature("reported", col("reported")),
        ),
        ("own", "risk"),
    ),
    SALES.schema,
    VIEWS,
    {"sales": SALES.schema, "reports": REPORTS.schema},
)
HORIZON = 30
SPAN = 400
SPLIT = TimeSplit(test=60, validation=60)


@dataclass(frozen=True)
class World:
    """Sales one to a few instants apart, and reports about some of them."""

    sales: pl.DataFrame
    reports: pl.DataFrame


def sales_frame(rows: list[tuple[str, int, int, str, int, str | None]]) -> pl.DataFrame:
    names = ("id", "at", "_arrived", "card", "cents", "country")
    schema = {name: pl.Int64 if name in ("at", "_arrived", "cents") else pl.String for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.lit("column").alias("_basis"))


def reports_frame(rows: list[tuple[str, str, int, int, str, int | None]]) -> pl.DataFrame:
    names = ("report", "id", "at", "_arrived", "card", "lost")
    schema = {name: pl.Int64 if name in ("at", "_arrived", "lost") else pl.String for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.lit("column").alias("_basis"))


def world_of(seed: int, steps: tuple[int, ...]) -> World:
    """Draw a world; the choices are few, so that instants and limits often coincide."""
    draws = np.random.default_rng(seed)

    def one_of(*choices: Any) -> Any:
        return choices[draws.integers(len(choices))]

    sales, reports = [], []
    at = 0
    while at < SPAN:
        name, card = f"s{len(sales):03d}", one_of("a", "b", "c")
        cents, country = int(draws.integers(1, 999)), one_of("PT", "ES", None)
        sales.append((name, at, at + one_of(0, 0, 3, 40), card, cents, country))
        for index in range(one_of(0, 0, 0, 1, 2, 3)):
            happened = at + one_of(-1, 0, 0, 2)
            told = max(happened, at + one_of(1, 10, 29, 30, 31, 50))
            reports.append((f"{name}/{index}", name, happened, told, card, one_of(None, 0, 1, 5)))
        at += one_of(*steps)
    return World(sales_frame(sales), reports_frame(reports))


def worlds() -> st.SearchStrategy[World]:
    return st.builds(world_of, st.integers(0, 2**32), st.sampled_from([(0, 3, 6, 9), (8,), (0, 0, 0, 9)]))


class Tables:
    """Two tables of one version each, as a versioned reader."""

    def __init__(self, world: World) -> None:
        self._tables = {"sales": world.sales, "reports": world.reports}

    def version(self, table: str) -> int | None:
        return 0 if table in self._tables else None

    def read(
        self, table: str, columns: object = None, *, where: pl.Expr | None = None, version: int | None = None
    ) -> pl.DataFrame:
        assert version == 0, "a build reads fixed versions only"
        frame = self._tables[table] if where is None else self._tables[table].filter(where)
        return frame if columns is None else frame.select(columns)  # type: ignore[call-overload, no-any-return]


LABELS = st.sampled_from(
    [
        Label("reports", HORIZON, "id", absent=0),
        Label("reports", HORIZON, "id", value=col("lost"), absent=0),
        Label("reports", HORIZON, "card", window=Measure("n", "sum", Window(25), "lost")),
        Label("sales", HORIZON, "card", window=Measure("next", "max", Window(30, 0, 10), "cents"), absent=-1),
    ]
)


def built(world: World, label: Label, as_of: int | None = None) -> Snapshot:
    sources = {"sales": SALES, "reports": REPORTS}
    return build(
        "m", PLAN, label, SALES, sources, SPLIT, Tables(world), project="p", as_of=as_of, keep=["cents"]
    )


def more_of(frame: pl.DataFrame, name: str, arrived: int, seed: int) -> pl.DataFrame:
    """The frame with copies of its rows under new ids, at other times, all arriving from an instant on."""
    draws = np.random.default_rng(seed)
    late = frame.with_columns(
        ("late-" + pl.col(name)).alias(name),
        pl.Series("at", draws.integers(-10, SPAN + 200, frame.height)),
        pl.Series("_arrived", arrived + draws.integers(0, 50, frame.height)),
    )
    return pl.concat([frame, late])


@given(worlds(), LABELS, st.integers(250, SPAN + 100), st.integers(0, 99))
def test_events_that_arrive_after_the_instant_of_knowledge_change_nothing(
    world: World, label: Label, as_of: int, seed: int
) -> None:
    later = World(
        more_of(world.sales, "id", as_of + 1, seed), more_of(world.reports, "report", as_of + 1, seed)
    )

    before, after = built(world, label, as_of), built(later, label, as_of)

    assert after.content == before.content
    assert after.recipe == before.recipe
    assert after.profile == before.profile
    assert after.id == before.id


@given(worlds(), LABELS, st.integers(0, 99))
def test_order_of_rows_in_the_lake_changes_nothing(world: World, label: Label, seed: int) -> None:
    shuffled = World(
        world.sales.sample(fraction=1, shuffle=True, seed=seed),
        world.reports.sample(fraction=1, shuffle=True, seed=seed),
    )

    assert built(shuffled, label).id == built(world, label).id


@given(worlds(), LABELS)
def test_every_mature_row_lands_in_exactly_one_part(world: World, label: Label) -> None:
    snapshot = built(world, label)

    counts, frame, limits = snapshot.recipe.counts, snapshot.frame, snapshot.recipe.boundaries
    fates = ("immature", "unlabelled", "censored", *PARTS)
    assert sum(counts[fate] for fate in fates) == counts["spine"] == world.sales.height
    assert frame["_key"].is_unique().all()
    for part in PARTS:
        low, high = limits.interval(part)
        assert counts[part] == frame.filter(pl.col("_part") == part).height
        assert counts[part] == frame.filter(pl.col("_t").is_between(low, high, closed="left")).height
    mature = set(world.sales.filter(pl.col("at") + HORIZON <= snapshot.recipe.as_of)["id"])
    assert mature >= set(frame["_key"])
    assert counts["immature"] == world.sales.height - len(mature)
    verify(snapshot)


@given(worlds(), LABELS)
def test_no_training_label_is_known_later_than_the_start_of_the_test(world: World, label: Label) -> None:
    snapshot = built(world, label)

    learnt = snapshot.frame.filter(pl.col("_part").is_in(["train", "validation"]))
    assert (learnt["_t"] + HORIZON <= snapshot.recipe.boundaries.test_start).all()


@given(
    st.lists(st.integers(0, 10_000), min_size=3, max_size=60),
    st.integers(0, 300),
    st.none() | st.integers(1, 3000),
    st.none() | st.integers(1, 2000),
)
def test_split_that_resolves_keeps_labels_before_the_test_and_parts_filled(
    times: list[int], horizon: int, test: int | None, validation: int | None
) -> None:
    t = np.array(times, dtype=np.int64)
    try:
        found = resolve(TimeSplit(test, validation), t, horizon)
    except ContractError:
        return

    parts = [found.part_of(at) for at in times]
    assert {"train", "validation", "test"} <= set(parts)
    assert all(found.start <= at < found.end for at in times)
    assert all(
        at + horizon <= found.test_start for at, part in zip(times, parts, strict=True) if part == "train"
    )


@given(worlds(), LABELS.filter(lambda label: label.source == "reports"), st.integers(0, 99))
def test_outcome_that_arrives_after_the_label_is_fixed_never_changes_it(
    world: World, label: Label, seed: int
) -> None:
    spine = event_spine(SALES, world.sales)
    # New outcomes of each sale (and so of its card), each arriving after every label of that sale's time.
    late = pl.concat(
        [
            world.reports,
            world.sales.select(
                ("late-" + pl.col("id")).alias("report"),
                "id",
                "at",
                (pl.lit(SPAN + HORIZON + 20) + seed).cast(pl.Int64).alias("_arrived"),
                "card",
                pl.lit(7, pl.Int64).alias("lost"),
                "_basis",
            ),
        ]
    )

    before = attach_labels(spine, label, REPORTS, world.reports, as_of=2 * SPAN)
    after = attach_labels(spine, label, REPORTS, late, as_of=2 * SPAN)

    assert after.values.equals(before.values)
    assert after.fates.equals(before.fates)
    assert (after.late | ~before.late).all()


@given(worlds(), st.integers(SPAN // 2, SPAN + 100), st.sampled_from([None, 0.0]))
def test_keyed_labels_are_what_a_reader_of_the_events_would_say(
    world: World, as_of: int, absent: float | None
) -> None:
    label = Label("reports", HORIZON, "id", value=col("lost"), absent=absent)
    spine = event_spine(SALES, world.sales.filter(pl.col("_arrived") <= as_of))

    found = attach_labels(spine, label, REPORTS, world.reports, as_of=as_of)

    reports = world.reports.rows(named=True)
    for row, value, fate, late in zip(
        spine.rows(named=True), found.values, found.fates, found.late.tolist(), strict=True
    ):
        fixed = row["at"] + HORIZON
        own = [r for r in reports if r["id"] == row["id"] and r["_arrived"] <= as_of]
        known = [r for r in own if r["_arrived"] <= fixed]
        latest = max(known, key=lambda r: (r["at"], r["_arrived"], r["report"]), default=None)
        expected = absent if latest is None else latest["lost"]
        if fixed > as_of:
            assert (value, fate, late) == (None, "immature", False)
        else:
            assert value == expected
            assert fate == ("unlabelled" if expected is None else "labelled")
            assert late == (len(known) < len(own))


@given(worlds(), st.booleans(), st.sampled_from([7, 20, 64]), st.integers(0, 150), st.integers(150, 450))
def test_grid_rows_are_what_a_reader_of_the_events_would_say(
    world: World, include_zero: bool, every: int, start: int, end: int
) -> None:
    grid = Grid("g", "sales", (CARD,), every, include_zero)

    rows = grid_spine(grid, SALES, world.sales, start, end)

    seen = world.sales.select("card", "at", "_arrived").rows()
    expected = [
        (card, t)
        for card in sorted(set(world.sales["card"]))
        for t in range(-(-start // every) * every, end, every)
        if any(
            (c, include_zero or at >= t - every) == (card, True) and at < t and arrived <= t
            for c, at, arrived in seen
        )
    ]
    assert rows.select("card", "_t").rows() == expected
    assert rows["_key"].is_unique().all()


@given(worlds(), LABELS)
def test_what_is_learnt_later_is_another_dataset_with_another_name(world: World, label: Label) -> None:
    snapshot = built(world, label)

    later = built(world, label, snapshot.recipe.as_of + 1)

    assert later.id != snapshot.id
