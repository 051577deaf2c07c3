import logging
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from holdfast.adapters.lightgbm import LightGBMText
from holdfast.adapters.lightgbm.kernels import walk
from holdfast.adapters.lightgbm.row import RUNTIMES, LightGBMRowPredictor, LightGBMRows
from holdfast.adapters.lightgbm.text import read_header
from holdfast.adapters.lightgbm.walk import TreeWalk, tree_walk
from holdfast.kernel.errors import ConflictError, ContractError, RefusedError, UnavailableError


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 5)) * [1, 100, 1e-3, 1, 1e9]
    x[:, 3] = random.integers(0, 70, n)
    x[random.random((n, 5)) < 0.15] = np.nan
    x[random.random((n, 5)) < 0.1] = 0.0
    margin = 2 * np.nan_to_num(x[:, 0]) + (np.nan_to_num(x[:, 3]) % 3 == 1) * 2 - 2
    return x, (random.random(n) < 1 / (1 + np.exp(-margin))).astype(float)


X, Y = rows(2_000)
QUIET = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}


def content(**params: Any) -> bytes:
    given = QUIET | {"objective": "binary"} | params
    data = lgb.Dataset(X, Y, categorical_feature=[3], free_raw_data=False, params=given)
    found: str = lgb.train(given, data, 40).model_to_string(importance_type="gain")
    return found.encode()


ODD = np.array(
    [np.nan, 0.0, -0.0, 1e-35, -1e-35, 1e-36, 1e300, -1e300, np.inf, -np.inf, -0.5, -1.0, 2.0**31, 3.5, 63]
)
"""Values at which one of LightGBM's rules turns, or a careless walk would read foreign memory."""


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("params", "sums_leaves"),
    [
        ({}, True),
        ({"sigmoid": 0.7}, True),
        ({"objective": "regression"}, True),
        ({"objective": "quantile", "alpha": 0.9}, True),
        ({"zero_as_missing": True}, True),
        ({"use_missing": False}, True),
        ({"num_leaves": 2}, True),
        ({"min_gain_to_split": 1e9}, True),
        ({"boosting": "dart"}, True),
        ({"max_cat_to_onehot": 100}, True),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, False),
        ({"objective": "poisson"}, False),
        ({"objective": "regression", "reg_sqrt": True}, False),
    ],
)
def test_single_rows_score_the_bits_of_the_library_itself(
    params: dict[str, Any], sums_leaves: bool, runtime: str
) -> None:
    text = content(**params)
    if runtime == "lightgbm-walk" and not sums_leaves:
        with pytest.raises(ConflictError, match="is not here"):
            LightGBMRowPredictor(text, runtime)
        return
    predictor = LightGBMRowPredictor(text, runtime)
    draw = np.random.default_rng(3)
    fresh = np.vstack(
        [rows(3_000, seed=9)[0], draw.choice(ODD, (3_000, 5)), *[np.full((1, 5), v) for v in ODD]]
    )

    one_by_one = np.array([predictor.score(row) for row in fresh])

    expected = lgb.Booster(model_str=text.decode()).predict(fresh)
    assert predictor.runtime == runtime
    assert (one_by_one.view(np.int64) == np.asarray(expected).view(np.int64)).all()
    assert (predictor.predict(fresh).view(np.int64) == one_by_one.view(np.int64)).all()
    assert LightGBMRowPredictor(text).runtime == ("lightgbm-walk" if sums_leaves else "lightgbm-fastconfig")


def test_each_split_has_its_own_rule_for_missing_values() -> None:
    draw = np.random.default_rng(11)

    def other(found: re.Match[str]) -> str:
        kinds = found[1].split(" ")
        told = [
            kind if len(kind) > 1 or int(kind) & 1 else str(draw.choice([0, 2, 4, 6, 8])) for kind in kinds
        ]
        return f"decision_type={' '.join(told)}"

    text = re.sub(r"decision_type=([0-9 ]+)", other, content(zero_as_missing=True).decode())
    predictor = LightGBMRowPredictor(text.encode(), "lightgbm-walk")
    fresh = np.vstack([rows(1_000, seed=9)[0], draw.choice(ODD, (3_000, 5))])

    one_by_one = np.array([predictor.score(row) for row in fresh])

    expected = np.asarray(lgb.Booster(model_str=text).predict(fresh))
    assert (one_by_one.view(np.int64) == expected.view(np.int64)).all()


