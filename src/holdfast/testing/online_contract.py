"""The contract of the `OnlineStore` port: an adapter is done when its subclass of this kit is green.

Usage::

    class TestMyStore(OnlineStoreContract):
        @pytest.fixture
        def store(self) -> MyStore: ...

        def reopen(self, store: MyStore) -> MyStore: ...
"""

# ruff: noqa: D102
from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from holdfast.events.ports import EventId
from holdfast.features.ports import OnlineReader, OnlineStore, OnlineWriter
from holdfast.kernel.errors import ConflictError, NotFoundError

STATE, PLAN = "5a7e" * 10, b'{"views":[]}'


def key(n: int) -> bytes:
    """Return one of many keys, of 16 or 24 bytes."""
    return struct.pack(">QQ", 1 << 56 | n, n) + bytes(8 * (n % 2))


def blob(*words: int) -> bytes:
    """Return a blob of these words."""
    return struct.pack(f"<{len(words)}q", *words)


def event(n: int, day: int = 0) -> EventId:
    """Return one of many ids."""
    return EventId(day, n.to_bytes(16, "big"))


@contextmanager
def writing(store: OnlineStore, generation: Any = None) -> Iterator[OnlineWriter]:
    """Hold a new generation, or the one given."""
    writer = store.writer(generation or store.create(STATE, PLAN))
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def reading(store: OnlineStore, generation: Any) -> Iterator[OnlineReader]:
    """Open a generation."""
    reader = store.reader(generation)
    try:
        yield reader
    finally:
        reader.close()


def words(reader: OnlineReader, *keys: bytes) -> tuple[int, list[list[int]]]:
    """Return the batch of a snapshot and the blobs of some keys."""
    with reader.snapshot() as snapshot:
        return snapshot.batch, [np.frombuffer(found, np.int64).tolist() for found in snapshot.get(keys)]


