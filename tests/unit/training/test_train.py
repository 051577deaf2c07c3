import math
from typing import Any

import numpy as np
import pytest
from tests import training_examples as examples

from holdfast.events.entity import Entity
from holdfast.kernel.errors import ContractError, HoldfastError, RefusedError, UsageError
from holdfast.training.bundle import open_bundle
from holdfast.training.gate import Gate
from holdfast.training.metric import Interval
from holdfast.training.model import RunContext, TrainingData
from holdfast.training.policy import Bands
from holdfast.training.train import ChampionOnTest, TrainResult, sample_of, train

BANDS = Bands((("block", 0.9), ("review", 0.5), ("allow", 0.0)))
SNAPSHOT = examples.snapshot()
TEST = sample_of(SNAPSHOT, "test")


def fit(data: TrainingData, params: dict[str, Any], run: RunContext) -> Any:
    run.log("rows", len(data.train.y))
    run.log("rows", math.nan)
    return examples.Line(params["scale"], -3.0)


def trained(function: Any = fit, **changes: Any) -> TrainResult:
    given: dict[str, Any] = {
        "policy": BANDS,
        "gates": (Gate("auc", ">=", 0.6), Gate("auc", ">=", -0.01, relative=True)),
        "formats": (examples.LineFormat(),),
        "bundles": examples.Shelf(),
        "seed": 7,
        "author": "ana",
        "started_us": 1_000,
        "elapsed": lambda: 42,
        "environment": {"python": "3.11.9", "numpy": "2.4.6"},
        "code": "git:1f2e3d+0",
        "project": "9c0e" * 10,
        "repeats": 20,
    }
    model, snapshot = changes.pop("model", examples.model()), changes.pop("snapshot", SNAPSHOT)
    return train(model, function, snapshot, **(given | changes))


def test_training_function_sees_train_and_validation_and_never_the_test_part() -> None:
    seen: list[TrainingData] = []

    def look(data: TrainingData, params: dict[str, Any], run: RunContext) -> Any:
        seen.append(data)
        return examples.Line(0.01, -3.0)

    trained(look)

    frame = SNAPSHOT.frame
    for part, given in (("train", seen[0].train), ("validation", seen[0].validation)):
        rows = frame.filter(frame["_part"] == part)
        assert given.x.flags.c_contiguous
        np.testing.assert_array_equal(given.x, rows.select(examples.NAMES).to_numpy())
        np.testing.assert_array_equal(given.y, rows["_label"].to_numpy())
        np.testing.assert_array_equal(given.t, rows["_t"].to_numpy())
    assert (seen[0].names, seen[0].categorical) == (list(examples.NAMES), ["country"])
    assert max(seen[0].validation.t) < examples.BOUNDARIES.test_start


def test_run_records_what_went_in_and_what_came_out() -> None:
    run = trained().run

    assert run.params == {"scale": 0.01}
    assert (run.seed, run.author, run.started_us, run.duration_us) == (7, "ana", 1_000, 42)
    assert run.rows == {part: SNAPSHOT.recipe.counts[part] for part in ("train", "validation", "test")}
    assert run.logged == {"rows": (float(run.rows["train"]), None)}
    assert run.importance == {"amount": 2.0, "ratio": 1.0, "count_1h": 0.0, "country": 0.5}
    assert run.history == {"validation loss": (0.5, 0.4)}
    assert run.facts == {"python": "3.11.9", "numpy": "2.4.6"}
    assert list(run.metrics) == list(run.baseline)
    assert run.metrics["precision@20/day"].value is not None
    assert run.baseline["auc"] == 0.5
    assert run.baseline["average_precision"] == pytest.approx(TEST.y.mean())
    assert sum(bin.weight for bin in run.reliability) == run.rows["test"]
    assert [result.outcome for result in run.gates] == ["passed", "not applicable"]


def test_scores_come_from_the_bytes_that_are_shipped() -> None:
    class Rounding(examples.LineFormat):
        def export(self, fitted: Any) -> bytes | None:
            return b"0.5 -50.0 1"

    result = trained(formats=(Rounding(),))

    expected = 1 / (1 + np.exp(50 - 0.5 * TEST.x[:, 0]))
    np.testing.assert_array_equal(result.scores, expected)
    bundle = open_bundle(result.files, [Rounding()])
    np.testing.assert_array_equal(bundle.predictor.predict(TEST.x), expected)


