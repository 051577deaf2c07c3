import numpy as np
import pytest

from holdfast.kernel.errors import DefinitionError
from holdfast.training.baseline import baseline_scores
from holdfast.training.model import Baseline, Sample


def sample(y: list[float], weight: list[float]) -> Sample:
    n = len(y)
    return Sample(np.zeros((n, 1)), np.array(y), np.array(weight), np.arange(n))


def test_prior_is_the_weighted_mean_of_the_training_labels() -> None:
    scores = baseline_scores(Baseline("prior"), sample([1, 0], [1, 3]), sample([1, 1, 1], [1, 1, 1]))

    assert scores.tolist() == [0.25, 0.25, 0.25]


def test_seasonal_naive_is_what_the_dataset_knows_of_the_season_before() -> None:
    known = np.array([3.0, 4.0])

    scores = baseline_scores(Baseline("seasonal_naive", 7), sample([1], [1]), sample([1, 2], [1, 1]), known)

    assert scores.tolist() == [3.0, 4.0]


def test_seasonal_naive_of_rows_that_are_no_grid_is_refused() -> None:
    with pytest.raises(DefinitionError, match="seasonal_naive") as caught:
        baseline_scores(Baseline("seasonal_naive", 7), sample([1], [1]), sample([1], [1]))

    assert caught.value.code == "HF110"
