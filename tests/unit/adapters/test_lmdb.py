"""The online store in LMDB keeps the promises of the port, and says what is wrong with a file."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lmdb
import pytest

from holdfast.adapters.lmdb import LmdbOnline, environment
from holdfast.features.ports import Generation
from holdfast.kernel.errors import ContractError, UnavailableError, UsageError
from holdfast.testing.online_contract import (
    PLAN,
    STATE,
    OnlineStoreContract,
    blob,
    event,
    key,
    reading,
    words,
    writing,
)


class TestLmdbOnline(OnlineStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LmdbOnline:
        return LmdbOnline(tmp_path / "online")

    def reopen(self, store: Any) -> LmdbOnline:
        return LmdbOnline(store.root)


@pytest.fixture
def store(tmp_path: Path) -> LmdbOnline:
    return LmdbOnline(tmp_path / "online")


def folder(store: LmdbOnline, generation: Generation) -> Path:
    return store.root / generation.state / str(generation.number)


def filled(store: LmdbOnline) -> Generation:
    with writing(store) as writer:
        writer.commit(1, {key(n): blob(*range(50)) for n in range(2000)})
    return writer.generation


def test_file_grows_beyond_its_map(tmp_path: Path) -> None:
    store = LmdbOnline(tmp_path / "online", map_bytes=2**20)
    with writing(store) as writer, reading(LmdbOnline(store.root), writer.generation) as reader:
        for batch in range(1, 6):
            writer.commit(batch, {key(1000 * batch + n): blob(*range(100)) for n in range(1000)})

        assert words(reader, key(1000), key(5999)) == (5, [list(range(100))] * 2)


def test_reader_of_another_process_follows_growth(tmp_path: Path) -> None:
    store = LmdbOnline(tmp_path / "online", map_bytes=2**20)
    with writing(store) as writer:
        writer.commit(1, {key(1): blob(1)})
        script = f"""
import sys
from holdfast.adapters.lmdb import LmdbOnline
from holdfast.testing.online_contract import STATE, key, words
store = LmdbOnline({str(store.root)!r}, map_bytes={2**20})
reader = store.reader(store.generations()[0])
for line in sys.stdin:
    print(words(reader, key(1), key(1999)), flush=True)
"""
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "(1, [[1], []])\n"
            writer.commit(2, {key(n): blob(*[n] * 200) for n in range(2000)})
            other.stdin.write("\n")
            other.stdin.close()
            assert other.stdout.readline() == f"(2, [{[1] * 200}, {[1999] * 200}])\n"


@pytest.mark.parametrize("damage", ["empty", "short", "noise", "gone", "tail"])
def test_damaged_file_is_refused_with_the_remedy(store: LmdbOnline, damage: str) -> None:
    generation = filled(store)
    data = folder(store, generation) / "data.mdb"
    content = data.read_bytes()
    data.unlink()
    if damage != "gone":
        data.write_bytes(
            {
                "empty": b"",
                "short": content[:5000],
                "noise": os.urandom(len(content)),
                "tail": content[:-8192],
            }[damage]
        )

    for use in (store.reader, store.writer):
        with pytest.raises(UnavailableError, match="holdfast materialize") as refused:
            use(generation)
        assert refused.value.code == "HF600"


def test_file_of_another_boot_is_refused_if_it_was_being_written(
    store: LmdbOnline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = filled(store)
    script = f"""
import os
from holdfast.adapters.lmdb import LmdbOnline
from holdfast.testing.online_contract import PLAN, STATE, blob, key
store = LmdbOnline({str(store.root)!r})
writer = store.writer(store.create(STATE, PLAN))
writer.commit(1, {{key(1): blob(1)}})
print("ready", flush=True)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (killed.stdout, killed.returncode) == ("ready\n", -signal.SIGKILL), killed.stderr
    torn = store.generations()[-1]
    with reading(store, torn) as reader:
        assert words(reader, key(1)) == (1, [[1]])

    monkeypatch.setattr(environment, "boot_id", lambda: "another")

    for use in (store.reader, store.writer):
        with pytest.raises(UnavailableError, match="the machine stopped"):
            use(torn)
    with reading(store, clean) as reader:
        assert words(reader, key(1))[0] == 1