class OnlineStoreContract:
    """Every sentence of the port, as a test."""

    @pytest.fixture
    def store(self) -> Any:
        """Return a store without generations; to be overridden."""
        raise NotImplementedError

    def reopen(self, store: Any) -> OnlineStore:
        """Return another store on the same generations, as of another process; to be overridden."""
        raise NotImplementedError

    def test_commit_is_seen_by_later_snapshots_of_everyone(self, store: OnlineStore) -> None:
        with writing(store) as writer:
            with reading(self.reopen(store), writer.generation) as reader:
                assert words(reader, key(1)) == (0, [[]])
                assert writer.commit(3, {key(1): blob(1, -2), key(2): blob(3)})

                assert words(reader, key(2), key(1), key(3)) == (3, [[3], [1, -2], []])
            assert [bytes(found) for found in writer.get([key(3), key(1)])] == [b"", blob(1, -2)]

    def test_blobs_are_aligned_words_whatever_lies_beside_them(self, store: OnlineStore) -> None:
        with writing(store) as writer, reading(store, writer.generation) as reader:
            for batch in range(1, 6):
                sizes = {n: (n * 37 + batch * 101) % 700 + 1 for n in range(300)}
                assert writer.commit(batch, {key(n): blob(*range(size)) for n, size in sizes.items()})
                with reader.snapshot() as snapshot:
                    for size, found in zip(
                        sizes.values(), snapshot.get([key(n) for n in sizes]), strict=True
                    ):
                        array = np.frombuffer(found, np.int64)
                        assert array.flags.aligned
                        assert not array.flags.writeable
                        assert array.tolist() == list(range(size))

    def test_snapshot_keeps_what_it_saw(self, store: OnlineStore) -> None:
        with writing(store) as writer, reading(store, writer.generation) as reader:
            writer.commit(1, {key(1): blob(1)})
            with reader.snapshot() as snapshot:
                before = snapshot.get([key(1)])[0]
                for batch in range(2, 20):
                    writer.commit(batch, {key(n): blob(*[batch] * 300) for n in range(100)})

                assert snapshot.batch == 1
                assert bytes(before) == bytes(snapshot.get([key(1)])[0]) == blob(1)
                assert len(snapshot.get([key(2)])[0]) == 0
            assert words(reader, key(1))[0] == 19

    def test_repeated_batch_changes_nothing(self, store: OnlineStore) -> None:
        with writing(store) as writer, reading(store, writer.generation) as reader:
            assert writer.commit(5, {key(1): blob(1)}, ids={event(1): b"a"}, verdicts=b"five")
            for batch in (5, 4, 0):
                assert not writer.commit(batch, {key(1): blob(2)}, ids={event(1): b"b"}, verdicts=b"no")

            assert words(reader, key(1)) == (5, [[1]])
            assert writer.batch == 5
            assert writer.find_ids([event(1)]) == [b"a"]
            assert list(writer.verdicts()) == [(5, b"five")]
            assert writer.commit(9, {})

    def test_batch_and_everything_else_outlive_the_writer(self, store: OnlineStore) -> None:
        with writing(store) as writer:
            writer.commit(7, {key(1): blob(1)}, ids={event(1): b"a"}, verdicts=b"seven")
            generation = writer.generation

        with writing(self.reopen(store), generation) as writer:
            assert (writer.batch, writer.plan) == (7, PLAN)
            assert [bytes(found) for found in writer.get([key(1)])] == [blob(1)]
            assert writer.find_ids([event(1), event(2)]) == [b"a", b""]
            assert list(writer.verdicts()) == [(7, b"seven")]
            assert not writer.commit(7, {})

    def test_second_writer_of_a_generation_is_refused(self, store: OnlineStore) -> None:
        with writing(store) as writer:
            for other in (store, self.reopen(store)):
                with pytest.raises(ConflictError) as refused:
                    other.writer(writer.generation)
                assert refused.value.code == "HF303"
            with writing(store) as another:
                assert another.generation != writer.generation
            generation = writer.generation

        with writing(self.reopen(store), generation):
            pass

    def test_ids_are_forgotten_by_day(self, store: OnlineStore) -> None:
        known = {event(n, day): bytes((n,)) for day in (-2, -1, 0, 1) for n in range(3)}
        with writing(store) as writer:
            writer.commit(1, {}, ids=known)
            assert writer.find_ids(list(known)) == list(known.values())
            assert writer.find_ids([event(1, 7)]) == [b""]

            writer.commit(2, {}, forget_before=0)

            kept = [digest if each.day >= 0 else b"" for each, digest in known.items()]
            assert writer.find_ids(list(known)) == kept

    def test_verdicts_are_kept_until_they_are_dropped(self, store: OnlineStore) -> None:
        with writing(store) as writer:
            for batch in (1, 2, 300, 301):
                writer.commit(batch, {}, verdicts=None if batch == 2 else bytes((batch % 256,)))

            assert [batch for batch, _ in writer.verdicts()] == [1, 300, 301]
            assert list(writer.verdicts(after=300)) == [(301, bytes((45,)))]
            writer.drop_verdicts(300)
            assert [batch for batch, _ in writer.verdicts()] == [301]
            writer.drop_verdicts(1000)
            assert list(writer.verdicts()) == []

    def test_filling_ends_with_the_first_batch(self, store: OnlineStore) -> None:
        with writing(store) as writer:
            writer.fill({key(1): blob(1), key(2): blob(2)}, ids={event(1): b"a"})
            writer.fill({key(1): blob(3)})
            assert writer.batch is None
            assert [bytes(found) for found in writer.get([key(1), key(2)])] == [blob(3), blob(2)]
            with pytest.raises(ConflictError):
                store.make_current(writer.generation)

            assert writer.commit(0, {})
            assert writer.find_ids([event(1)]) == [b"a"]
            with pytest.raises(ConflictError):
                writer.fill({key(1): blob(4)})

    def test_generation_becomes_current_in_one_step(self, store: OnlineStore) -> None:
        assert store.current() is None
        other = self.reopen(store)
        with writing(store) as writer:
            writer.commit(1, {key(1): blob(1)})
            first = writer.generation
        store.make_current(first)
        assert other.current() == store.current() == first

        with reading(other, first) as old, writing(store) as writer:
            writer.fill({key(1): blob(2)})
            assert other.current() == first
            writer.commit(2, {})
            store.make_current(writer.generation)

            assert other.current() == writer.generation
            assert words(old, key(1)) == (1, [[1]])
            with reading(other, writer.generation) as new:
                assert words(new, key(1)) == (2, [[2]])
                assert (new.plan, new.generation) == (PLAN, writer.generation)

    def test_generations_are_numbered_for_each_state(self, store: OnlineStore) -> None:
        found = [store.create(state, PLAN) for state in ("a" * 40, "b" * 40, "a" * 40)]

        assert [each.number for each in found] == [1, 1, 2]
        assert self.reopen(store).generations() == sorted(found)

    def test_removed_generation_is_gone(self, store: OnlineStore) -> None:
        with writing(store) as writer:
            writer.commit(1, {})
            live = writer.generation
            with pytest.raises(ConflictError):
                store.remove(live)
        store.make_current(live)
        old = store.create(STATE, PLAN)

        store.remove(old)
        store.remove(old)
        with pytest.raises(ConflictError):
            store.remove(live)

        assert store.generations() == [live]
        for use in (store.reader, store.writer, store.make_current):
            with pytest.raises(NotFoundError):
                use(old)

    def test_snapshots_of_many_threads_see_whole_batches(self, store: OnlineStore) -> None:
        keys, last = [key(n) for n in range(50)], 60

        def look(reader: OnlineReader) -> None:
            batch = 0
            while batch < last:
                with reader.snapshot() as snapshot:
                    assert snapshot.batch >= batch
                    batch = snapshot.batch
                    seen: Sequence[Any] = snapshot.get(keys)
                    assert {bytes(each[:8]) for each in seen} == {blob(batch)}

        with writing(store) as writer, reading(self.reopen(store), writer.generation) as reader:
            writer.commit(1, {each: blob(1) for each in keys})
            with ThreadPoolExecutor(3) as pool:
                looks = [pool.submit(look, reader) for _ in range(3)]
                for batch in range(2, last + 1):
                    writer.commit(batch, {each: blob(*[batch] * (batch * 5)) for each in keys})
                for each in looks:
                    each.result(timeout=60)

    def test_closing_twice_is_harmless(self, store: OnlineStore) -> None:
        writer = store.writer(store.create(STATE, PLAN))
        reader = store.reader(writer.generation)
        for each in (writer, reader):
            each.close()
            each.close()
