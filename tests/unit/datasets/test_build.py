"""The verb: from the lake's rows to a named dataset."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from holdfast.datasets.build import build
from holdfast.datasets.label import Label
from holdfast.datasets.snapshot import Snapshot, verify
from holdfast.datasets.spine import Grid
from holdfast.datasets.split import TimeSplit
from holdfast.events.entity import Entity
from holdfast.events.source import Source
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import ContractError, DeterminismError, NotFoundError
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.ids import canonical_json, fingerprint, from_data, to_data
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR
from holdfast.testing.lake import MemoryLake

TRANSACTIONS = Source(
    "transactions",
    Schema(
        "Transaction",
        (
            Column("tx_id", "string", role="event_id"),
            Column("at", "time", role="event_time"),
            Column("card_id", "string"),
            Column("amount", "decimal", scale=2, ge=0, le=1000),
            Column("country", "string", nullable=True),
        ),
    ),
)
CHARGEBACKS = Source(
    "chargebacks",
    Schema(
        "Chargeback",
        (
            Column("tx_id", "string", role="event_id"),
            Column("at", "time", role="event_time"),
            Column("reported_at", "time", role="arrival_time"),
            Column("card_id", "string"),
        ),
    ),
)
SOURCES = {"transactions": TRANSACTIONS, "chargebacks": CHARGEBACKS}
CARD = Entity("card", ("card_id",))
SPEND = View(
    "spend",
    "transactions",
    CARD,
    (
        Measure("spend_2d", "sum", Window(2 * DAY, 0, HOUR), "amount"),
        Measure("count_1d", "count", Window(DAY, 0, HOUR)),
    ),
)
PLAN = FeaturePlan(
    FeatureSet(
        "f",
        "transactions",
        (
            Feature("amount", col("amount")),
            Feature("country", Expr("code", (col("country"),)), "categorical"),
            Feature("spend_2d", col("spend_2d")),
            Feature("count_1d", col("count_1d")),
        ),
        ("spend",),
    ),
    TRANSACTIONS.schema,
    (SPEND,),
    {"transactions": TRANSACTIONS.schema},
)
LABEL = Label("chargebacks", horizon=2 * DAY, key="tx_id", absent=0, censored_by="block")
SPLIT = TimeSplit(test=6 * DAY, validation=3 * DAY)
DAYS = 30
TIME = pl.Datetime("us", "UTC")
"""How the lake stores times."""


def transactions() -> pl.DataFrame:
    """One payment of each of three cards a day, for 30 days; ids count up."""
    times = [day * DAY + card * HOUR for day in range(DAYS) for card in range(3)]
    n = len(times)
    return pl.DataFrame(
        {
            "tx_id": [f"t{index:03d}" for index in range(n)],
            "at": times,
            "card_id": [f"c{index % 3}" for index in range(n)],
            "amount": [100 * (index % 7) + 25 for index in range(n)],
            "country": [["PT", "ES", "PT", None][index % 4] for index in range(n)],
            "_arrived": [at + HOUR for at in times],
            "_basis": ["assumed"] * n,
            "_batch": [1] * n,
            "_origin": [f"tx.csv:{index}" for index in range(n)],
        },
        schema_overrides={"at": TIME},
    )


def chargebacks(delay: int = DAY) -> pl.DataFrame:
    """Every fifth payment is reported a day later."""
    told = transactions().gather_every(5)
    return told.select(
        "tx_id",
        "at",
        (pl.col("at") + pl.duration(microseconds=delay)).alias("reported_at"),
        "card_id",
        (pl.col("at").to_physical() + delay).alias("_arrived"),
        pl.lit("column").alias("_basis"),
        "_batch",
        "_origin",
    )


def lake_of(tx: pl.DataFrame | None = None, cb: pl.DataFrame | None = None) -> MemoryLake:
    lake = MemoryLake()
    lake.append("transactions", transactions() if tx is None else tx, app="load", batch=1)
    lake.append("chargebacks", chargebacks() if cb is None else cb, app="load", batch=1)
    return lake


def fraud(lake: MemoryLake | None = None, **how: Any) -> Snapshot:
    made: dict[str, Any] = {
        "model": "fraud",
        "plan": PLAN,
        "label": LABEL,
        "spine": TRANSACTIONS,
        "sources": SOURCES,
        "split": SPLIT,
        "lake": lake_of() if lake is None else lake,
        "project": "p0",
    }
    return build(**(made | how))


def test_rows_are_in_order_of_time_with_their_columns() -> None:
    frame = fraud().frame

    assert frame.columns == [
        "_key", "_t", "_known_at", "row.card_id",
        "amount", "country", "spend_2d", "count_1d", "_label", "_weight", "_part",
    ]  # fmt: skip
    assert frame["_key"].to_list() == sorted(frame["_key"].to_list())
    assert frame["_weight"].unique().to_list() == [1.0]
    assert (frame["_known_at"] - frame["_t"]).unique().to_list() == [HOUR]


def test_features_are_as_known_at_each_row() -> None:
    row = fraud().frame.row(by_predicate=pl.col("_key") == "t013", named=True)

    assert row["amount"] == 100 * (13 % 7) / 100 + 0.25
    assert row["spend_2d"] == sum(100 * (index % 7) + 25 for index in (7, 10)) / 100
    assert row["count_1d"] == 1.0


def test_recipe_counts_every_row_of_the_spine_once() -> None:
    found = fraud().recipe

    parts = sum(found.counts[part] for part in ("train", "validation", "gap", "test"))
    # Known at the last arrival, 29 d 3 h: rows up to 27 d 3 h are mature.
    assert found.as_of == 29 * DAY + 3 * HOUR
    assert found.counts["spine"] == 90
    assert found.counts["immature"] == 6
    assert found.counts["immature"] + parts == 90
    assert found.counts["unlabelled"] == found.counts["censored"] == found.counts["late_labels"] == 0
    assert found.tables == {"transactions": 0, "chargebacks": 0}
    assert found.arrival_basis == {"transactions": {"assumed": 90}, "chargebacks": {"column": 18}}


def test_rows_before_a_declared_training_part_are_counted_and_left_out() -> None:
    everything = fraud()

    short = fraud(split=replace(SPLIT, train=5 * DAY))

    begin = short.recipe.boundaries.start
    assert begin == short.recipe.boundaries.train_end - 5 * DAY
    expected = everything.frame.filter(pl.col("_t") >= begin)
    assert short.frame.equals(expected)
    assert short.recipe.counts["earlier"] == everything.frame.height - expected.height > 0


def test_test_rows_are_those_where_the_condition_is_true_as_known() -> None:
    everything = fraud()
    spent = Expr("gt", (col("spend_2d"), const(5.0)))

    measured = fraud(test_where=Expr("and", (spent, Expr("eq", (col("country"), const("PT"))))))

    vocabulary = everything.recipe.plan.vocabularies["country"]
    in_test = pl.col("_part") == "test"
    true = (pl.col("spend_2d") > 5) & (pl.col("country") == 1 + vocabulary.index("PT"))
    assert measured.frame.equals(everything.frame.filter(~in_test | true))
    left_out = everything.frame.filter(in_test & ~true).height
    assert measured.recipe.counts["untested"] == left_out > 0
    assert measured.id != everything.id
    verify(measured)


def test_condition_that_is_never_true_is_refused() -> None:
    problem = refused(test_where=Expr("gt", (col("spend_2d"), const(1e6)))).problem

    assert problem.at == "test_where"
    assert "none of 18 rows" in problem.message


def test_parts_follow_the_boundaries() -> None:
    snapshot = fraud()

    limits = snapshot.recipe.boundaries
    assert [limits.part_of(at) for at in snapshot.frame["_t"]] == snapshot.frame["_part"].to_list()
    assert limits.test_start - limits.validation_end == LABEL.horizon


def test_labels_are_outcomes_that_arrived_in_time() -> None:
    frame = fraud().frame

    reported = set(chargebacks()["tx_id"])
    assert dict(frame.select("_key", "_label").rows()) == {
        key: float(key in reported) for key in frame["_key"]
    }


def test_late_outcomes_are_counted_and_not_used() -> None:
    snapshot = fraud(lake_of(cb=chargebacks(3 * DAY)))

    assert snapshot.frame["_label"].sum() == 0
    assert snapshot.recipe.counts["late_labels"] == 18


def test_blocked_rows_are_left_out() -> None:
    decisions = pl.DataFrame({"_key": ["t000", "t001", "t050"], "decision": ["block", "allow", "block"]})

    snapshot = fraud(decisions=decisions)

    assert snapshot.recipe.counts["censored"] == 2
    assert {"t000", "t050"}.isdisjoint(snapshot.frame["_key"].to_list())
    assert "t001" in snapshot.frame["_key"].to_list()


def test_vocabulary_is_fitted_on_the_training_part_only() -> None:
    tx = transactions().with_columns(
        pl.when(pl.col("at").to_physical() < 16 * DAY + 3 * HOUR)
        .then("country")
        .otherwise(pl.lit("XX"))
        .alias("country")
    )

    snapshot = fraud(lake_of(tx))

    assert snapshot.recipe.plan.vocabularies == {"country": ("PT", "ES")}
    assert PLAN.vocabularies == {}
    codes = dict(snapshot.frame.select("_key", "country").rows())
    assert [codes["t000"], codes["t001"], codes["t080"]] == [1.0, 2.0, 0.0]


def test_profile_describes_the_training_part() -> None:
    snapshot = fraud()

    train = snapshot.frame.filter(pl.col("_part") == "train")
    assert snapshot.profile.rows == train.height == snapshot.recipe.counts["train"]
    assert [column.name for column in snapshot.profile.columns] == list(PLAN.names)
    assert snapshot.profile.label_mean == train["_label"].mean()


def test_kept_columns_are_in_their_own_unit() -> None:
    frame = fraud(keys=["card_id"], keep=["amount", "at", "country", "card_id"]).frame

    assert [name for name in frame.columns if name.startswith("row.")] == [
        "row.card_id",
        "row.amount",
        "row.at",
        "row.country",
    ]
    assert frame["row.amount"].to_list() == frame["amount"].to_list()
    assert frame["row.at"].to_list() == frame["_t"].to_list()


def test_same_inputs_give_the_same_name_and_other_recipes_others() -> None:
    first = fraud()

    assert fraud().id == first.id
    assert first.id.startswith("d-")
    others = [
        fraud(as_of=first.recipe.as_of - 1),
        fraud(project="p1"),
        fraud(model="other"),
        fraud(label=replace(LABEL, absent=-1)),
        fraud(split=replace(SPLIT, gap=DAY)),
        fraud(keep=["amount"]),
    ]
    assert len({first.id, *(other.id for other in others)}) == 7


def test_recipe_survives_its_stored_text() -> None:
    snapshot = fraud()

    again = from_data(type(snapshot.recipe), to_data(snapshot.recipe))
    assert canonical_json(again) == canonical_json(snapshot.recipe)
    verify(replace(snapshot, recipe=again))


def test_name_of_a_recipe_without_condition_and_forecast_is_that_of_recipes_that_knew_none() -> None:
    snapshot = fraud()
    recipe = to_data(snapshot.recipe)

    assert [recipe.pop(name) for name in ("test_where", "grid", "forecast")] == [None, None, None]
    assert snapshot.id == f"d-{fingerprint({'recipe': recipe, 'content': snapshot.content})}"


def test_altered_rows_or_recipe_are_noticed() -> None:
    snapshot = fraud()

    with pytest.raises(DeterminismError, match="have content"):
        verify(replace(snapshot, frame=snapshot.frame.with_columns(pl.lit(2.0).alias("_weight"))))
    with pytest.raises(DeterminismError, match="have the name"):
        verify(replace(snapshot, recipe=replace(snapshot.recipe, as_of=0)))


def test_versions_are_fixed_before_anything_is_read() -> None:
    class Busy(MemoryLake):
        """Somebody else appends before every read."""

        def read(self, table: str, *args: Any, **kwargs: Any) -> pl.DataFrame:
            more = transactions().head(1).with_columns(pl.lit("zz").alias("tx_id"))
            self.append("transactions", more, app="busy", batch=(self.version("transactions") or 0) + 1)
            return super().read(table, *args, **kwargs)

    lake = Busy()
    lake.append("transactions", transactions(), app="load", batch=1)
    lake.append("chargebacks", chargebacks(), app="load", batch=1)

    assert fraud(lake).id == fraud().id


def test_recipe_builds_the_same_snapshot_again_after_the_lake_has_grown() -> None:
    lake = lake_of()
    first = fraud(lake)
    more = (
        transactions()
        .head(1)
        .with_columns(pl.lit("t999").alias("tx_id"), pl.lit(0, pl.Int64).alias("_arrived"))
    )
    lake.append("transactions", more, app="load", batch=2)

    again = fraud(lake, versions=first.recipe.tables, as_of=first.recipe.as_of)

    assert again.id == first.id
    assert fraud(lake, as_of=first.recipe.as_of).id != first.id


def test_grid_with_a_label_over_the_days_after() -> None:
    grid = Grid("daily", "transactions", (CARD,), DAY)
    measure = Measure("spent_next_2d", "sum", Window(2 * DAY, 0, HOUR), "amount")
    plan = replace(
        PLAN,
        features=FeatureSet("g", "daily", (Feature("spend_2d", col("spend_2d")),), ("spend",)),
        schema=grid.schema(TRANSACTIONS.schema),
    )

    snapshot = fraud(
        plan=plan, label=Label("transactions", horizon=3 * DAY, window=measure), spine=grid, split=SPLIT
    )

    frame = snapshot.frame
    assert frame.columns[:4] == ["_key", "_t", "_known_at", "row.card_id"]
    assert frame["_key"][0] == "c0|1970-01-02T00:00:00Z"
    assert (frame["_t"] % DAY).sum() == 0
    # What the label of a row says is what the feature of the same card says two days later.
    spent = dict(zip(zip(frame["row.card_id"], frame["_t"], strict=True), frame["spend_2d"], strict=True))
    compared = [
        (label, spent[card, at + 2 * DAY])
        for card, at, label in frame.select("row.card_id", "_t", "_label").rows()
        if (card, at + 2 * DAY) in spent
    ]
    assert len(compared) > 50
    assert all(label == feature for label, feature in compared)


def test_progress_is_told_and_finished_even_after_an_error() -> None:
    class Told:
        def __init__(self) -> None:
            self.said: list[object] = []

        def start(self, label: str, total: int | None) -> None:
            self.said.append((label, total))

        def advance(self, units: int) -> None:
            self.said.append(units)

        def finish(self) -> None:
            self.said.append("finished")

    good, bad = Told(), Told()
    fraud(progress=good)
    with pytest.raises(ContractError):
        fraud(as_of=0, progress=bad)

    assert good.said == [("dataset for `fraud`", 4), 1, 1, 1, 1, "finished"]
    assert bad.said[-1] == "finished"


def refused(**how: Any) -> ContractError:
    with pytest.raises(ContractError) as caught:
        fraud(**how)
    return caught.value


def test_table_that_does_not_exist_is_named() -> None:
    lake = MemoryLake()
    lake.append("transactions", transactions(), app="load", batch=1)

    error = refused(lake=lake)

    assert (error.code, error.hint) == ("HF212", "ingest events of `chargebacks` first")


def test_empty_tables_are_refused() -> None:
    error = refused(lake=lake_of(transactions().head(0), chargebacks().head(0)))

    assert error.code == "HF212"
    assert "hold no events" in str(error)


def test_nothing_known_yet_is_refused() -> None:
    assert "no row to train on was known at 1970-01-01T00:00:00Z" in str(refused(as_of=0))


def test_nothing_mature_says_when_the_first_label_will_be() -> None:
    error = refused(as_of=DAY)

    assert error.code == "HF212"
    assert error.problem.has == ("immature 3", "censored 0", "unlabelled 0")
    assert error.hint == "labels are fixed after 2d: the first one at 1970-01-03T00:00:00Z"


def test_outcomes_that_join_no_row_say_what_would_label_them() -> None:
    cb = chargebacks().with_columns(("x" + pl.col("tx_id")).alias("tx_id"))

    error = refused(lake=lake_of(cb=cb), label=replace(LABEL, absent=None))

    assert "an `absent` value labels rows without outcome" in error.hint


def test_rows_that_share_time_and_id_are_refused() -> None:
    twice = pl.concat([transactions(), transactions().head(1)])

    assert refused(lake=lake_of(twice)).code == "HF210"


def test_unknown_source_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="there is no source `chargebacks`"):
        fraud(sources={"transactions": TRANSACTIONS})


def test_version_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="has no version 7"):
        fraud(versions={"transactions": 7})


def test_a_time_in_the_middle_of_the_data_is_told_that_a_later_one_would_do() -> None:
    error = refused(as_of=8 * DAY)

    assert error.code == "HF212"
    assert error.hint == (
        "--as-of 1970-01-09T00:00:00Z leaves out what arrived later, up to 1970-01-30T03:00:00Z; "
        "with it the rows can be split: give a later time, or none"
    )
    assert fraud(as_of=None).recipe.counts["test"] > 0


def test_a_time_in_the_middle_of_too_little_data_is_not_blamed() -> None:
    error = refused(as_of=8 * DAY, split=TimeSplit(test=60 * DAY, validation=3 * DAY))

    assert "--as-of" not in error.hint