def test_bundle_of_a_passing_run_is_stored_and_opens() -> None:
    shelf = examples.Shelf()

    result = trained(bundles=shelf)

    assert result.bundle == result.run.bundle
    assert result.bundle is not None
    bundle = open_bundle(shelf.load(result.bundle), [examples.LineFormat()])
    assert bundle.name == result.bundle
    assert bundle.plan == SNAPSHOT.recipe.plan
    assert bundle.plan.fingerprint == SNAPSHOT.recipe.plan.fingerprint
    assert bundle.profile == SNAPSHOT.profile
    assert bundle.policy == BANDS
    assert bundle.manifest.label == examples.LABEL
    assert bundle.manifest.run == result.run.id
    assert bundle.expected.metrics == result.run.metrics
    assert sum(bundle.expected.scores.counts) == len(TEST.y)


def test_failed_gate_leaves_a_run_without_bundle() -> None:
    shelf = examples.Shelf()

    result = trained(bundles=shelf, gates=(Gate("auc", ">=", 0.999),))

    assert (result.bundle, result.run.bundle, result.run.passed) == (None, None, False)
    assert shelf.stored == {}
    assert result.run.gates[0].found == result.run.metrics["auc"].value


def test_metric_that_is_not_defined_fails_its_gate() -> None:
    result = trained(policy=None, gates=(Gate("cost", "<=", 1e9),))

    assert "cost" not in result.run.metrics
    assert result.run.gates[0].outcome == "failed"


def test_champion_is_measured_on_the_same_rows() -> None:
    champion = ChampionOnTest("fraud@7", trained().scores)

    run = trained(champion=champion).run

    assert run.champion_name == "fraud@7"
    assert run.champion == {name: found.value for name, found in run.metrics.items()}
    assert [result.outcome for result in run.gates] == ["passed", "passed"]


def test_champion_with_other_rows_is_an_error() -> None:
    with pytest.raises(ContractError, match="shape"):
        trained(champion=ChampionOnTest("fraud@7", np.zeros(3)))


def test_same_inputs_give_the_same_files_and_only_the_run_tells_repeats_apart() -> None:
    first, again, later = trained(), trained(), trained(started_us=2_000)

    assert first.files == again.files
    assert first.run == again.run
    assert first.run.id != later.run.id
    different = {name for name in first.files if first.files[name] != later.files[name]}
    assert different == {"manifest.json", "card.md"}


def test_seed_moves_the_intervals_and_not_the_values() -> None:
    first, second = trained().run.metrics, trained(seed=8).run.metrics

    assert {name: found.value for name, found in first.items()} == {
        name: found.value for name, found in second.items()
    }
    assert first != second


def test_parameters_are_replaced_by_name() -> None:
    assert trained(params={"scale": 0.02}).run.params == {"scale": 0.02}


def test_parameter_that_is_not_declared_is_an_error_with_a_hint() -> None:
    with pytest.raises(UsageError, match="did you mean `scale`") as caught:
        trained(params={"scales": 0.02})

    assert caught.value.code == "HF102"


def test_failing_training_function_is_named_with_its_line_and_cause() -> None:
    def fail(data: TrainingData, params: dict[str, Any], run: RunContext) -> Any:
        return np.zeros(2).reshape(3)

    line = fail.__code__.co_firstlineno + 1
    with pytest.raises(HoldfastError, match=r"project:fraud.*ValueError: cannot reshape") as caught:
        trained(fail)

    assert caught.value.code == "HF602"
    assert caught.value.problem.place == f"{__file__}:{line}"
    assert isinstance(caught.value.__cause__, ValueError)


def test_failing_callable_object_is_named_too() -> None:
    class Fail:
        def __call__(self, data: object, params: object, run: object) -> Any:
            raise KeyError("missing")

    with pytest.raises(HoldfastError, match="KeyError") as caught:
        trained(Fail())

    assert caught.value.problem.place.startswith(f"{__file__}:")


