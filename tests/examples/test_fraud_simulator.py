"""The fraud simulator: the same world for the same seed, whole or cut, within what it declares."""

import ast
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from holdfast.app.examples.fraud import simulator

FRAMES = ("transactions", "chargebacks", "truth")
ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture(scope="module")
def world() -> simulator.World:
    return simulator.simulate(0, 60)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("events")
    return folder, simulator.write(folder, 0, 18, cards=150)


def read_as_text(path: Path) -> list[dict[str, str | None]]:
    """Read every row of a file, each value as it would look in CSV."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        return pl.read_csv(path, infer_schema=False).rows(named=True)
    rows = pl.read_parquet(path).with_columns(
        pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"), amount=pl.Series(amounts_of(path))
    )
    return rows.rows(named=True)


def amounts_of(path: Path) -> list[str]:
    """Show the doubles of a Parquet file as decimals with at least two places."""
    shown = (repr(amount).partition(".") for amount in pl.read_parquet(path)["amount"])
    return [f"{whole}.{places:0<2}" for whole, _, places in shown]


def verdict(row: dict[str, Any], seen: dict[str, dict[str, Any]]) -> str | None:
    """Return why a row is bad, by rules written for this test alone."""
    times = [row[name] for name in ("at", "reported_at") if name in row]
    if any(time.endswith(tuple("0123456789")) and ISO_8601.fullmatch(time + "Z") for time in times):
        return "zoneless_time"
    try:
        [datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ") for time in times]
    except ValueError:
        return "unparsable_time"
    if not row["card_id"]:
        return "missing_card_id"
    if "amount" in row:
        amount = Decimal(row["amount"])
        if amount < 0:
            return "negative_amount"
        if amount > 100_000:
            return "amount_over_bound"
        if amount.as_tuple().exponent < -2:
            return "too_many_decimals"
    if row["tx_id"] in seen:
        return "exact_duplicate" if seen[row["tx_id"]] == row else "conflicting_content"
    seen[row["tx_id"]] = row
    return None


def verdicts(folder: Path, manifest: dict[str, Any]) -> tuple[dict[str, Counter[str]], dict[str, int]]:
    """Return the bad rows by file and reason, and the good rows by source."""
    bad, good = {}, {}
    for source in ("transactions", "chargebacks"):
        seen: dict[str, dict[str, Any]] = {}
        for name in (name for name in manifest["files"] if name.startswith(source)):
            found = [verdict(row, seen) for row in read_as_text(folder / name)]
            if any(found):
                bad[name] = Counter(reason for reason in found if reason)
        good[source] = len(seen)
    return bad, good


def test_same_seed_gives_the_same_world() -> None:
    first, again = (simulator.simulate(3, 6, seed=11, cards=80) for _ in range(2))

    for name in FRAMES:
        assert_frame_equal(getattr(first, name), getattr(again, name))


def test_another_seed_gives_another_world() -> None:
    first, other = (simulator.simulate(0, 1, seed=seed, cards=80) for seed in (7, 8))

    assert not first.transactions.equals(other.transactions)


def test_world_is_the_one_the_documents_describe() -> None:
    world = simulator.simulate(0, 4, seed=7, cards=200)

    told = "".join(getattr(world, name).write_csv() for name in FRAMES)

    # A change here changes every figure that was ever quoted of this example.
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "fd05f9b35e036201"


def test_days_in_two_parts_are_the_whole_cut() -> None:
    whole = simulator.simulate(0, 20, cards=300)
    parts = simulator.simulate(0, 10, cards=300), simulator.simulate(10, 20, cards=300)

    for name in FRAMES:
        joined = pl.concat([getattr(part, name) for part in parts])
        assert_frame_equal(joined, getattr(whole, name))


def test_no_days_are_an_empty_world() -> None:
    world = simulator.simulate(5, 5)

    assert [getattr(world, name).height for name in FRAMES] == [0, 0, 0]
    assert world.transactions.schema == simulator.simulate(5, 6, cards=20).transactions.schema


@pytest.mark.parametrize(
    ("days", "options"),
    [((-1, 3), {}), ((4, 3), {}), ((0, 1), {"seed": -1}), ((0, 1), {"cards": 3})],
)
def test_impossible_parameters_are_refused(days: tuple[int, int], options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must"):
        simulator.simulate(*days, **options)


def test_reports_can_not_end_before_they_begin(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known_until_day must be at least 3, found 2"):
        simulator.write(tmp_path, 3, 5, 2, cards=20)


def test_two_months_have_the_declared_size(world: simulator.World) -> None:
    transactions = world.transactions

    assert 185_000 <= transactions.height <= 215_000
    assert transactions["card_id"].n_unique() == 1_000
    assert 560 <= transactions["terminal_id"].n_unique() <= 600
    assert 1_100 <= transactions["device_id"].n_unique() <= 1_900
    assert 0.0005 <= transactions["country"].is_null().mean() <= 0.0015
    assert 0.25 <= (transactions["channel"] == "online").mean() <= 0.45


def test_fraud_is_about_one_in_a_hundred_in_three_scenarios(world: simulator.World) -> None:
    fraud = world.truth.filter("fraud")

    assert 0.008 <= fraud.height / world.truth.height <= 0.015
    assert set(fraud["scenario"]) == set(simulator.SCENARIOS)
    assert fraud["scenario"].value_counts()["count"].min() >= 0.15 * fraud.height


def test_takeovers_grow_and_card_testing_shrinks(world: simulator.World) -> None:
    half = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=30)
    counts = world.truth.group_by("scenario", late=pl.col("at") >= half).len()
    by_key = {(scenario, late): n for scenario, late, n in counts.rows()}

    assert by_key["account_takeover", True] > 1.2 * by_key["account_takeover", False]
    assert by_key["card_testing", True] < by_key["card_testing", False]


def test_ids_are_unique_and_in_time_order(world: simulator.World) -> None:
    transactions = world.transactions

    assert transactions["tx_id"].is_unique().all()
    assert transactions["tx_id"].is_sorted()
    assert transactions["at"].is_sorted()
    assert transactions["tx_id"].equals(world.truth["tx_id"])


def test_a_device_is_named_exactly_when_online(world: simulator.World) -> None:
    transactions = world.transactions

    assert (transactions["device_id"].is_null() == (transactions["channel"] == "present")).all()


def test_every_amount_is_within_bounds(world: simulator.World) -> None:
    amounts = world.transactions["amount"]

    assert amounts.dtype == pl.Decimal(12, 2)
    assert Decimal("0.01") <= amounts.min() <= amounts.max() <= 100_000


def test_every_written_double_is_the_nearest_to_two_places(delivery: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = delivery
    planted = manifest["planted_by_file"]
    clean = [n for n in manifest["files"] if n.endswith(".parquet") and n not in planted]

    amounts = pl.concat([pl.read_parquet(folder / name)["amount"] for name in clean])

    assert amounts.dtype == pl.Float64
    assert all(float(f"{amount:.2f}") == amount for amount in amounts)


def test_most_fraud_is_reported_within_days_and_some_late(world: simulator.World) -> None:
    chargebacks = world.chargebacks
    delay = chargebacks["reported_at"] - chargebacks["at"]

    assert set(chargebacks["tx_id"]) <= set(world.truth.filter("fraud")["tx_id"])
    assert 0.89 <= chargebacks.height / world.truth["fraud"].sum() <= 0.95
    assert (delay < timedelta(days=5)).mean() >= 0.85
    assert 0.02 <= (delay > timedelta(days=7)).mean() <= 0.08
    assert timedelta(hours=1) <= delay.min()
    assert delay.max() < timedelta(days=simulator.LONGEST_DELAY_DAYS)


def test_chargebacks_repeat_the_keys_of_their_transactions(world: simulator.World) -> None:
    keys = ["tx_id", "at", "card_id", "terminal_id"]

    matched = world.chargebacks.select(keys).join(world.transactions.select(keys), on=keys)

    assert matched.height == world.chargebacks.height


def test_honest_people_travel_and_buy_large_things(world: simulator.World) -> None:
    honest = world.transactions.join(world.truth.filter(~pl.col("fraud")), on="tx_id")
    usual = pl.col("country").mode().first().over("card_id")

    assert 0.02 <= honest.select((pl.col("country") != usual).mean()).item() <= 0.10
    assert (honest["amount"] > 500).mean() > 0.001


def test_fraud_at_a_compromised_terminal_looks_ordinary(world: simulator.World) -> None:
    joined = world.transactions.join(world.truth.select("tx_id", "scenario"), on="tx_id")
    skimmed = joined.filter(pl.col("scenario") == "compromised_terminal")

    assert set(skimmed["channel"]) == {"present"}
    assert skimmed["terminal_id"].n_unique() <= 40
    assert 1 < skimmed["amount"].median() / joined["amount"].median() < 3


def test_files_hold_the_good_rows_and_the_planted_ones(delivery: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = delivery

    bad, good = verdicts(folder, manifest)

    assert bad == manifest["planted_by_file"]
    assert good == {source: manifest[source] for source in ("transactions", "chargebacks")}
    assert set(manifest["planted"]) == set(simulator.PLANTED_REASONS)
    assert manifest["planted"] == dict(sum(bad.values(), Counter()))
    assert manifest["transactions"] == simulator.simulate(0, 18, cards=150).transactions.height


def test_manifest_counts_the_rows_of_every_file(delivery: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = delivery
    found = {
        path.relative_to(folder).as_posix(): len(read_as_text(path))
        for path in folder.glob("*/*")
        if path.is_file()
    }

    assert found == manifest["files"]
    assert {Path(name).suffix for name in found} == {".parquet", ".csv", ".jsonl"}
    assert json.loads((folder / "manifest.json").read_text()) == manifest


def test_nothing_is_delivered_before_it_was_reported(tmp_path: Path) -> None:
    manifest = simulator.write(tmp_path, 0, 12, 10, cards=200, plant_bad_rows=False)

    rows = [row for path in (tmp_path / "chargebacks").iterdir() for row in read_as_text(path)]

    assert manifest["planted"] == {}
    assert len(rows) == manifest["chargebacks"] > 0
    assert max(row["reported_at"] for row in rows) < "2026-01-15T00:00:00"


def test_consecutive_deliveries_report_everything_once(tmp_path: Path) -> None:
    for folder, days in (("whole", (0, 24)), ("parts", (0, 17)), ("parts", (17, 24))):
        simulator.write(tmp_path / folder, *days, cards=200, plant_bad_rows=False)

    reported = [
        sorted(
            row["tx_id"]
            for path in (tmp_path / folder / "chargebacks").iterdir()
            for row in read_as_text(path)
        )
        for folder in ("whole", "parts")
    ]

    assert reported[0] == reported[1] == sorted(set(reported[0]))


def test_truth_is_written_only_when_asked(tmp_path: Path) -> None:
    simulator.write(tmp_path / "events", 0, 2, cards=50)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}

    simulator.write(tmp_path / "events", 1, 3, cards=50, truth=tmp_path / "truth.parquet")

    assert names == {"2026-01-05.csv", "2026-01-05.jsonl", "manifest.json"}
    expected = simulator.simulate(1, 3, cards=50).truth
    assert_frame_equal(pl.read_parquet(tmp_path / "truth.parquet"), expected)


def test_file_needs_only_numpy_and_polars() -> None:
    tree = ast.parse(Path(simulator.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in imports}

    outside = {name.partition(".")[0] for name in names} - sys.stdlib_module_names

    assert outside == {"numpy", "polars"}


def test_runs_as_a_script(tmp_path: Path) -> None:
    options = ["--days", "3", "--cards", "30", "--out", str(tmp_path / "events")]
    ran = subprocess.run(
        [sys.executable, "-I", simulator.__file__, *options], capture_output=True, text=True, check=True
    )

    manifest = json.loads((tmp_path / "events" / "manifest.json").read_text())
    assert f"{manifest['transactions']:,} transactions" in ran.stdout
    assert "bad rows planted" in ran.stdout


def test_help_shows_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        simulator.main(["--help"])

    assert "python simulator.py --days 60 --out events/" in capsys.readouterr().out


def test_command_line_refuses_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        simulator.main(["--days", "-3"])

    assert "days must satisfy 0 <= start <= end" in capsys.readouterr().err
