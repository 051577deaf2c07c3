import json
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from tests import training_examples as examples

from holdfast.adapters.lightgbm import LightGBMText
from holdfast.adapters.lightgbm.text import read_header
from holdfast.kernel.errors import ContractError, RefusedError
from holdfast.training.bundle import open_bundle
from holdfast.training.gate import Gate
from holdfast.training.model import RunContext, TrainingData
from holdfast.training.train import TrainResult, sample_of, train

NAMES = ["amount", "ratio", "count", "country"]
QUIET = {"verbose": -1, "n_jobs": 1, "deterministic": True, "force_row_wise": True}
FORMAT = LightGBMText()


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 4))
    x[:, 3] = random.integers(0, 40, n)
    x[random.random((n, 4)) < 0.1] = np.nan
    margin = 2 * np.nan_to_num(x[:, 0]) + (np.nan_to_num(x[:, 3]) % 3 == 1) * 2 - 2
    return x, (random.random(n) < 1 / (1 + np.exp(-margin))).astype(float)


X, Y = rows(1_200)


def classifier(**params: Any) -> Any:
    return lgb.LGBMClassifier(
        **(QUIET | {"n_estimators": 12, "random_state": 7, "min_child_samples": 5} | params)
    )


@pytest.fixture(scope="module")
def fitted() -> Any:
    return classifier().fit(X, Y, feature_name=NAMES, categorical_feature=["country"])


@pytest.fixture(scope="module")
def content(fitted: Any) -> bytes:
    found = FORMAT.export(fitted)
    assert found is not None
    return found


def test_loaded_model_scores_as_the_fitted_one_does(fitted: Any, content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an array without names, which is what it was fitted on
        expected = fitted.predict_proba(X)[:, 1]

    np.testing.assert_array_equal(FORMAT.load(content).predict(X), expected)


def test_text_keeps_names_and_category_sets(content: bytes) -> None:
    assert FORMAT.load(content).names == tuple(NAMES)
    assert read_header(content).objective == "binary sigmoid:1"
    assert re.search(rb"num_cat=[1-9]", content)


def test_row_scores_the_same_bits_alone_in_a_batch_and_for_any_threads(content: bytes) -> None:
    predictor, (x, _) = FORMAT.load(content), rows(3_000, seed=5)
    x[0], x[1] = np.nan, 1e300
    whole = predictor.predict(x)

    alone = np.concatenate([predictor.predict(x[at : at + 1]) for at in range(300)])
    reversed_ = predictor.predict(x[::-1])[::-1]
    threaded = LightGBMText(threads=2).load(content).predict(x)

    assert alone.tobytes() == whole[:300].tobytes()
    assert reversed_.tobytes() == whole.tobytes()
    assert threaded.tobytes() == whole.tobytes()
    assert predictor.predict(x[:0]).shape == (0,)


def test_predictor_answers_several_threads_at_once(content: bytes) -> None:
    predictor = FORMAT.load(content)
    expected = predictor.predict(X)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: predictor.predict(X[at : at + 3]), range(0, 300, 3)))

    assert np.concatenate(found).tobytes() == expected[:300].tobytes()


def test_contributions_add_up_to_the_margin(content: bytes) -> None:
    predictor = FORMAT.load(content)

    parts = predictor.contributions(X[:50])

    assert parts.shape == (50, 5)
    margin = parts.sum(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), predictor.predict(X[:50]), rtol=1e-9)
    assert predictor.contributions(X[:0]).shape == (0, 5)


def test_rows_of_another_width_are_an_error_that_names_the_features(content: bytes) -> None:
    with pytest.raises(ContractError, match="4 features") as caught:
        FORMAT.load(content).predict(X[:, :3])

    assert caught.value.problem.has == tuple(NAMES)


def test_early_stopping_ships_the_best_iteration_only() -> None:
    valid = rows(400, seed=9)
    model = classifier(n_estimators=200, learning_rate=0.5).fit(
        X, Y, eval_X=valid[0], eval_y=valid[1], callbacks=[lgb.early_stopping(3, verbose=False)]
    )
    content = FORMAT.export(model)

    assert content is not None
    assert 0 < model.best_iteration_ < 200
    assert read_header(content).n_trees == model.best_iteration_
    report = FORMAT.report(model)
    assert list(report.history) == ["valid_0 binary_logloss"]
    assert len(report.history["valid_0 binary_logloss"]) == model.best_iteration_ + 3


def test_report_gives_gain_per_feature(fitted: Any) -> None:
    gain = FORMAT.report(fitted).importance

    assert len(gain) == 4
    assert np.argmax(gain) == 0


