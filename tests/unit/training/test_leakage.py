from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests import training_examples as examples
from tests.unit.training.test_train import trained

from holdfast.cli.render import _suspicions
from holdfast.training.leakage import FOLDS, NOTHING, SMOOTHING, probe

N = 6_000
RANDOM = np.random.default_rng(3)
Y = (RANDOM.random(N) < 0.3).astype(float)
ONES = np.ones(N)
HONEST = Y * 0.8 + RANDOM.normal(0, 1, N)  # AUC about 0.71


def look(names="a", texts=None, *columns, y=Y, weight=ONES, vetted=None):
    return probe(list(names), texts or {}, np.column_stack(columns), y, weight, vetted=vetted)


def test_honest_numbers_and_noise_stand_out_in_nothing() -> None:
    noise = RANDOM.normal(0, 1, N)
    sparse = np.where(RANDOM.random(N) < 0.9, np.nan, HONEST)

    found = look("abc", None, HONEST, noise, sparse)

    assert found.suspicions == ()
    assert 0.65 < found.alone["a"] < 0.8
    assert found.alone["b"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("sign", [1, -1])
def test_feature_that_nearly_is_the_label_orders(sign: int) -> None:
    found = look("ab", None, HONEST, sign * (Y + RANDOM.normal(0, 0.2, N)))

    (suspicion,) = found.suspicions
    assert (suspicion.feature, suspicion.kind) == ("b", "orders")
    assert "AUC 0.99" in suspicion.evidence or "AUC 1.000" in suspicion.evidence


def test_missing_value_that_tells_the_label_orders_or_settles() -> None:
    filled_in_afterwards = np.where(Y == 1, np.nan, RANDOM.normal(0, 1, N))
    for_some = np.where((Y == 0) & (RANDOM.random(N) < 0.2), np.nan, RANDOM.normal(0, 1, N))

    assert look("a", None, filled_in_afterwards).suspicions[0].kind == "orders"
    (suspicion,) = look("a", None, for_some).suspicions
    assert suspicion.kind == "settles"
    assert suspicion.evidence.startswith("where it is missing the label is 0 for all but 0 of ")


def test_value_given_only_after_the_outcome_settles() -> None:
    spaces = np.where((Y == 0) & (RANDOM.random(N) < 0.1), 1.0, 0.0)

    (suspicion,) = look("ab", None, HONEST, spaces).suspicions

    assert (suspicion.feature, suspicion.kind) == ("b", "settles")
    assert "where it is 1 the label is 0 for all but 0 of" in suspicion.evidence


def test_group_where_something_rare_is_absent_accuses_nobody() -> None:
    n = 40_000
    y = (RANDOM.random(n) < 0.01).astype(float)
    safe = (RANDOM.random(n) < 0.3) & (y == 0)

    assert look("a", None, safe.astype(float), y=y, weight=np.ones(n)).suspicions == ()


def test_column_of_rare_categories_gains_nothing_from_its_own_rows() -> None:
    codes = np.arange(N) % 2_000 + 1.0

    found = look("a", {"a": [f"c{i}" for i in range(2_000)]}, codes)

    assert found.suspicions == ()
    assert found.alone["a"] == pytest.approx(0.5, abs=0.05)


def test_two_columns_of_one_vocabulary_that_differ_where_the_label_is_decided() -> None:
    asked = RANDOM.integers(1, 5, N).astype(float)
    moved = (Y == 0) & (RANDOM.random(N) < 0.25) | (RANDOM.random(N) < 0.01)
    given_in_the_end = np.where(moved, asked % 4 + 1, asked)
    rooms = ["A", "B", "C", "D"]
    # The second vocabulary is in another order, so equal texts have different codes.
    other = np.array([np.nan, 4, 3, 2, 1])[given_in_the_end.astype(int)]

    found = look(("asked", "given"), {"asked": rooms, "given": rooms[::-1]}, asked, other)

    assert [each.kind for each in found.suspicions] == ["differs"]
    assert "was it corrected afterwards?" in found.suspicions[0].evidence
    assert (
        look(("asked", "other"), {"asked": rooms, "other": ["x", "y", "z", "w"]}, asked, other).suspicions
        == ()
    )


def test_vetted_feature_stays_on_record_with_its_reason() -> None:
    found = look("a", None, Y, vetted={"a": "a rule of the bank decides it"})

    assert [each.vetted for each in found.suspicions] == ["a rule of the bank decides it"]
    assert found.open == ()
    assert _suspicions(found.suspicions) == [
        f"leak?   a: {found.suspicions[0].evidence} (vetted: a rule of the bank decides it)"
    ]
    assert "vetted={...}" in _suspicions(look("a", None, Y).suspicions)[-1]


def test_rows_without_weight_are_not_looked_at_and_one_kind_of_label_says_nothing() -> None:
    leak = np.where(np.arange(N) < N // 2, Y, 0.0)

    assert look("a", None, leak, weight=(np.arange(N) >= N // 2).astype(float)).suspicions == ()
    assert look("a", None, Y, y=np.zeros(N)) == NOTHING


@given(st.data())
def test_auc_alone_is_the_oracles(data: st.DataObject) -> None:
    n = data.draw(st.integers(6, 40))
    y = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)))
    y[:2] = 0.0, 1.0
    codes = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan]), min_size=n, max_size=n)))

    found = probe(["a"], {"a": ["x", "y"]}, codes[:, np.newaxis], y, np.ones(n)).alone["a"]

    scores = []
    for i in range(n):
        others = [j for j in range(n) if j % FOLDS != i % FOLDS]
        same = [j for j in others if codes[j] == codes[i] or (np.isnan(codes[j]) and np.isnan(codes[i]))]
        prior = sum(y[j] for j in others) / len(others)
        scores.append((sum(y[j] for j in same) + SMOOTHING * prior) / (len(same) + SMOOTHING))
    assume(not _near_ties(scores))
    pairs = [(scores[i], scores[j]) for i in range(n) for j in range(n) if y[i] == 1 and y[j] == 0]
    naive = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert found == pytest.approx(naive)


def _near_ties(scores: list[float]) -> bool:
    """Whether two scores differ by rounding only; then the order of operations decides."""
    ordered = sorted(scores)
    return any(0 < b - a < 1e-12 for a, b in pairwise(ordered))


def test_run_and_card_hold_what_was_found() -> None:
    result = trained()
    card = result.files["card.md"].decode()

    assert set(result.run.alone) == set(examples.NAMES)
    assert result.run.suspicions == ()
    assert "## Leakage" in card
    assert "No single feature stands out." in card


def test_leak_in_a_dataset_is_told_by_run_and_card_and_stops_nothing() -> None:
    snapshot = examples.snapshot(3_000)
    leaky = examples.seal(
        snapshot.recipe,
        snapshot.profile,
        snapshot.frame.with_columns(
            ratio=snapshot.frame["_label"] + snapshot.frame["ratio"].fill_nan(0) / 1e6
        ),
    )

    plain = trained(snapshot=leaky)
    vouched = trained(snapshot=leaky, model=examples.model(vetted={"ratio": "the desk decides by it"}))

    assert [each.feature for each in plain.run.suspicions] == ["ratio"]
    assert "Nobody vouches for it." in plain.files["card.md"].decode()
    assert plain.bundle is not None
    assert "Vetted: the desk decides by it" in vouched.files["card.md"].decode()


def test_regression_is_not_probed() -> None:
    def line(data, params, run):
        return examples.Line(0.1, 0.0, curve=False)

    run = trained(line, snapshot=examples.snapshot(binary=False), gates=(), policy=None).run

    assert (run.alone, run.suspicions) == ({}, ())
