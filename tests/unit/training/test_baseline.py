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


def test_seasonal_naive_says_that_it_cannot_be_evaluated_yet() -> None:
    with pytest.raises(DefinitionError, match="seasonal_naive") as caught:
        baseline_scores(Baseline("seasonal_naive", 7), sample([1], [1]), sample([1], [1]))

    assert caught.value.code == "HF113"
