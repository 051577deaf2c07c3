"""The loop on a small fraud system: what each verb does, and what it refuses."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.unit.conftest import World, make_project

from holdfast.app import examples
from holdfast.app.predict import measure_performance
from holdfast.app.workspace import Workspace
from holdfast.events.source import ARRIVED
from holdfast.kernel.errors import ConflictError, HoldfastError, NotFoundError, RefusedError, UsageError
from holdfast.kernel.time import DAY
from holdfast.registry.version import ModelVersion
from holdfast.serving import predict as serving_predict
from holdfast.serving.ports import PREDICTIONS

BAD_GATE = ('hf.metric("auc") >= 0.5', 'hf.metric("auc") >= 0.999')


def records(world: World) -> pl.DataFrame:
    return world.open().wiring.lake.read(PREDICTIONS)


def newest_arrival(world: World) -> int:
    lake = world.open().wiring.lake
    return max(int(lake.read(name, [ARRIVED])[ARRIVED].max()) for name in ("transactions", "chargebacks"))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Standing:
    us: int

    def now_us(self) -> int:
        return self.us


def bundle_file(world: World, name: str) -> Path:
    (bundle,) = (world.folder / ".holdfast/bundles").glob("[0-9a-f]*")
    return bundle / name


def tamper(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")


# --- events -------------------------------------------------------------------------------------------


def test_every_row_of_every_file_is_accounted_for(built: World) -> None:
    report = built.open().ingest("transactions", built.folder / "events/from-0/transactions")

    assert report.adds_up
    assert report.now.rows == 0
    assert report.before.rows == report.before.stored + report.before.duplicates + report.before.refused


def test_lake_holds_the_good_rows_and_the_quarantine_the_others(built: World) -> None:
    workspace = built.open()

    assert workspace.wiring.lake.read("transactions", ["_batch"]).height == built.transactions
    assert workspace.wiring.lake.read("chargebacks", ["_batch"]).height == built.chargebacks
    reasons = Counter(row["code"] for row in workspace.quarantine(limit=1000))
    assert {"HF201", "HF203", "HF204", "HF205", "HF210"} <= set(reasons)


def test_quarantine_shows_one_source_and_no_more_than_asked(built: World) -> None:
    found = built.open().quarantine("chargebacks", limit=2)

    assert len(found) == 2
    assert {row["source"] for row in found} == {"chargebacks"}


# --- training and registry ----------------------------------------------------------------------------


def test_trained_version_is_registered_with_its_run_and_dataset(built: World) -> None:
    workspace = built.open()

    (listed,) = workspace.models("fraud")

    run = workspace.wiring.registry.find_run(listed.version.run)
    assert run is not None
    assert run.payload["seed"] == 7
    assert workspace.wiring.snapshots.load(listed.version.dataset).id == listed.version.dataset
    assert listed.aliases == ("champion",)
    assert listed.approvals == ("ana: gates green",)
    assert 0 < (listed.metrics["auc"] or 0) <= 1


def test_leakage_probe_accuses_no_feature_of_the_fraud_example(built: World) -> None:
    workspace = built.open()

    run = workspace.wiring.registry.find_run(workspace.models("fraud")[0].version.run)

    assert run is not None
    assert len(run.payload["alone"]) == 30
    assert run.payload["suspicions"] == []


def test_failed_gate_keeps_the_run_and_registers_nothing(world: World) -> None:
    world.edit(BAD_GATE)
    workspace = world.open()
    workspace.apply(by="eva")

    result = workspace.train("fraud", by="eva")

    assert result.version is None
    assert "auc >= 0.999" in result.message
    assert len(workspace.models("fraud")) == 1
    assert workspace.wiring.registry.find_run(result.run.id) is not None
    last = workspace.history().entries[-1]
    assert (last.action, last.subject) == ("train", result.run.id)
    assert last.reason.startswith("gates failed")


def test_second_training_is_compared_with_the_champion_on_the_same_rows(trained_again: World) -> None:
    run = trained_again.open().wiring.registry.list_runs("fraud")[-1].payload

    assert run["champion_name"] == "fraud@1"
    assert set(run["champion"]) == set(run["metrics"])
    relative = next(g for g in run["gates"] if g["gate"]["relative"])
    assert relative["outcome"] == "passed"
    assert relative["limit"] == pytest.approx(run["champion"]["average_precision"] - 0.5)


def test_champion_scores_the_test_part_by_its_own_features(world: World) -> None:
    world.edit(('        "night": x.at.hour() < 6,\n', ""))
    workspace = world.open()
    workspace.apply(by="eva")

    result = workspace.train("fraud", by="eva")

    assert result.version is not None
    assert len(result.run.importance) == 29
    assert result.run.champion is not None
    assert (result.run.champion["auc"] or 0) > 0.5


def test_same_seed_and_data_give_the_same_files(world: World) -> None:
    bundles = world.folder / ".holdfast/bundles"
    (first,) = bundles.glob("[0-9a-f]*")
    as_of = world.open().why(records(world)["prediction_id"][0]).dataset["as_of"]
    workspace = world.open()
    one = workspace.train("fraud", seed=7, by="eva", as_of=as_of)
    two = world.open().train("fraud", seed=7, by="eva", as_of=as_of)

    assert one.run.bundle is not None
    assert two.run.bundle is not None
    for name in ("model.txt", "features.json", "baseline.json"):
        contents = {(bundles / each / name).read_bytes() for each in (one.run.bundle, two.run.bundle)}
        assert len(contents) == 1, name
    assert (first / "model.txt").read_bytes() == (bundles / one.run.bundle / "model.txt").read_bytes()


def test_a_run_lasts_as_long_as_it_does_also_where_the_clock_of_the_project_stands_still(
    world: World,
) -> None:
    clock = Standing(newest_arrival(world) + DAY)

    run = Workspace(world.folder, clock=clock).train("fraud", seed=11, by="eva").run

    assert run.started_us == clock.us
    assert run.duration_us > 0


def test_dataset_is_the_one_that_training_uses(world: World) -> None:
    workspace = world.open()

    dataset = workspace.dataset("fraud")

    assert dataset.id == workspace.train("fraud", by="eva").run.dataset
    assert workspace.wiring.snapshots.load(dataset.id).frame.equals(dataset.frame)


def test_author_cannot_approve(rivals: World) -> None:
    with pytest.raises(RefusedError, match="`ana` is the author"):
        rivals.open().approve("fraud", 2, by="ana", reason="mine")


def test_nobody_approves_without_the_role(rivals: World) -> None:
    with pytest.raises(RefusedError, match="`eva` may not approve"):
        rivals.open().approve("fraud", 2, by="eva", reason="fine")


def test_unapproved_version_is_not_deployed(rivals: World) -> None:
    with pytest.raises(RefusedError) as caught:
        rivals.open().deploy("fraud", 2, by="ana")

    assert caught.value.code == "HF401"
    assert [v.aliases for v in rivals.open().models("fraud")] == [("champion",), ()]


def test_rejected_version_is_never_deployed(rivals: World) -> None:
    workspace = rivals.open()
    workspace.reject("fraud", 2, by="ana", reason="worse abroad")

    with pytest.raises(ConflictError) as caught:
        workspace.deploy("fraud", 2, by="ana")

    assert caught.value.code == "HF302"


def test_challenger_leaves_the_champion(rivals: World) -> None:
    workspace = rivals.open()
    workspace.approve("fraud", 2, by="ben", reason="fine")

    workspace.deploy("fraud", 2, by="ben", challenger=True)

    assert [v.aliases for v in workspace.models("fraud")] == [("champion",), ("challenger",)]
    assert workspace.predict("fraud", dry_run=True).version == 1


# --- prediction ---------------------------------------------------------------------------------------


def test_every_row_of_the_interval_is_answered_once(built: World) -> None:
    again = built.open().predict("fraud", since=built.since, until=built.until)

    assert again.predicted == 0
    assert again.repeated == again.rows == records(built).height > 500
    assert records(built)["prediction_id"].n_unique() == again.rows


def test_killed_prediction_is_resumed_and_no_row_is_answered_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = world.open()
    before = records(world).height
    monkeypatch.setattr(serving_predict, "CHUNK", 1000)
    append = workspace.wiring.lake.append
    calls = []

    def killed_after_the_first(*args: Any, **kwargs: Any) -> int:
        if calls:
            raise KeyboardInterrupt
        calls.append(args[0])
        return append(*args, **kwargs)

    monkeypatch.setattr(workspace.wiring.lake, "append", killed_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        workspace.predict("fraud", until=world.since)
    assert records(world).height == before + 1000

    report = world.open().predict("fraud", until=world.since)

    assert report.repeated == 1000
    assert report.predicted == report.rows - 1000
    stored = records(world)
    assert stored.height == before + report.rows
    assert stored.select("prediction_id", "version").is_duplicated().sum() == 0


def test_interval_may_be_open_at_both_ends(world: World) -> None:
    report = world.open().predict("fraud", dry_run=True)

    assert report.rows == world.transactions
    assert report.predicted == 0
    assert report.span is None


def test_interval_without_rows_says_when_they_are(built: World) -> None:
    report = built.open().predict("fraud", since="2030-01-01")

    newest = built.open().wiring.lake.read("transactions", ["at"])["at"].to_physical()
    assert (report.rows, report.span) == (0, (newest.min(), newest.max()))


def test_recommendations_are_listed_from_the_highest_band(built: World) -> None:
    predicted = built.open().predict("fraud", since=built.since, until=built.until)
    measured = built.open().performance("fraud", since=built.since, until=built.until)

    for found in (predicted.decisions, measured.by_decision):
        assert [name for name in ("block", "review", "allow") if name in found] == list(found)


def test_interval_is_half_open(world: World) -> None:
    stored = records(world).sort("t_us")
    first, last = stored["t_us"][0], stored["t_us"][-1]
    workspace = world.open()

    assert workspace.predict("fraud", since=first, until=last, dry_run=True).rows == stored.height - 1
    assert workspace.predict("fraud", since=last, until=last + 1, dry_run=True).rows == 1


def test_dry_run_writes_nothing(world: World) -> None:
    workspace = world.open()
    before = workspace.wiring.lake.version(PREDICTIONS)

    report = workspace.predict("fraud", dry_run=True)

    assert (report.predicted, report.first_id) == (0, None)
    assert workspace.wiring.lake.version(PREDICTIONS) == before


def test_answers_of_a_second_version_leave_those_of_the_first(rivals: World) -> None:
    before = records(rivals).sort("key")
    workspace = rivals.open()
    workspace.approve("fraud", 2, by="ben", reason="fine")
    workspace.deploy("fraud", 2, by="ben")

    report = workspace.predict("fraud", since=rivals.since, until=rivals.until)

    assert (report.version, report.repeated, report.predicted) == (2, 0, before.height)
    assert records(rivals).filter(pl.col("version") == 1).sort("key").equals(before)
    one = workspace.performance("fraud", version=1)
    two = workspace.performance("fraud", version=2)
    assert (one.predictions, two.predictions) == (before.height, before.height)
    assert one.metrics != two.metrics
    chosen = str(before["prediction_id"][0])
    assert workspace.why(chosen).answer["version"] == 2
    assert workspace.why(chosen, version=1).answer["version"] == 1
    with pytest.raises(NotFoundError, match="version 3 did not answer"):
        workspace.why(chosen, version=3)


def test_prediction_uses_the_schema_its_version_was_trained_on(world: World) -> None:
    world.edit(
        ("    country: str | None = hf.field(max_length=2)\n", ""),
        ('"country": x.country,', '"thing": 1.0,'),
        ('key=["card_id", "country"]', 'key=["card_id", "channel"]'),
    )
    workspace = world.open()
    workspace.apply(by="eva")

    report = workspace.predict("fraud", since="2026-01-20", until="2026-01-21")

    assert report.predicted == report.rows > 0
    assert report.first_id is not None
    explained = workspace.why(report.first_id)
    assert explained.is_equal
    assert "country" in explained.request


def test_logged_batch_is_applied_before_anything_is_predicted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = world.folder / "one.csv"
    source.write_text(
        "tx_id,at,card_id,terminal_id,device_id,channel,amount,country\n"
        "t-new,2026-02-10T10:00:00Z,c-1,m-1,,present,5.00,PT\n"
    )
    workspace = world.open()

    def killed(*args: Any, **kwargs: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(workspace.wiring.lake, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        workspace.ingest("transactions", source)

    report = world.open().predict("fraud", since="2026-02-10", until="2026-02-11")

    assert report.predicted == 1


def test_nothing_is_predicted_while_another_process_holds_the_shard(world: World) -> None:
    workspace = world.open()

    with world.open().wiring.batch_log.lease(), pytest.raises(ConflictError) as caught:
        workspace.predict("fraud")

    assert caught.value.code == "HF303"


# --- performance --------------------------------------------------------------------------------------


def test_performance_stands_beside_what_was_expected(built: World) -> None:
    found = built.open().performance("fraud", since=built.since, until=built.until)

    assert found.mature == found.predictions == records(built).height
    assert 0 < found.positives < found.mature
    assert sum(rows for rows, _ in found.by_decision.values()) == found.mature
    assert set(found.metrics) <= set(found.expected)


def test_performance_counts_only_labels_that_have_matured(built: World) -> None:
    found = built.open().performance("fraud", since="2026-01-30")

    assert 0 < found.predictions < records(built).height
    assert found.since >= 1_769_731_200_000_000


def test_labels_mature_by_what_arrived_and_never_by_the_clock_alone(built: World) -> None:
    clock = Standing(newest_arrival(built) + 400 * DAY)
    workspace = Workspace(built.folder, clock=clock)

    found = workspace.performance("fraud")

    assert found.as_of == newest_arrival(built)


def test_whoever_knows_that_nothing_more_came_says_until_when(built: World) -> None:
    newest = newest_arrival(built)
    first = int(records(built)["t_us"].min())  # type: ignore[arg-type]
    workspace = Workspace(built.folder, clock=Standing(newest + 400 * DAY))
    horizon = workspace.performance("fraud").horizon

    early = workspace.performance("fraud", as_of=first + horizon - 1)
    later = workspace.performance("fraud", as_of=newest + 399 * DAY)

    assert (early.mature, early.waiting) == (0, early.predictions)
    assert (later.mature + later.censored, later.waiting) == (later.predictions, 0)


def test_what_arrives_tomorrow_is_not_known_today(built: World) -> None:
    clock = Standing(newest_arrival(built) + DAY)

    workspace = Workspace(built.folder, clock=clock)
    for ask in (workspace.performance, workspace.dataset, workspace.train):
        with pytest.raises(UsageError, match="is not over yet: it is "):
            ask("fraud", as_of=clock.us + 1)


def test_a_duration_counts_back_from_the_newest_row(built: World) -> None:
    workspace = built.open()
    newest = int(records(built)["t_us"].max())  # type: ignore[arg-type]
    times = workspace.wiring.lake.read("transactions", ["at"])["at"].to_physical()
    last_day = int((times >= int(times.max()) - DAY).sum())  # type: ignore[arg-type]

    assert workspace.performance("fraud", since="24h").since >= newest - DAY
    assert workspace.performance("fraud", since="24h").until == newest + 1
    assert workspace.drift("fraud", since="1d").since >= newest - DAY
    assert workspace.predict("fraud", since="24h", dry_run=True).rows == last_day


@pytest.mark.parametrize("model", ["fraud", "demand"])
def test_version_that_answered_nothing_is_told_only_of_ways_that_it_has(tmp_path: Path, model: str) -> None:
    text = (Path(examples.__file__).parent / model / "project.py").read_text(encoding="utf-8")
    (tmp_path / "project.py").write_text(text, encoding="utf-8")
    workspace = Workspace(tmp_path)
    version = ModelVersion(model, 1, "b-1", "r-1", "d-1", "ana", 5)

    with pytest.raises(NotFoundError, match="has answered nothing yet") as caught:
        measure_performance(workspace.wiring, workspace.project, version, since=None, until=None)

    assert f"holdfast predict {model}" in caught.value.hint
    assert ("holdfast serve" in caught.value.hint) == (model == "fraud")


def test_performance_of_an_interval_without_answers_is_not_found(built: World) -> None:
    with pytest.raises(NotFoundError, match="fraud@1 has answered nothing in this interval"):
        built.open().performance("fraud", since="2030-01-01")


@pytest.mark.parametrize("verb", ["predict", "performance"])
def test_empty_interval_is_refused(verb: str, built: World) -> None:
    with pytest.raises(UsageError, match="--since is not before --until"):
        getattr(built.open(), verb)("fraud", since=built.until, until=built.until)


# --- artifacts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.txt", "features.json", "manifest.json"])
def test_altered_bundle_is_refused_wherever_it_is_used(name: str, world: World) -> None:
    chosen = str(records(world)["prediction_id"][0])
    tamper(bundle_file(world, name))

    for verb in (
        lambda w: w.predict("fraud"),
        lambda w: w.deploy("fraud", 1, by="ana"),
        lambda w: w.why(chosen),
        lambda w: w.performance("fraud"),
    ):
        with pytest.raises(RefusedError) as caught:
            verb(world.open())
        assert caught.value.code == "HF402"


def test_altered_history_is_found(world: World) -> None:
    import sqlite3

    with sqlite3.connect(world.folder / ".holdfast/meta.db") as db:
        (table,) = next(
            iter(db.execute("select name from sqlite_master where name in ('history', 'entries', 'ledger')"))
        )
        try:
            db.execute(f"update {table} set reason = 'all fine' where sequence = 2")
        except sqlite3.DatabaseError:
            for (trigger,) in db.execute("select name from sqlite_master where type = 'trigger'").fetchall():
                db.execute(f"drop trigger {trigger}")
            db.execute(f"update {table} set reason = 'all fine' where sequence = 2")
    db.close()

    found = world.open().history()

    assert found.broken is not None
    assert found.broken.code == "HF501"


# --- before there is anything -------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path) -> Workspace:
    make_project(tmp_path / "fraud")
    return Workspace(tmp_path / "fraud")


def test_nothing_is_listed_before_anything_happened(fresh: Workspace) -> None:
    assert fresh.models() == []
    assert fresh.models("fraud") == []
    assert fresh.history().entries == ()
    assert fresh.quarantine() == []
    assert not (fresh.folder / ".holdfast").exists()


@pytest.mark.parametrize(
    "verb",
    [
        lambda w: w.ingest("transactions", "x.csv"),
        lambda w: w.train("fraud"),
        lambda w: w.approve("fraud", 1, by="ana", reason="ok"),
        lambda w: w.reject("fraud", 1, by="ana", reason="no"),
        lambda w: w.deploy("fraud", 1, by="ana"),
        lambda w: w.predict("fraud"),
        lambda w: w.performance("fraud"),
    ],
)
def test_verbs_refuse_before_the_project_was_applied(verb: Any, fresh: Workspace) -> None:
    with pytest.raises(RefusedError, match="was not applied yet") as caught:
        verb(fresh)

    assert (caught.value.code, caught.value.hint) == ("HF404", "run `holdfast apply`")


def test_training_without_events_says_what_to_ingest(fresh: Workspace) -> None:
    fresh.apply(by="eva")

    with pytest.raises(HoldfastError) as caught:
        fresh.train("fraud", by="eva")

    assert caught.value.code == "HF212"
    assert "ingest events of `transactions` first" in caught.value.hint


def test_prediction_without_champion_says_so(fresh: Workspace) -> None:
    fresh.apply(by="eva")

    with pytest.raises(NotFoundError, match="no version of `fraud` is registered"):
        fresh.predict("fraud")


def test_unknown_names_have_a_hint(built: World) -> None:
    workspace = built.open()

    for verb, hint in (
        (lambda: workspace.ingest("transaction", "x"), "did you mean `transactions`?"),
        (lambda: workspace.train("frauds"), "did you mean `fraud`?"),
        (lambda: workspace.models("frod"), "did you mean `fraud`?"),
        (lambda: workspace.deploy("fraud", 9, by="ana"), "the latest is `fraud@1` (champion)"),
    ):
        with pytest.raises(NotFoundError) as caught:
            verb()
        assert caught.value.hint == hint


def test_actor_without_login_name_must_be_named(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found: 1000")

    monkeypatch.setattr("getpass.getuser", nobody)

    with pytest.raises(UsageError) as caught:
        built.open().deploy("fraud", 1)

    assert caught.value.hint == "say who acts: --by NAME"


def test_stored_numbers_of_a_run_are_plain_json(built: World) -> None:
    run = built.open().wiring.registry.list_runs("fraud")[0]

    assert json.loads(json.dumps(run.payload, allow_nan=False)) == run.payload
