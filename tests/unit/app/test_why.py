"""Why walks from a prediction back to its events, and finds what was altered."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.unit.conftest import World

from holdfast.app.outcomes import Explanation
from holdfast.cli.render import to_json
from holdfast.cli.why_render import why
from holdfast.kernel.errors import DeterminismError, NotFoundError, UsageError
from holdfast.serving.frames import BOUNDED_BY_BATCH
from holdfast.serving.ports import PREDICTIONS


@pytest.fixture(scope="session")
def explained(built: World) -> Explanation:
    """The highest score, explained."""
    rows = built.open().wiring.lake.read(PREDICTIONS).sort("score", "key")
    return built.open().why(rows["prediction_id"][-1])


def forge(world: World, **changes: Any) -> str:
    """Append a later answer to some prediction with other content; return its id."""
    lake = world.open().wiring.lake
    row = lake.read(PREDICTIONS).sort("score", "key").tail(1)
    later = {"attempt": "a-forged", "answered_us": int(row["answered_us"][0]) + 1, **changes}
    row = row.with_columns(pl.Series(name, [value], dtype=row.schema[name]) for name, value in later.items())
    lake.append(PREDICTIONS, row, app="forger", batch=1)
    return str(row["prediction_id"][0])


def test_every_feature_equals_its_recomputation(explained: Explanation) -> None:
    assert explained.is_equal
    assert len(explained.features) == 30
    assert explained.recomputed == {n: explained.answer[n] for n in ("score", "decision")}


def test_contributions_are_those_of_the_model(explained: Explanation) -> None:
    pushed = {f.name: f.contribution for f in explained.features}

    assert any(value for value in pushed.values())


def test_base_and_contributions_make_the_score(explained: Explanation) -> None:
    pushed = sum(f.contribution or 0.0 for f in explained.features)

    assert explained.margin == pytest.approx(explained.base + pushed)
    assert 1 / (1 + np.exp(-explained.margin)) == pytest.approx(explained.answer["score"], abs=1e-9)
    shown = why(explained)
    assert (
        f"  base {explained.base:+.2f} and all features {pushed:+.2f} make {explained.margin:+.2f}" in shown
    )
    assert "in log-odds: score" in shown
    assert to_json(explained)["base"] == explained.base


def test_what_a_live_answer_knew_is_told_by_its_batches_alone(world: World) -> None:
    found = world.open().why(forge(world, known_at_us=BOUNDED_BY_BATCH))

    assert to_json(found)["answer"]["known_at_us"] is None
    assert found.answer["known_batch"]
    assert "as applied by then: batches up to" in why(found)
    assert str(BOUNDED_BY_BATCH) not in why(found)


def test_each_feature_has_a_definition(explained: Explanation) -> None:
    words = {f.name: f.definition for f in explained.features}

    assert words["card_spend_24h"] == "sum of `amount` over 1d, per card of transactions"
    assert words["amount_vs_mean"].startswith("amount / card_mean_30d; card_mean_30d = mean of `amount`")


def test_lineage_names_approver_run_dataset_and_events(explained: Explanation) -> None:
    (approval,) = explained.version["approvals"]

    assert approval["by"] == "ana"
    assert explained.run["seed"] == 7
    assert set(explained.tables) == {"transactions", "chargebacks"}
    assert explained.events["card_activity"]["rows"] > 0
    assert explained.events["card_activity"]["last_batch"] <= explained.answer["known_batch"][0]


def test_request_is_shown_in_its_own_units(built: World, explained: Explanation) -> None:
    same = pl.col("tx_id") == explained.request["tx_id"]
    stored = built.open().wiring.lake.read("transactions", where=same)

    assert explained.request["amount"] == stored["amount"][0] / 100


def test_row_with_missing_keys_has_empty_windows_and_is_equal(built: World) -> None:
    rows = built.open().wiring.lake.read(PREDICTIONS, ["prediction_id", "request"])
    without = rows.filter(pl.col("request").str.contains('"device_id":null'))

    found = built.open().why(without["prediction_id"][0])

    assert found.is_equal
    assert "device_history" not in found.events
    assert {f.name for f in found.features if np.isnan(f.stored)} == set(found.answer["missing"])


def test_beginning_of_an_id_is_enough(built: World, explained: Explanation) -> None:
    chosen = explained.answer["prediction_id"]

    assert built.open().why(chosen[:14]).answer["prediction_id"] == chosen


def test_later_events_change_nothing(built: World, explained: Explanation) -> None:
    chosen = next(f for f in explained.features if f.name == "card_count_30d")

    assert chosen.is_equal  # the labels and days after it are in the lake meanwhile


def test_altered_feature_differs(world: World) -> None:
    features = np.frombuffer(
        world.open().wiring.lake.read(PREDICTIONS).sort("score", "key")["features"][-1], dtype="<f8"
    ).copy()
    features[0] = np.nextafter(features[0], np.inf)

    found = world.open().why(forge(world, features=features.tobytes()))

    assert not found.is_equal
    assert [f.name for f in found.features if not f.is_equal] == ["amount"]


@pytest.mark.parametrize("changes", [{"score": 0.5}, {"decision": "allow"}])
def test_altered_answer_differs(changes: dict[str, Any], world: World) -> None:
    found = world.open().why(forge(world, **changes))

    assert not found.is_equal
    assert all(f.is_equal for f in found.features)


@pytest.mark.parametrize("changes", [{"features": b"\0" * 8}, {"plan": "0" * 40}, {"bundle": "0" * 40}])
def test_record_of_another_bundle_is_no_evidence(changes: dict[str, Any], world: World) -> None:
    with pytest.raises(DeterminismError):
        world.open().why(forge(world, **changes))


@pytest.mark.parametrize("asked", ["", "p-1", "p-zzzzzz", "%%%%%%"])
def test_unknown_or_short_id_is_refused(asked: str, built: World) -> None:
    with pytest.raises((NotFoundError, UsageError)):
        built.open().why(asked)


def test_why_needs_no_valid_definition(world: World) -> None:
    chosen = str(world.open().wiring.lake.read(PREDICTIONS)["prediction_id"][0])
    (world.folder / "project.py").write_text("1 / 0\n")

    assert world.open().why(chosen).is_equal
