import os
import time
from pathlib import Path

import pytest

from holdfast.adapters.clock import ScaledClock, write_state
from holdfast.kernel.errors import UnavailableError, UsageError

DAY = 86_400_000_000


def until(clock: ScaledClock, instant: int) -> int:
    """Return the clock's time once it is at an instant or later."""
    deadline = time.monotonic() + 5
    while (now := clock.now_us()) < instant:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return now


def test_clock_begins_at_the_instant_it_was_set_to(tmp_path: Path) -> None:
    write_state(tmp_path / "clock.json", 100 * DAY)

    assert 0 <= ScaledClock(tmp_path / "clock.json").now_us() - 100 * DAY < 60_000_000


def test_clock_runs_by_its_factor(tmp_path: Path) -> None:
    write_state(tmp_path / "clock.json", 100 * DAY, 60)
    clock = ScaledClock(tmp_path / "clock.json")

    wall, first = time.time_ns(), clock.now_us()
    later = until(clock, first + 1_000_000)

    assert later - first <= (time.time_ns() - wall) / 1_000 * 60 + 60


def test_all_processes_that_share_the_file_jump(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    write_state(path, 100 * DAY)
    clocks = [ScaledClock(path), ScaledClock(path)]

    write_state(path, 101 * DAY)

    for clock in clocks:
        until(clock, 101 * DAY)


def test_clock_that_is_set_back_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    write_state(path, 100 * DAY)
    clock = ScaledClock(path)
    before = clock.now_us()

    write_state(path, 99 * DAY)
    os.utime(path, ns=(1, 1))
    time.sleep(0.02)

    assert clock.now_us() == before


def test_clock_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        ScaledClock(tmp_path / "clock.json")


def test_clock_faster_than_sixty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="60 times"):
        write_state(tmp_path / "clock.json", 0, 61)
