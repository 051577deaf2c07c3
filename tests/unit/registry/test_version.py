import pytest

from holdfast.kernel.errors import ConflictError
from holdfast.registry.version import TRANSITIONS, ModelVersion, State

VERSION = ModelVersion("fraud", 7, "b-1", "r-1", "d-1", "ana", 5)


def test_version_begins_registered_and_is_named_by_model_and_number() -> None:
    assert VERSION.state == "registered"
    assert VERSION.name == "fraud@7"


def test_version_moves_along_the_arrows() -> None:
    moved = VERSION.move("approved").move("champion").move("retired").move("champion")

    assert moved == ModelVersion("fraud", 7, "b-1", "r-1", "d-1", "ana", 5, "champion")


@pytest.mark.parametrize(
    ("state", "to"), [(a, b) for a in TRANSITIONS for b in TRANSITIONS if b not in TRANSITIONS[a]]
)
def test_version_moves_along_no_other_arrow(state: State, to: State) -> None:
    version = ModelVersion("fraud", 7, "b-1", "r-1", "d-1", "ana", 5, state)

    with pytest.raises(ConflictError, match=f"`fraud@7` is {state} and cannot become {to}") as caught:
        version.move(to)

    assert caught.value.code == "HF302"
    assert caught.value.problem.has == (), "what a version may become is no fact about it"
    if state in ("registered", "approved", "retired"):
        assert caught.value.hint == f"it can become {', '.join(TRANSITIONS[state])}"


def test_barred_version_is_told_how_its_bar_is_lifted() -> None:
    barred = ModelVersion("fraud", 7, "b-1", "r-1", "d-1", "ana", 5, "barred")

    with pytest.raises(ConflictError, match="holdfast deploy fraud 7 --lift-bar --reason WHY"):
        barred.move("champion")


def test_every_arrow_ends_in_a_state() -> None:
    assert {to for legal in TRANSITIONS.values() for to in legal} < set(TRANSITIONS)


def test_champion_leaves_only_when_another_version_takes_its_place() -> None:
    assert TRANSITIONS["champion"] == ("retired", "barred")


def test_rejection_is_final() -> None:
    assert TRANSITIONS["rejected"] == ()
