import pytest

from holdfast.kernel.errors import ConflictError
from holdfast.registry.alias import Alias, advance


def test_first_set_expects_revision_zero() -> None:
    assert advance(None, "fraud", "champion", 7, 0) == Alias("fraud", "champion", 7, 1)


def test_revision_grows_with_each_change_and_outlives_a_withdrawal() -> None:
    withdrawn = advance(Alias("fraud", "challenger", 7, 3), "fraud", "challenger", None, 3)

    assert withdrawn == Alias("fraud", "challenger", None, 4)
    assert advance(withdrawn, "fraud", "challenger", 7, 4).revision == 5


def test_lost_compare_and_set_says_what_is_there_now() -> None:
    with pytest.raises(ConflictError) as caught:
        advance(Alias("fraud", "champion", 8, 4), "fraud", "champion", 9, 3)

    assert str(caught.value) == (
        "`champion` of `fraud` was changed meanwhile: expected revision 3, found 4.\n"
        "  at      fraud.champion\n"
        "  has     `fraud@8` since revision 4\n"
        "  hint    look at the alias again; if the change is still wanted, repeat it  [HF301]"
    )


@pytest.mark.parametrize(
    ("current", "has"),
    [
        (None, "never set"),
        (Alias("fraud", "champion", None, 2), "no version since revision 2"),
    ],
)
def test_lost_compare_and_set_says_that_there_is_no_version(current: Alias | None, has: str) -> None:
    with pytest.raises(ConflictError) as caught:
        advance(current, "fraud", "champion", 9, 1)

    assert caught.value.problem.has == (has,)
