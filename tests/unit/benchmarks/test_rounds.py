"""Benchmarks run in turns, lose nothing, and say which targets are met."""

import signal
from pathlib import Path

import polars as pl
import pytest
from benchmarks.dataset_equal import check_equal
from benchmarks.rounds import Rounds, in_turns
from benchmarks.run import HERE, summary, verdicts
from benchmarks.targets import TARGETS, Target

from holdfast.datasets.snapshot import PART, WEIGHT


def test_contestants_run_in_turns_and_medians_are_of_all_rounds() -> None:
    order: list[str] = []
    values = iter([1.0, 10.0, 5.0, 10.0, 2.0, 10.0])

    def contestant(name: str) -> dict[str, float]:
        order.append(name)
        return {"s": next(values)}

    rounds = in_turns({"a": lambda: contestant("a"), "b": lambda: contestant("b")}, 3)

    assert order == ["a", "b"] * 3
    assert (rounds.median("a"), rounds.median("b"), rounds.runs) == (2.0, 10.0, 3)
    assert not rounds.interrupted


def test_an_interrupt_keeps_what_was_measured_and_counts_whole_rounds() -> None:
    told: list[int] = []
    number = iter(range(10))

    def slow() -> dict[str, float]:
        if next(number) == 2:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise RuntimeError("as some engines tell it") from None
        return {"s": 7.0}

    def tell(rounds: Rounds) -> None:
        told.append(rounds.runs)

    rounds = in_turns({"quick": lambda: {"s": 1.0}, "slow": slow}, 5, after=tell)

    assert told == [1, 2]
    assert rounds.interrupted
    assert (len(rounds.found["quick"]), len(rounds.found["slow"]), rounds.runs) == (3, 2, 2)


def test_a_contestant_that_fails_fails_the_benchmark() -> None:
    def broken() -> dict[str, float]:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        in_turns({"broken": broken}, 2)


def test_the_table_tells_met_missed_and_not_measured_apart() -> None:
    targets = {"a": Target("<=", 1.0), "b": Target(">=", 5.0), "c": Target(">=", 5.0)}

    rows = verdicts({"a": 1.0, "b": 4.9, "other": 3.0}, targets)

    assert rows == [
        ("a", "1", "<= 1", "met"),
        ("b", "4.9", ">= 5", "missed"),
        ("c", "", ">= 5", "not measured"),
        ("other", "3", "", ""),
    ]
    assert summary(rows) == "1 of 3 targets met; b missed; c not measured"


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_of_a_figure_that_some_benchmark_writes(name: str) -> None:
    stem, _, last = name.rpartition("_")
    sources = [path.read_text() for path in Path(HERE).glob("bench_*.py")]

    assert any(f'"{name}"' in text or (f'_{last}"' in text and f'"{stem}"' in text) for text in sources)


def snapshot(**changes: list[object]) -> pl.DataFrame:
    """Two rows of a dataset; `mean` is missing in the second."""
    columns = {
        "_key": ["a", "b"],
        "mean": [0.5, float("nan")],
        "country": [1.0, 0.0],
        WEIGHT: [1.0, 1.0],
        PART: ["train", "test"],
    }
    return pl.DataFrame(columns | changes, strict=False)


def test_datasets_are_equal_where_categories_and_missing_values_mean_the_same() -> None:
    theirs = pl.DataFrame({"_key": ["a", "b"], "mean": [0.5, None], "country": ["PT", "rare"]})

    assert check_equal(snapshot(), theirs, ("PT",)) == 6


@pytest.mark.parametrize(
    ("column", "values"),
    [("mean", [0.5 + 2**-53, None]), ("mean", [0.5, 0.0]), ("country", ["PT", None]), ("_key", ["b", "a"])],
)
def test_one_differing_value_of_a_dataset_is_found(column: str, values: list[object]) -> None:
    columns = {"_key": ["a", "b"], "mean": [0.5, None], "country": ["PT", "rare"]}

    with pytest.raises(AssertionError, match=f"{column}: [12] of 2 differ"):
        check_equal(snapshot(), pl.DataFrame(columns | {column: values}), ("PT",))