def test_booster_and_regressor_are_carried_too() -> None:
    booster = lgb.train(QUIET | {"objective": "binary"}, lgb.Dataset(X, Y, free_raw_data=False), 5)
    regressor = lgb.LGBMRegressor(**QUIET, n_estimators=5).fit(X, 10 * Y)

    for model in (booster, regressor):
        content = FORMAT.export(model)
        assert content is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            np.testing.assert_array_equal(FORMAT.load(content).predict(X), model.predict(X))


def test_tree_without_split_is_carried() -> None:
    content = FORMAT.export(classifier(min_child_samples=10_000).fit(X, Y))

    assert content is not None
    assert len(set(FORMAT.load(content).predict(X))) == 1


def test_split_on_missing_alone_has_an_infinite_threshold_and_is_carried() -> None:
    x = np.where(np.arange(400) % 2, np.nan, np.arange(400.0))[:, np.newaxis]
    model = classifier().fit(x, np.isnan(x[:, 0]).astype(float))
    content = FORMAT.export(model)

    assert content is not None
    assert re.search(rb"threshold=inf\n", content)
    np.testing.assert_array_equal(FORMAT.load(content).predict(x), model.booster_.predict(x))


def test_infinite_category_set_is_refused(content: bytes) -> None:
    kinds = re.search(rb"decision_type=([\d ]+)\n", content[content.index(b"num_cat=1") :])
    assert kinds is not None
    at = [int(kind) & 1 for kind in kinds[1].split()].index(1)
    start = content.index(b"threshold=", content.index(b"num_cat=1"))
    end = content.index(b"\n", start)
    words = content[start + 10 : end].split(b" ")
    size = len(words[at])
    words[at] = b"inf"
    sizes = re.search(rb"tree_sizes=(\d+)", content)
    assert sizes is not None
    assert content.index(b"num_cat=1") < content.index(b"Tree=1")
    damaged = content[:start] + b"threshold=" + b" ".join(words) + content[end:]
    grown = str(int(sizes[1]) + 3 - size).encode()
    damaged = damaged.replace(b"tree_sizes=" + sizes[1], b"tree_sizes=" + grown, 1)

    with pytest.raises(RefusedError, match="category set"):
        FORMAT.load(damaged)


def test_other_objects_are_left_to_other_formats() -> None:
    assert FORMAT.export(object()) is None
    assert FORMAT.export(None) is None


