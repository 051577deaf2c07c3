"""Journals on disk: the contract, then what happens to files, disks and processes."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast.adapters.journal import JournalFileWriter, JournalFolder
from holdfast.adapters.journal import frames as module
from holdfast.adapters.journal.frames import HEAD, encode
from holdfast.events.journal import JournalReader, JournalWriter
from holdfast.kernel.errors import ConflictError, ContractError, UnavailableError
from holdfast.testing.journal import MemoryJournal
from holdfast.testing.journal_contract import ALL, JournalContract, entry, numbers


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def now_us(self) -> int:
        self.now += 1
        return self.now


CLOCK = Clock()


class TestJournalFiles(JournalContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "journal"

    def writer(self, place: Path, name: str = "serve") -> JournalWriter:
        return JournalFileWriter(place, name, CLOCK)

    def reader(self, place: Path) -> JournalReader:
        return JournalFolder(place)


class TestSmallSegments(TestJournalFiles):
    """The same, where almost every append begins a segment."""

    def writer(self, place: Path, name: str = "serve") -> JournalWriter:
        return JournalFileWriter(place, name, CLOCK, segment_bytes=64)


class TestPowerDurability(TestJournalFiles):
    def writer(self, place: Path, name: str = "serve") -> JournalWriter:
        return JournalFileWriter(place, name, CLOCK, "power", segment_bytes=1_000)


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def place(self) -> MemoryJournal:
        return MemoryJournal()

    def writer(self, place: MemoryJournal, name: str = "serve") -> JournalWriter:
        return place.writer(name)

    def reader(self, place: MemoryJournal) -> JournalReader:
        return place


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("segments/*/*.seg"))


def written(folder: Path, *entries: Any, **kwargs: Any) -> str:
    """Return the id of a closed journal with one append for each entry."""
    writer = JournalFileWriter(folder, "serve", CLOCK, **kwargs)
    for each in entries:
        writer.append([each] if isinstance(each, tuple) else each)
    writer.close()
    return writer.id


def read_all(reader: JournalFolder, journal: str, position: int = 0) -> list[int]:
    found = []
    while frames := reader.read(journal, position, 4_096):
        found += numbers(frames)
        position = frames[-1].next
    return found


# ------------------------------------------------------------------------------------------------- torn tail


def test_torn_tail_is_not_there_yet_at_any_byte(tmp_path: Path) -> None:
    journal = written(tmp_path, entry(1), entry(2, 200))
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    first = JournalFolder(tmp_path).read(journal, 0, 1)[0].next

    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        assert read_all(JournalFolder(tmp_path), journal) == [1]
    path.write_bytes(whole)
    assert read_all(JournalFolder(tmp_path), journal) == [1, 2]


def test_append_that_was_cut_between_its_frames_is_not_there(tmp_path: Path) -> None:
    journal = written(tmp_path, entry(1), [entry(2), entry(3), entry(4)])
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    ends = [frame.next for frame in JournalFolder(tmp_path).read(journal, 0, ALL)]

    for cut in ends[:-1]:
        path.write_bytes(whole[:cut])
        assert read_all(JournalFolder(tmp_path), journal) == [1]


def test_torn_tail_of_a_dead_process_does_not_keep_its_journal(tmp_path: Path) -> None:
    journal = written(tmp_path, entry(1), entry(2))
    (path,) = segments(tmp_path)
    end = JournalFolder(tmp_path).read(journal, 0, 1)[0].next
    path.write_bytes(path.read_bytes()[:-1])

    assert JournalFolder(tmp_path).drop(journal, end, at_once=True)
    assert JournalFolder(tmp_path).journals() == []


def test_zeros_after_a_loss_of_power_are_a_torn_tail(tmp_path: Path) -> None:
    journal = written(tmp_path, entry(1), entry(2, 2_000))
    (path,) = segments(tmp_path)
    whole = path.read_bytes()

    for flushed in (512, 1_024, 1_536):
        path.write_bytes(whole[:flushed].ljust(len(whole), b"\0"))
        assert read_all(JournalFolder(tmp_path), journal) == [1]
    path.write_bytes(whole[:512].ljust(8_192, b"\0"))
    assert read_all(JournalFolder(tmp_path), journal) == [1]


# ---------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("bit", [0, 5])
def test_flipped_bit_anywhere_is_refused_with_file_and_offset(tmp_path: Path, bit: int) -> None:
    journal = written(tmp_path, entry(1), entry(2, 40), entry(3))
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    start = JournalFolder(tmp_path).read(journal, 0, 1)[0].next
    end = JournalFolder(tmp_path).read(journal, start, 1)[0].next

    for position in range(start, end):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        path.write_bytes(damaged)
        reader = JournalFolder(tmp_path)
        assert numbers(reader.read(journal, 0, ALL))[0] == 1
        with pytest.raises(UnavailableError) as caught:
            reader.read(journal, start, ALL)
        assert caught.value.code == "HF600"
        assert f"is damaged at byte {start} of {path.name}." in caught.value.problem.message
        assert caught.value.problem.at == str(path)


def test_damage_of_the_very_last_frame_is_refused_not_skipped(tmp_path: Path) -> None:
    journal = written(tmp_path, entry(1), entry(2, 700))
    (path,) = segments(tmp_path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)

    with pytest.raises(UnavailableError, match="is damaged at byte"):
        read_all(JournalFolder(tmp_path), journal)
    assert not JournalFolder(tmp_path).drop(journal, 0, at_once=True)


def test_missing_end_of_an_earlier_segment_is_damage(tmp_path: Path) -> None:
    journal = written(tmp_path, *(entry(n, 50) for n in range(4)), segment_bytes=100)
    first = segments(tmp_path)[0]
    first.write_bytes(first.read_bytes()[:-1])

    with pytest.raises(UnavailableError, match=r"is damaged at byte 0 of 0+\.seg"):
        read_all(JournalFolder(tmp_path), journal)


def test_missing_segment_is_refused(tmp_path: Path) -> None:
    journal = written(tmp_path, *(entry(n, 50) for n in range(4)), segment_bytes=100)
    found = segments(tmp_path)
    found[0].unlink()

    with pytest.raises(UnavailableError, match="no longer holds byte 0"):
        JournalFolder(tmp_path).read(journal, 0, ALL)


def test_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "VERSION", 2)
        journal = written(tmp_path, entry(1))

    with pytest.raises(ConflictError) as caught:
        JournalFolder(tmp_path).read(journal, 0, ALL)
    assert caught.value.code == "HF304"


# ------------------------------------------------------------------------------------------------ full disks


def test_failed_write_acknowledges_nothing_and_the_next_one_is_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = JournalFileWriter(tmp_path, "serve", CLOCK), JournalFolder(tmp_path)
    end = writer.append([entry(1)])
    real = os.write

    def full(fd: int, content: Any) -> int:
        if isinstance(content, memoryview):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, content[: len(content) * 2 // 3])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(UnavailableError) as caught:
            writer.append([entry(2), entry(3), entry(4)])
    assert "No space left on device" in str(caught.value)
    assert reader.read(writer.id, end, ALL) == []

    assert writer.append([entry(5)]) > end
    assert read_all(reader, writer.id) == [1, 5]


FULL_DISK = """
import resource, sys
from holdfast.adapters.journal import JournalFileWriter, JournalFolder
from holdfast.kernel.errors import UnavailableError