def test_object_without_safe_format_is_refused_by_its_type() -> None:
    with pytest.raises(RefusedError, match=r"collections\.OrderedDict") as caught:
        trained(lambda data, params, run: __import__("collections").OrderedDict())

    assert caught.value.code == "HF403"
    assert caught.value.problem.has == ("line",)


def test_forgotten_return_is_hinted_at() -> None:
    with pytest.raises(RefusedError, match="return the fitted model"):
        trained(lambda data, params, run: None)


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(RefusedError, match="must score a probability") as caught:
        trained(lambda data, params, run: examples.Line(0.01, -3.0, curve=False))

    assert caught.value.code == "HF403"


def test_values_are_measured_as_values() -> None:
    result = trained(
        lambda data, params, run: examples.Line(0.1, 0.0, curve=False),
        snapshot=examples.snapshot(binary=False),
        gates=(Gate("wape", "<=", 0.5),),
        policy=None,
    )

    assert result.run.task == "regression"
    assert list(result.run.metrics) == ["rmse", "mae", "wape"]
    assert result.run.reliability == ()
    assert result.bundle is not None


def test_cost_follows_the_policy_and_the_declared_column() -> None:
    result = trained()

    acted = result.scores >= 0.5
    expected = np.where(acted, (1 - TEST.y) * 5.0, TEST.y * TEST.x[:, 0]).mean()
    assert result.run.metrics["cost"].value == pytest.approx(expected)


def test_cost_column_that_the_dataset_does_not_keep_is_an_error() -> None:
    from holdfast.training.model import Cost

    with pytest.raises(ContractError, match="does not keep") as caught:
        trained(model=examples.model(cost=Cost(1.0, "amounts")))

    assert caught.value.code == "HF209"
    assert "did you mean `amount`?" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("_part", "train", "test part .* has no rows"), ("_label", 0.0, "every label of the train part")],
)
def test_dataset_that_does_not_suffice_is_refused(column: str, value: object, message: str) -> None:
    import polars as pl

    from holdfast.datasets.snapshot import seal

    frame = SNAPSHOT.frame.with_columns(pl.lit(value).alias(column))

    with pytest.raises(ContractError, match=message) as caught:
        trained(snapshot=seal(SNAPSHOT.recipe, SNAPSHOT.profile, frame))

    assert caught.value.code == "HF212"


def test_progress_ends_also_when_training_fails() -> None:
    calls: list[str] = []

    class Say:
        def start(self, label: str, total: int | None) -> None:
            calls.append(f"{label} {total}")

        def advance(self, units: int) -> None:
            calls.append(f"+{units}")

        def finish(self) -> None:
            calls.append("end")

    trained(progress=Say())
    with pytest.raises(HoldfastError):
        trained(lambda data, params, run: 1 / 0, progress=Say())

    assert calls == ["train `fraud` 3", "+1", "+1", "+1", "end", "train `fraud` 3", "end"]


def test_card_tells_data_results_gates_and_limits() -> None:
    card = trained(champion=ChampionOnTest("fraud@7", np.full(len(TEST.y), 0.5))).files["card.md"].decode()

    for text in (
        "# Model card: fraud",
        SNAPSHOT.id,
        "| auc |",
        "fraud@7",
        "auc >= champion - 0.01 | passed",
        "Arrival times of `transactions` are assumed for 100% of its rows",
        "mean of `amount` over 30d, where amount > 1",
        "amount / mean_30d",
        "seed 7",
        "false alarm 5, a missed positive `amount`",
    ):
        assert text in card
    assert "NaN" not in card


def test_interval_of_the_record_has_no_nan() -> None:
    for found in trained(policy=None).run.metrics.values():
        assert isinstance(found, Interval)
        assert all(value is None or math.isfinite(value) for value in (found.value, found.low, found.high))


def test_declared_entity_gives_its_metric_for_candidate_baseline_and_champion() -> None:
    model = examples.model(precision_per=Entity("card", ("card_id",)))

    run = trained(model=model, champion=ChampionOnTest("fraud@1", np.full(len(TEST.y), 0.5))).run

    name = "precision@20/day/card"
    assert run.metrics[name].value is not None
    assert run.baseline[name] is not None
    assert run.champion is not None
    assert run.champion[name] == run.baseline[name]  # both give every row one score