def test_equal_fits_have_equal_bytes(content: bytes) -> None:
    again = classifier().fit(X, Y, feature_name=NAMES, categorical_feature=["country"])

    assert FORMAT.export(again) == content


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: classifier().fit(X, np.arange(len(Y)) % 3), "classes 0, 1, 2"),
        (lambda: classifier().fit(X, Y + 1), "classes 1, 2"),
        (classifier, "is not fitted"),
        (lambda: classifier(linear_tree=True).fit(X, Y), "linear trees"),
        (lambda: lgb.LGBMRanker(**QUIET, n_estimators=2).fit(X, Y, group=[len(Y)]), "lambdarank"),
        (lambda: classifier(objective=lambda y, s: (s - y, np.ones_like(s))).fit(X, Y), "of its own"),
    ],
)
def test_model_whose_output_is_not_one_score_is_refused(make: Any, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        FORMAT.export(make())

    assert caught.value.code == "HF403"


def test_model_with_categories_of_a_data_frame_is_refused(content: bytes) -> None:
    with pytest.raises(RefusedError, match="data frame") as caught:
        read_header(content.replace(b"pandas_categorical:null", b'pandas_categorical:[["a","b"]]'))

    assert caught.value.code == "HF403"


DAMAGES: dict[str, tuple[bytes, bytes]] = {
    "cut inside a tree": (rb"(?s)(.{3000}).*", rb"\1"),
    "cut inside the header": (rb"(?s)(.{60}).*", rb"\1"),
    "tree size": (rb"tree_sizes=(\d+)", rb"tree_sizes=9\1"),
    "feature out of range": (rb"split_feature=\d", rb"split_feature=9"),
    "child in a circle": (rb"left_child=\d+", rb"left_child=0"),
    "leaf that is not finite": (rb"leaf_value=\S{3}", rb"leaf_value=nan"),
    "no trees end": (rb"end of trees", rb"end of trexs"),
    "names": (rb"feature_names=amount ratio", rb"feature_names=amount  ratio"),
    "same name": (rb"feature_names=amount ratio ", rb"feature_names=amount amount"),
    "bounds": (rb"max_feature_idx=3", rb"max_feature_idx=1"),
    "key twice": (rb"num_cat=(\d)", rb"num_leaves=3"),
    "category set": (rb"(?s)(decision_type=)(.*?)\n", rb"\g<1>\2 1\n"),
    "version": (rb"version=v4", rb"version=v9"),
    "bytes": (rb"tree", b"\xff"),
    "anything": (rb"(?s).*", b"hello"),
    "empty": (rb"(?s).*", b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_text_is_refused_before_the_library_sees_it(content: bytes, damage: str) -> None:
    pattern, replacement = DAMAGES[damage]
    damaged = re.sub(pattern, replacement, content, count=1)
    assert damaged != content

    with pytest.raises(RefusedError, match="not a LightGBM text") as caught:
        FORMAT.load(damaged)

    assert caught.value.code == "HF402"


TRIALS = 60


def test_no_cut_or_changed_digit_ends_the_process(content: bytes) -> None:
    code = """
import random, sys
import numpy as np
from holdfast.adapters.lightgbm import LightGBMText
from holdfast.kernel.errors import RefusedError
content, random, loaded = sys.stdin.buffer.read(), random.Random(1), 0
for trial in range(TRIALS):
    at = random.randrange(len(content))
    damaged = content[:at]
    if trial % 3:
        damaged += random.choice(b"0123456789-. \\n").to_bytes() + content[at + 1:]
    try:
        predictor = LightGBMText().load(damaged)
    except RefusedError:
        continue
    loaded += 1
    predictor.predict(np.random.Generator(np.random.Philox(1)).normal(size=(50, 4)))
    predictor.contributions(np.zeros((2, 4)))
print(loaded)
""".replace("TRIALS", str(TRIALS))
    outcome = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=False)

    assert outcome.returncode == 0, outcome.stderr.decode()[-2000:]
    assert 0 < int(outcome.stdout) < TRIALS


def test_library_is_imported_when_a_model_is_loaded_and_not_before() -> None:
    code = (
        "import sys, holdfast.adapters.lightgbm as a; f = a.LightGBMText();"
        "assert f.export(object()) is None; print('lightgbm' in sys.modules)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert outcome.stdout.strip() == "False"


def test_loading_and_scoring_print_nothing(content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    FORMAT.load(content).predict(X)

    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------------------------- through the verb
SNAPSHOT = examples.snapshot()


def fraud(data: TrainingData, params: dict[str, Any], run: RunContext) -> Any:
    model = lgb.LGBMClassifier(**QUIET, **params, random_state=run.seed)
    return model.fit(
        data.train.x,
        data.train.y,
        data.train.weight,
        feature_name=data.names,
        categorical_feature=data.categorical,
        eval_X=data.validation.x,
        eval_y=data.validation.y,
    )


def trained(**changes: Any) -> TrainResult:
    given: dict[str, Any] = {
        "policy": None,
        "gates": (Gate("auc", ">=", 0.6),),
        "formats": (FORMAT,),
        "bundles": examples.Shelf(),
        "seed": 7,
        "author": "ana",
        "started_us": 1_000,
        "elapsed": lambda: 42,
        "environment": {"python": "3.11.9"},
        "code": "git:1f2e3d+0",
        "project": "9c0e" * 10,
        "repeats": 10,
    }
    model = examples.model(params={"n_estimators": 15, "num_leaves": 7})
    return train(model, fraud, SNAPSHOT, **(given | changes))


def test_same_dataset_parameters_and_seed_give_the_same_model_bytes_and_files() -> None:
    first, second = trained(), trained(started_us=5_000)

    same = {name for name in first.files if first.files[name] == second.files[name]}
    assert same == {"model.txt", "features.json", "baseline.json"}
    assert first.scores.tobytes() == second.scores.tobytes()
    assert trained().files == first.files


def test_trained_bundle_opens_and_scores_the_test_part_alike() -> None:
    result = trained()

    bundle = open_bundle(result.files, [FORMAT])

    test = sample_of(SNAPSHOT, "test")
    assert bundle.predictor.predict(test.x).tobytes() == result.scores.tobytes()
    assert json.loads(result.files["manifest.json"])["runtime"] == {
        "considered": ["lightgbm"],
        "file": "model.txt",
        "name": "lightgbm",
    }
    assert list(result.run.importance) == list(examples.NAMES)
    assert len(result.run.history["valid_0 binary_logloss"]) == 15


def test_model_that_splits_on_nothing_but_missingness_is_accepted() -> None:
    random = np.random.default_rng(3)
    x = np.where(random.random((2_000, 1)) < 0.5, np.nan, random.normal(size=(2_000, 1)))
    y = np.where(np.isnan(x[:, 0]), 0.9, 0.1) > random.random(2_000)
    model = classifier(n_estimators=3, num_leaves=2).fit(x, y, feature_name=["seldom"])

    content = FORMAT.export(model)

    assert content is not None
    assert re.search(rb"^threshold=inf", content, re.MULTILINE)
    assert FORMAT.load(content).predict(x).shape == (2_000,)
