"""The batch log on a full disk, and over a long time."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from holdfast.adapters.files import batch_log as module
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.events.batch import Batch, Logged
from holdfast.kernel.errors import ConflictError, ContractError, UnavailableError


def load(number: int, first: int = 0) -> Batch:
    return Batch(number, "s", "d" * 40, first, first + 10, "name.arrow", {"stored": 9, "HF201": 1})


def live(number: int, position: int, journal: str = "j") -> Batch:
    return Batch(number, "", f"journal:{journal}", position - 10, position, "", {"events": 1})


def test_compacted_log_says_the_same_in_less(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log", compact_bytes=1_000)
    with log.lease():
        for n in range(1, 101):
            log.append(load(2 * n - 1, 10 * (n - 1)), live(2 * n, 10 * n))
        log.settle(190)
        before = log.read()
        size = log.path.stat().st_size
        assert log.compact(["j"])
        after = log.read()
        assert not log.compact(["j"])  # nothing was settled since
        log.append(live(201, 1_010))

    assert log.path.stat().st_size < size / 10
    assert (after.through, after.settled, after.number) == (190, 190, 200)
    assert [batch.number for batch in after.batches] == list(range(191, 201))
    assert after.positions() == before.positions() == {"j": 1_000}
    assert after.loaded() == before.loaded()
    assert BatchLogFile(log.path).read().number == 201


def test_compaction_adds_to_the_summary_before(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log", compact_bytes=0)
    with log.lease():
        for n in range(1, 6):
            log.append(load(n, 10 * (n - 1)))
            log.settle(n)
            log.compact([])

    (found,) = log.read().loaded().values()
    assert (found.last, found.counts) == (50, {"stored": 45, "HF201": 5})


def test_journals_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log", compact_bytes=0)
    with log.lease():
        log.append(live(1, 10, "old"), live(2, 10, "new"))
        log.settle(2)
        log.compact(["new"])

    assert log.read() == Logged(2, (), {"new": 10}, (), 2)


def test_log_that_is_short_or_not_settled_is_left_alone(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log", compact_bytes=1_000)
    with log.lease():
        log.append(load(1))
        log.settle(1)
        assert not log.compact([])
        log.compact_bytes = 0
        assert log.compact([])
        log.append(load(2))
        assert not log.compact([])


def test_compaction_that_was_interrupted_leaves_the_old_log(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log", compact_bytes=0)
    with log.lease():
        log.append(load(1))
        log.settle(1)
    (tmp_path / "log.part").write_bytes(b"half")

    with log.lease():
        assert log.read().batches == (load(1),)
        assert log.compact([])

    assert log.read().through == 1
    assert not (tmp_path / "log.part").exists()


def test_log_is_written_by_its_holder_only(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log")

    for act in (lambda: log.append(load(1)), lambda: log.settle(1), lambda: log.compact([])):
        with pytest.raises(ConflictError):
            act()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_append_to_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    log = BatchLogFile(tmp_path / "log")
    real = os.write
    failed = []

    def write(fd: int, content: bytes) -> int:
        if failed:
            raise OSError(errno.ENOSPC, "No space left on device")
        failed.append(fd)
        return real(fd, content[: len(content) // 2])

    def fsync(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with log.lease():
        log.append(load(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, call, {"write": write, "fsync": fsync}[call])
            with pytest.raises(UnavailableError, match="No space left"):
                log.append(load(2, 10), load(3, 20))
        assert [batch.number for batch in log.entries()] == [1]
        log.append(load(2, 10))

    assert [batch.number for batch in BatchLogFile(log.path).entries()] == [1, 2]


@pytest.mark.parametrize(
    "payload",
    [{"through": 1, "loads": [], "consumed": {}}, {"what": 1}],
)
def test_entry_that_has_no_place_is_damage(tmp_path: Path, payload: dict[str, Any]) -> None:
    path = tmp_path / "log"
    path.write_bytes(module._frame(load(1)) + module._frame(payload))

    with pytest.raises(ContractError, match="an entry is none that this version writes"):
        BatchLogFile(path).read()


def test_reader_beside_a_compaction_sees_one_or_the_other(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log", compact_bytes=0)
    reader = BatchLogFile(tmp_path / "log")
    with log.lease():
        for n in range(1, 50):
            log.append(live(n, 10 * n))
            log.settle(n)
            assert reader.read().number == n
            log.compact(["j"])
            assert reader.read().number == n
