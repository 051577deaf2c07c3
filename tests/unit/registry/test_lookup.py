import pytest

from holdfast.kernel.errors import NotFoundError
from holdfast.registry.lookup import get_champion, get_run, get_version
from holdfast.testing.registry import MemoryRegistry


@pytest.fixture
def store() -> MemoryRegistry:
    store = MemoryRegistry()
    with store.transaction() as work:
        for run, model in (("r-01", "fraud"), ("r-02", "fraud"), ("r-03", "demand")):
            work.save_run(run, model, {})
            work.add_version(model=model, bundle="b", run=run, dataset="d", author="ana", created_us=1)
        work.set_state("fraud", 2, "approved")
    return store


def test_version_and_run_are_found(store: MemoryRegistry) -> None:
    assert get_version(store, "fraud", 2).run == "r-02"
    assert get_run(store, "r-03").model == "demand"


def test_unknown_version_names_those_there_are(store: MemoryRegistry) -> None:
    with pytest.raises(NotFoundError) as caught:
        get_version(store, "fraud", 3)

    assert str(caught.value) == (
        "`fraud` has no version 3.\n"
        "  at      fraud@3\n"
        "  has     fraud@1, fraud@2\n"
        "  hint    the latest is `fraud@2` (approved)  [HF300]"
    )


def test_unknown_model_names_the_nearest(store: MemoryRegistry) -> None:
    with pytest.raises(NotFoundError) as caught:
        get_version(store, "fruad", 1)

    assert caught.value.problem.message == "no version of `fruad` is registered."
    assert caught.value.problem.has == ("demand", "fraud")
    assert caught.value.hint == "did you mean `fraud`?"


def test_unknown_run_names_the_nearest(store: MemoryRegistry) -> None:
    with pytest.raises(NotFoundError, match=r"there is no run `r-1`[^$]*did you mean `r-01`"):
        get_run(store, "r-1")


def test_champion_is_the_version_of_its_alias(store: MemoryRegistry) -> None:
    with store.transaction() as work:
        work.compare_and_set("fraud", "champion", 2, 0)

    assert get_champion(store, "fraud").name == "fraud@2"


@pytest.mark.parametrize("withdrawn", [False, True])
def test_model_without_champion_says_what_could_be_deployed(store: MemoryRegistry, withdrawn: bool) -> None:
    if withdrawn:
        with store.transaction() as work:
            work.compare_and_set("fraud", "champion", None, 0)

    with pytest.raises(NotFoundError) as caught:
        get_champion(store, "fraud")

    assert caught.value.problem.has == ("fraud@1 (registered)", "fraud@2 (approved)")
    assert caught.value.hint == "deploy one: `holdfast deploy fraud 2`"


def test_unknown_model_has_no_champion(store: MemoryRegistry) -> None:
    with pytest.raises(NotFoundError, match="no version of `cats` is registered") as caught:
        get_champion(store, "cats")

    assert caught.value.hint == "holdfast train cats"