@pytest.mark.parametrize("end", ["inf", "-inf"])
@pytest.mark.parametrize("kind", ["0", "2", "4", "6", "8", "10"])
def test_a_threshold_without_end_parts_missing_values_from_all_others(kind: str, end: str) -> None:
    text = _changed(content(num_leaves=2).decode(), "threshold", end)
    text = _changed(text, "decision_type", kind)
    predictor = LightGBMRowPredictor(text.encode(), "lightgbm-walk")

    one_by_one = np.array([predictor.score(np.full(5, value)) for value in ODD])

    expected = np.asarray(lgb.Booster(model_str=text).predict(np.tile(ODD[:, None], (1, 5))))
    assert (one_by_one.view(np.int64) == expected.view(np.int64)).all()


def _changed(text: str, field: str, value: str) -> str:
    """Return a model text with another first value of a field in its first tree that is not categorical."""
    blocks = text.split("\n\n")
    at = next(n for n, block in enumerate(blocks) if "\nnum_cat=0" in block and f"\n{field}=" in block)
    block = re.sub(rf"\n{field}=\S+", f"\n{field}={value}", blocks[at], count=1)
    longer = len(block) - len(blocks[at])
    blocks[at] = block
    head = blocks[0].split("tree_sizes=")
    sizes, _, rest = head[1].partition("\n")
    told = [int(size) for size in sizes.split(" ")]
    told[at - 1] += longer
    end = f"\n{rest}" if rest else ""
    blocks[0] = f"{head[0]}tree_sizes={' '.join(map(str, told))}{end}"
    return "\n\n".join(blocks)


def test_the_walk_is_the_same_as_plain_python() -> None:
    walked = tree_walk(read_header(content(zero_as_missing=True)))
    assert walked is not None
    draw = np.random.default_rng(4)
    for row in np.vstack([X[:100], draw.choice(ODD, (200, 5))]):
        assert walk(*walked._arrays, row) == walk.py_func(*walked._arrays, row)


def test_threads_may_share_a_predictor() -> None:
    predictor = LightGBMRowPredictor(content())
    expected = [predictor.score(row) for row in X]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(predictor.score, X, chunksize=7))

    assert found == expected


def test_contributions_are_those_of_the_package() -> None:
    text = content()

    found = LightGBMRowPredictor(text).contributions(X[:5])

    assert (found == LightGBMText().load(text).contributions(X[:5])).all()


def test_a_runtime_that_differs_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    text = content()
    honest = LightGBMRowPredictor(text)
    expected = honest.score(X[0])
    monkeypatch.setattr(TreeWalk, "score", lambda self, x: 0.5)

    with caplog.at_level(logging.WARNING, "holdfast.lightgbm"):
        predictor = LightGBMRowPredictor(text)

    assert predictor.runtime == "lightgbm-fastconfig"
    assert "lightgbm-walk differs from the batch call on 512 of 512 rows" in caplog.text
    assert predictor.score(X[0]) == expected
    with pytest.raises(ConflictError, match="`lightgbm-walk`, which is not here"):
        LightGBMRowPredictor(text, "lightgbm-walk")


@pytest.mark.parametrize("x", [np.zeros(4), np.zeros((1, 5)), np.zeros(5, np.float32), np.zeros(10)[::2]])
def test_a_row_of_another_shape_or_type_is_refused(x: np.ndarray) -> None:
    with pytest.raises(ContractError, match="reads 5 features"):
        LightGBMRowPredictor(content(num_leaves=2)).score(x)


def test_a_text_that_is_no_model_is_refused() -> None:
    with pytest.raises(RefusedError):
        LightGBMRows().load(b"tree\nversion=v4\n\n")


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.adapters.lightgbm import row

    monkeypatch.setattr(row.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="not installed"):
        row.library.__wrapped__()


def test_serving_rows_imports_neither_the_package_nor_scikit_learn(tmp_path: Any) -> None:
    path = tmp_path / "model.txt"
    path.write_bytes(content(num_leaves=3))
    code = (
        "import sys, pathlib, numpy as np\n"
        "from holdfast.adapters.lightgbm.row import LightGBMRows\n"
        "found = LightGBMRows().load(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "found.score(np.zeros(5))\n"
        "assert not {'lightgbm', 'sklearn', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
