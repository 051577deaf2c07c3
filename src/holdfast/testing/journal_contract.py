"""The contract of the journal ports: an adapter is done when its subclass of this kit is green.

Usage::

    class TestMyJournal(JournalContract):
        @pytest.fixture
        def place(self) -> Any: ...  # where journals are kept

        def writer(self, place, name="serve") -> JournalWriter: ...

        def reader(self, place) -> JournalReader: ...

Names of tests are the sentences of the contract.
"""
# ruff: noqa: D102

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from holdfast.events.journal import (
    EVENT,
    FEEDBACK,
    MAX_FRAME_BYTES,
    PREDICTION,
    Entry,
    Frame,
    JournalReader,
    JournalWriter,
)
from holdfast.kernel.errors import ContractError, UnavailableError

ALL = 2**40


def entry(n: int, size: int = 0) -> Entry:
    """Return a frame that says a number, `size` bytes long or a few more."""
    return (EVENT, "payments", 1_000 + n, str(n).encode().ljust(size, b"."))


def numbers(frames: list[Frame]) -> list[int]:
    """Return what frames made by `entry` say."""
    return [int(frame.payload.rstrip(b".")) for frame in frames]


class JournalContract:
    """Every sentence of the ports, as a test."""

    @pytest.fixture
    def place(self) -> Any:
        """Return an empty place for journals; to be overridden."""
        raise NotImplementedError

    def writer(self, place: Any, name: str = "serve") -> JournalWriter:
        """Return a new journal, as a process that starts; to be overridden."""
        raise NotImplementedError

    def reader(self, place: Any) -> JournalReader:
        """Return a reader, as another process would open it; to be overridden."""
        raise NotImplementedError

    def all_of(self, reader: JournalReader, journal: str, position: int = 0, limit: int = 100) -> list[Frame]:
        """Read on until nothing is left."""
        found: list[Frame] = []
        while some := reader.read(journal, position, limit):
            found += some
            position = some[-1].next
        return found

    def test_nothing_was_written_nothing_is_read(self, place: Any) -> None:
        assert self.reader(place).journals() == []

    def test_appended_frames_are_read_as_they_were(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        entries = [
            (EVENT, "payments", 1, b"\x00payload"),
            (PREDICTION, "fraud", -(2**63), b""),
            (FEEDBACK, "caf\u00e9", 2**63 - 1, b"x" * 70_000),
        ]
        writer.append(entries[:2])
        end = writer.append(entries[2:])

        found = self.all_of(reader, writer.id)

        assert [(f.kind, f.source, f.arrived_us, f.payload) for f in found] == entries
        assert found[-1].next == end

    def test_positions_begin_at_zero_and_have_no_gaps(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        ends = [writer.append([entry(n)]) for n in range(5)]

        found = self.all_of(reader, writer.id)

        assert [frame.next for frame in found] == ends
        assert [frame.position for frame in found] == [0, *ends[:-1]]

    def test_reading_goes_on_from_any_frame(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        writer.append([entry(n) for n in range(3)])
        writer.append([entry(3)])

        for n, frame in enumerate(self.all_of(reader, writer.id)):
            assert numbers(self.all_of(reader, writer.id, frame.position)) == list(range(n, 4))

    def test_end_of_a_journal_gives_nothing_until_more_is_appended(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        end = writer.append([entry(1)])

        assert reader.read(writer.id, end, ALL) == []
        writer.append([entry(2)])
        assert numbers(reader.read(writer.id, end, ALL)) == [2]

    def test_limit_bounds_what_is_read_but_gives_one_append_at_least(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        for n in range(10):
            writer.append([entry(n, 1_000)])
        writer.append([entry(10, 50_000)])

        some = reader.read(writer.id, 0, 3_500)

        assert 1 <= len(some) <= 4
        assert numbers(reader.read(writer.id, 0, 1)) == [0]
        assert numbers(self.all_of(reader, writer.id, limit=1)) == list(range(11))

    def test_number_of_frames_is_limited_at_the_end_of_an_append(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        for n in range(0, 12, 3):
            writer.append([entry(n), entry(n + 1), entry(n + 2)])

        assert numbers(reader.read(writer.id, 0, ALL, 4)) == list(range(6))
        assert numbers(reader.read(writer.id, 0, ALL, 3)) == list(range(3))
        assert numbers(reader.read(writer.id, 0, ALL, 1)) == list(range(3))

    def test_append_of_nothing_is_nothing(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        end = writer.append([entry(1)])

        assert writer.append([]) == end
        assert reader.read(writer.id, end, ALL) == []

    def test_frame_that_is_too_long_is_refused_and_leaves_nothing(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        writer.append([entry(1)])

        with pytest.raises(ContractError) as caught:
            writer.append([entry(2), (EVENT, "payments", 1, bytes(MAX_FRAME_BYTES + 1))])
        with pytest.raises(ContractError):
            writer.append([(EVENT, "s" * 70_000, 1, b"")])
        writer.append([entry(3)])

        assert caught.value.code == "HF208"
        assert numbers(self.all_of(reader, writer.id)) == [1, 3]

    def test_longest_frame_is_read(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        writer.append([(EVENT, "payments", 1, bytes(MAX_FRAME_BYTES))])

        (found,) = reader.read(writer.id, 0, 100)

        assert len(found.payload) == MAX_FRAME_BYTES

    def test_journals_are_listed_oldest_first_whatever_their_names(self, place: Any) -> None:
        writers = [self.writer(place, name) for name in ("serve", "api", "serve")]
        for n, writer in enumerate(writers):
            writer.append([entry(n)])

        reader = self.reader(place)

        assert reader.journals() == [writer.id for writer in writers]
        assert [numbers(reader.read(writer.id, 0, ALL)) for writer in writers] == [[0], [1], [2]]

    def test_closed_journal_is_still_read(self, place: Any) -> None:
        writer = self.writer(place)
        writer.append([entry(1)])
        writer.close()
        writer.close()

        assert numbers(self.reader(place).read(writer.id, 0, ALL)) == [1]

    def test_closed_writer_accepts_nothing(self, place: Any) -> None:
        writer = self.writer(place)
        writer.append([entry(1)])
        writer.close()

        with pytest.raises(UnavailableError):
            writer.append([entry(2)])

    def test_journal_that_nothing_was_appended_to_leaves_nothing(self, place: Any) -> None:
        self.writer(place).close()

        assert self.reader(place).journals() == []

    def test_threads_append_whole_and_in_their_own_order(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)

        def work(thread: int) -> list[int]:
            ends = []
            for n in range(50):
                ends.append(writer.append([entry(thread * 1_000 + 2 * n), entry(thread * 1_000 + 2 * n + 1)]))
                writer.sync()
            return ends

        with ThreadPoolExecutor(4) as pool:
            ends = list(pool.map(work, range(4)))

        found = self.all_of(reader, writer.id)
        said = numbers(found)
        assert len(said) == 400
        assert all(b == a + 1 for a, b in zip(said[::2], said[1::2], strict=True))
        for thread in range(4):
            own = [n for n in said if n // 1_000 == thread]
            assert own == sorted(own)
            at = {n: frame.next for n, frame in zip(said, found, strict=True)}
            assert ends[thread] == [at[n] for n in own[1::2]]

    def test_what_is_not_dropped_stays(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        first = writer.append([entry(1)])
        writer.append([entry(2)])

        assert not reader.drop(writer.id, first, at_once=True)

        assert numbers(self.all_of(reader, writer.id, first)) == [2]

    def test_journal_of_a_living_process_outlives_its_frames(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        end = writer.append([entry(1)])

        assert not reader.drop(writer.id, end, at_once=True)
        writer.append([entry(2)])

        assert reader.journals() == [writer.id]
        assert numbers(self.all_of(reader, writer.id, end)) == [2]

    def test_closed_journal_that_was_read_to_its_end_goes_wholly(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        first = writer.append([entry(1)])
        end = writer.append([entry(2)])
        writer.close()

        assert not reader.drop(writer.id, first, at_once=True)
        assert reader.drop(writer.id, end, at_once=True)
        assert not reader.drop(writer.id, end, at_once=True)

        assert reader.journals() == []
        with pytest.raises(UnavailableError):
            reader.read(writer.id, 0, ALL)

    def test_position_behind_the_end_is_refused(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        end = writer.append([entry(1)])

        with pytest.raises(UnavailableError):
            reader.read(writer.id, end + 1_000, ALL)

    def test_sync_of_what_was_read_changes_nothing(self, place: Any) -> None:
        writer, reader = self.writer(place), self.reader(place)
        end = writer.append([entry(1)])
        reader.read(writer.id, 0, ALL)

        reader.sync(writer.id)
        writer.sync()

        assert reader.read(writer.id, end, ALL) == []