class Clock:
    def now_us(self):
        return 1

place = sys.argv[1]
writer = JournalFileWriter(place, "serve", Clock())
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
stored = 0
try:
    while True:
        writer.append([(1, "payments", 1, b"x" * 300), (2, "fraud", 1, b"y" * 300)])
        stored += 2
except UnavailableError as error:
    print(error.code)
try:
    writer.append([(1, "payments", 1, b"x" * 9_000)])
except UnavailableError as error:
    print(error.code)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.append([(1, "payments", 1, b"z")])
frames = JournalFolder(place).read(writer.id, 0, 2**30)
print(len(frames) == stored + 1, frames[-1].payload, {len(frame.payload) for frame in frames[:-1]})
"""


def test_writer_survives_a_file_that_may_not_grow(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]

    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    assert said == ["HF600", "HF600", "True b'z' {300}"]


def test_segment_that_cannot_be_made_leaves_the_old_one_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalFileWriter(tmp_path, "serve", CLOCK, segment_bytes=200)
    end = writer.append([entry(1, 100)])
    real = os.open

    def full(path: Any, *args: Any) -> int:
        if str(path).endswith(".seg"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        for size in (100, 0):
            with pytest.raises(UnavailableError):
                writer.append([entry(2, size)])
    assert writer.append([entry(3)]) > end

    assert len(segments(tmp_path)) == 2
    assert read_all(JournalFolder(tmp_path), writer.id) == [1, 3]


def test_failed_flush_is_never_followed_by_an_acknowledgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalFileWriter(tmp_path, "serve", CLOCK, "power")
    writer.append([entry(1)])

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(UnavailableError, match="Input/output error"):
            writer.sync()
    with pytest.raises(UnavailableError):
        writer.sync()
    with pytest.raises(UnavailableError):
        writer.append([entry(2)])


# ----------------------------------------------------------------------------------------------- durability


def test_one_flush_serves_all_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = JournalFileWriter(tmp_path, "serve", CLOCK, "power")
    inside, go = threading.Event(), threading.Event()
    flushes = []

    def slow(fd: int) -> None:
        flushes.append(fd)
        inside.set()
        assert go.wait(10)

    monkeypatch.setattr(os, "fdatasync", slow)
    writer.append([entry(0)])
    first = threading.Thread(target=writer.sync)
    first.start()
    assert inside.wait(10)
    others = []
    for n in range(1, 9):
        writer.append([entry(n)])
        others.append(threading.Thread(target=writer.sync))
        others[-1].start()
    go.set()
    for thread in (first, *others):
        thread.join(10)

    assert len(flushes) == 2


def test_process_durability_flushes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = JournalFileWriter(tmp_path, "serve", CLOCK)
    monkeypatch.setattr(os, "fdatasync", lambda fd: pytest.fail("flushed"))

    writer.append([entry(1)])
    writer.sync()


def test_power_durability_flushes_a_segment_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalFileWriter(tmp_path, "serve", CLOCK, "power", segment_bytes=100)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)

    writer.append([entry(1, 90)])
    assert flushed == []
    writer.append([entry(2, 90)])

    assert len(flushed) == 1


def test_reader_flushes_what_it_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = written(tmp_path, entry(1, 90), entry(2, 90), segment_bytes=100)
    reader = JournalFolder(tmp_path)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)

    read_all(reader, journal)
    reader.sync(journal)
    reader.sync(journal)

    assert len(flushed) == 2


# ------------------------------------------------------------------------------------------------- retention


def test_consumed_segments_are_kept_for_a_while(tmp_path: Path) -> None:
    journal = written(tmp_path, *(entry(n, 90) for n in range(3)), segment_bytes=100)
    end = JournalFolder(tmp_path).read(journal, 0, 1)[0].next
    reader = JournalFolder(tmp_path, keep_s=3_600)

    assert not reader.drop(journal, end)
    assert len(segments(tmp_path)) == 3

    for path in segments(tmp_path):
        os.utime(path, (time.time() - 3_601,) * 2)
    assert not reader.drop(journal, end)
    assert len(segments(tmp_path)) == 2
    assert read_all(reader, journal, end) == [1, 2]


def test_folder_that_a_process_left_empty_goes(tmp_path: Path) -> None:
    folder = tmp_path / "segments" / "serve-00000000001-1"
    folder.mkdir(parents=True)

    assert JournalFolder(tmp_path, keep_s=3_600).journals() == []
    assert folder.exists()
    assert JournalFolder(tmp_path, keep_s=0).journals() == []
    assert not folder.exists()


def test_two_journals_of_one_instant_have_two_names(tmp_path: Path) -> None:
    class Stopped:
        def now_us(self) -> int:
            return 7

    writers = [JournalFileWriter(tmp_path, "serve", Stopped()) for _ in range(3)]

    assert len({writer.id for writer in writers}) == 3
    assert writers[0].id == f"serve-00000000007-{os.getpid()}"


@pytest.mark.parametrize("name", ["", "Serve", "a/b", "a" * 65, "-a"])
def test_name_of_a_journal_is_a_plain_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(ContractError):
        JournalFileWriter(tmp_path, name, CLOCK)


def test_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")

    with pytest.raises(UnavailableError):
        JournalFileWriter(tmp_path / "journal", "serve", CLOCK)


# ------------------------------------------------------------------------------------------------- processes

APPENDER = """
import sys
from holdfast.adapters.journal import JournalFileWriter