def test_killed_writer_leaves_whole_batches(store: LmdbOnline) -> None:
    script = f"""
from holdfast.adapters.lmdb import LmdbOnline
from holdfast.testing.online_contract import PLAN, STATE, blob, key
store = LmdbOnline({str(store.root)!r})
writer = store.writer(store.create(STATE, PLAN))
for batch in range(1, 100000):
    writer.commit(batch, {{key(n): blob(*[batch] * 60) for n in range(200)}})
    if batch == 5:
        print("begun", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        time.sleep(0.05)
        other.kill()

    (generation,) = store.generations()
    with writing(store, generation) as writer:
        assert writer.batch is not None
        assert writer.batch >= 5
        assert {bytes(found) for found in writer.get([key(n) for n in range(200)])} == {
            blob(*[writer.batch] * 60)
        }
        assert writer.commit(writer.batch + 1, {key(1): blob(0)})


def test_environment_is_not_used_across_a_fork(store: LmdbOnline) -> None:
    generation = filled(store)
    context = multiprocessing.get_context("fork")
    with reading(store, generation) as reader:
        inherited, told = context.Pipe()

        def child() -> None:
            try:
                with reader.snapshot():
                    told.send("read")
            except UsageError as error:
                told.send(str(error))
            with reading(LmdbOnline(store.root), generation) as own:
                told.send(words(own, key(3))[0])

        process = context.Process(target=child)
        process.start()
        assert inherited.poll(30)
        assert "before the process forked" in inherited.recv()
        assert inherited.poll(30)
        assert inherited.recv() == 1
        process.join(30)
        assert process.exitcode == 0


def test_newer_format_is_refused(store: LmdbOnline) -> None:
    generation = filled(store)
    with lmdb.open(str(folder(store, generation)), max_dbs=4) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True, db=meta) as transaction:
            transaction.put(environment.FORMAT_KEY, (2).to_bytes(8, "little"))

    with pytest.raises(ContractError, match="format 2") as refused:
        store.reader(generation)
    assert refused.value.code == "HF304"


def test_unfinished_creation_is_refused_and_can_be_removed(store: LmdbOnline) -> None:
    filled(store)
    (store.root / STATE / "2").mkdir()
    half = store.generations()[-1]

    with pytest.raises(UnavailableError, match="holdfast materialize"):
        store.reader(half)
    assert store.create(STATE, PLAN).number == 3
    store.remove(half)
    assert [each.number for each in store.generations()] == [1, 3]


def test_pointer_that_names_nothing_is_unavailable(store: LmdbOnline) -> None:
    filled(store)
    (store.root / "current").write_text("torn")

    with pytest.raises(UnavailableError, match="holdfast materialize"):
        store.current()


@pytest.mark.parametrize("name", sorted(name for name in dir(lmdb) if name.endswith("Error")))
def test_every_error_of_the_driver_is_one_of_ours(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnavailableError, match="the online state cannot"), environment.translated(tmp_path):
        raise getattr(lmdb, name)("so it is")


def test_ids_are_forgotten_little_by_little(store: LmdbOnline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.adapters.lmdb.generation.FORGET_MOST", 2)
    ids = {event(n): b"x" for n in range(5)}
    with writing(store) as writer:
        writer.commit(1, {}, ids=ids)
        left = []
        for batch in (2, 3, 4):
            writer.commit(batch, {}, forget_before=1)
            left.append(sum(map(bool, writer.find_ids(list(ids)))))

    assert left == [3, 1, 0]


def test_misaligned_blob_is_refused_and_nothing_is_stored(store: LmdbOnline) -> None:
    with writing(store) as writer:
        with pytest.raises(ContractError):
            writer.commit(1, {key(1): blob(1), key(2): b"123"})

        assert writer.batch is None
        assert writer.get([key(1)]) == [b""]
