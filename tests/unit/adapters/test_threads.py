"""Work beside the caller's: one piece at a time, in order, its errors told once."""

import threading

import pytest

from holdfast.adapters.threads import OneThread


def test_pieces_are_done_in_order_and_one_at_a_time() -> None:
    beside, done, under_way = OneThread(), [], threading.Semaphore(1)

    def piece(number: int) -> None:
        assert under_way.acquire(blocking=False)
        done.append(number)
        under_way.release()

    for number in range(50):
        beside.do(lambda number=number: piece(number))  # type: ignore[misc]
    beside.wait()

    assert done == list(range(50))


def test_work_is_done_in_another_thread_while_the_caller_goes_on() -> None:
    beside, go = OneThread(), threading.Event()
    seen: list[int] = []

    def piece() -> None:
        go.wait(10)
        seen.append(threading.get_ident())

    beside.do(piece)
    assert seen == []
    go.set()
    beside.wait()

    assert seen != [threading.get_ident()]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_is_raised_once_by_the_next_call(error: type[BaseException]) -> None:
    beside = OneThread()

    def fail() -> None:
        raise error

    beside.do(fail)

    with pytest.raises(error):
        beside.do(lambda: pytest.fail("not done"))
    beside.wait()