class Clock:
    def now_us(self):
        return 1

writer = JournalFileWriter(sys.argv[1], "serve", Clock(), segment_bytes=200_000)
print(writer.id, flush=True)
n = 0
while True:
    writer.append([(1, "payments", n, str(n).encode().ljust(300 + n % 900, b"."))])
    writer.append([(1, "payments", n, str(n + i).encode()) for i in range(1, 4)])
    n += 4
    if n % 2_000 == 0:
        print(n, flush=True)
"""


def test_reader_beside_a_living_writer_sees_every_append_once_and_whole(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        journal = process.stdout.readline().strip()
        reader, position, seen, reads = JournalFolder(tmp_path), 0, 0, 0
        deadline = time.monotonic() + 60
        while seen < 8_000:
            frames = reader.read(journal, position, 50_000)
            reads += bool(frames)
            assert numbers(frames) == list(range(seen, seen + len(frames)))
            seen += len(frames)
            assert seen % 4 != 2  # never within the append of three
            assert seen % 4 != 3
            position = frames[-1].next if frames else position
            assert time.monotonic() < deadline
    finally:
        process.kill()
        process.communicate()
    while frames := reader.read(journal, position, 50_000):
        assert numbers(frames) == list(range(seen, seen + len(frames)))
        seen += len(frames)
        position = frames[-1].next

    assert reads > 2
    assert len(segments(tmp_path)) > 1
    assert reader.drop(journal, position, at_once=True)


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    journal = process.stdout.readline().strip()
    acknowledged = int(process.stdout.readline())
    process.kill()
    rest, _ = process.communicate()
    acknowledged = max([acknowledged, *map(int, rest.split())])

    assert len(read_all(JournalFolder(tmp_path), journal)) >= acknowledged


def test_frame_has_twenty_four_bytes_of_head() -> None:
    assert HEAD.size == 24
    assert len(encode([(1, "ab", 3, b"cde")])) == 24 + 2 + 3
