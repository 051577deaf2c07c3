"""Nothing that is sent, stored or written breaks holdfast: it is taken, or refused with code and place."""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving_world import PAYMENT as SERVED
from tests.serving_world import World

from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.files.staging import StagingFolder
from holdfast.adapters.journal import JournalFolder
from holdfast.adapters.journal.frames import encode
from holdfast.app.load import load_project
from holdfast.events.ingest import ingest
from holdfast.events.journal import EVENT, Entry, Frame
from holdfast.events.ports import QUARANTINE
from holdfast.events.source import Source
from holdfast.kernel.errors import CODES, HoldfastError, UnavailableError
from holdfast.kernel.ids import to_data
from holdfast.project.compile import compile_project
from holdfast.project.validate import validate
from holdfast.server.hot import HotRoutes
from holdfast.testing.hostile import bodies, csv_files, damaged, json_line_files, parquet_files
from holdfast.testing.hostile_definitions import definitions
from holdfast.testing.lake import MemoryLake
from holdfast.testing.strategies import PAYMENT

FILES = {".csv": csv_files, ".jsonl": json_line_files, ".parquet": parquet_files}
NOW = 1_800_000_000_000_000


class Clock:
    def now_us(self) -> int:
        return NOW


def _loaded(folder: Path, content: bytes, suffix: str, lake: MemoryLake) -> tuple[Any, HoldfastError | None]:
    """Return the report of a file, or why it was refused."""
    path = folder / f"file{suffix}"
    path.write_bytes(content)
    state = folder / "state"
    try:
        report = ingest(
            Source("payments", PAYMENT, known_after=0),
            Files(path),
            lake=lake,
            log=BatchLogFile(state / "batches.log"),
            staging=StagingFolder(state / "staged"),
            clock=Clock(),
            chunk_rows=3,
        )
    except HoldfastError as error:
        return None, error
    return report, None


def height(lake: MemoryLake, table: str) -> int:
    return 0 if lake.version(table) is None else lake.read(table).height


# --------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", FILES)
@given(data=st.data())
def test_any_file_is_accounted_for_row_by_row_or_refused_with_nothing_stored(
    suffix: str, data: st.DataObject
) -> None:
    content = data.draw(FILES[suffix](PAYMENT))
    folder, lake = Path(tempfile.mkdtemp()), MemoryLake()
    try:
        report, refused = _loaded(folder, content, suffix, lake)
        if refused is not None:
            assert refused.code in CODES
            assert refused.problem.message
            # Parquet may be damaged behind rows that were read: those stay, and the error says after which.
            if "damaged after row" not in refused.problem.message:
                assert (height(lake, "payments"), height(lake, QUARANTINE)) == (0, 0)
            return
        counts = report.now
        assert report.adds_up
        assert counts.stored == height(lake, "payments")
        assert counts.refused == height(lake, QUARANTINE)
        assert report.rows == counts.stored + counts.duplicates + counts.refused
        again, _ = _loaded(folder, content, suffix, lake)
        assert (again.now.stored, again.now.refused) == (0, 0)
    finally:
        shutil.rmtree(folder)


# ------------------------------------------------------------------------------------------------ requests


class _Service:
    durability = "process"

    def __init__(self) -> None:
        self.plane = World().plane


class _Metrics:
    def request(self, _route: str, _status: int, _spent: int) -> None:
        pass


async def _nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("a hot route is answered by itself")


def ask(app: HotRoutes, path: str, body: bytes) -> tuple[int, Any]:
    """Return status and answer of one request, its body in two pieces."""
    told: list[Any] = []
    cut = len(body) // 2
    pieces = iter([(body[:cut], True), (body[cut:], False)])

    async def receive() -> dict[str, Any]:
        content, more = next(pieces)
        return {"type": "http.request", "body": content, "more_body": more}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return told[0]["status"], json.loads(told[1]["body"])


PATHS = ("/v1/models/fraud/predict", "/v1/events/payments", "/v1/events/disputes", "/v1/feedback")


@given(st.sampled_from(PATHS), bodies(SERVED), st.booleans())
def test_any_request_gets_an_answer_or_a_refusal_of_one_shape_and_the_server_goes_on(
    path: str, body: bytes, wrapped: bool
) -> None:
    app = HotRoutes(_Service(), _Metrics(), _nothing)  # type: ignore[arg-type]
    if path == "/v1/feedback" and wrapped:
        body = b'{"source": "disputes", "event": ' + body + b"}"

    status, told = ask(app, path, body)

    assert status in (200, 400, 404, 409, 413, 422)
    errors = (
        [told["error"]] if status != 200 else [row["error"] for row in told.get("rows", ()) if "error" in row]
    )
    assert status == 200 or set(told) == {"error"}
    for error in errors:
        assert error["code"] in CODES
        assert error["message"]
        assert error["at"]
        assert error["id"].startswith("e-")
        assert set(error) <= {"code", "message", "at", "hint", "id"}
    good = b'{"id": "fine", "at": "2026-11-02T10:15:00Z", "card": "c-1", "amount": 40.0}'
    assert ask(app, PATHS[0], good)[0] == 200


# ------------------------------------------------------------------------------------------------- journals


def _entries() -> st.SearchStrategy[list[list[Entry]]]:
    entry = st.tuples(
        st.just(EVENT), st.sampled_from(("payments", "s")), st.integers(0, 2**40), st.binary(max_size=40)
    )
    return st.lists(st.lists(entry, min_size=1, max_size=3), min_size=1, max_size=4)


@given(st.data())
def test_bytes_behind_a_sound_journal_never_change_the_frames_before(data: st.DataObject) -> None:
    appends = data.draw(_entries())
    sound = b"".join(encode(append) for append in appends)
    next_one = encode(data.draw(_entries())[0])
    tail = data.draw(
        st.one_of(st.binary(max_size=80), damaged(next_one), damaged(sound), st.just(b"HFJ1" * 9))
    )
    folder = Path(tempfile.mkdtemp())
    try:
        before = _frames(folder, sound, len(sound))
        after = _frames(folder, sound + tail, len(sound))
    finally:
        shutil.rmtree(folder)
    assert [(f.kind, f.source, f.arrived_us, f.payload) for f in before] == [
        e for append in appends for e in append
    ]
    assert after[: len(before)] == before


@given(st.data())
def test_damage_inside_a_journal_is_never_read_as_other_frames(data: st.DataObject) -> None:
    appends = data.draw(_entries())
    sound = b"".join(encode(append) for append in appends)
    folder = Path(tempfile.mkdtemp())
    try:
        before = _frames(folder, sound, len(sound))
        found = _frames(folder, data.draw(damaged(sound)), len(sound))
    finally:
        shutil.rmtree(folder)
    written = {(f.kind, f.source, f.arrived_us, f.payload) for f in before}
    assert all((f.kind, f.source, f.arrived_us, f.payload) in written for f in found)


def _frames(folder: Path, content: bytes, _until: int) -> list[Frame]:
    """Return what a reader finds, up to damage, which it must name."""
    segments = folder / "segments" / "serve-00000000001-1"
    segments.mkdir(parents=True, exist_ok=True)
    (segments / "00000000000000000000.seg").write_bytes(content)
    reader, found, position = JournalFolder(folder), [], 0
    while True:
        try:
            some = reader.read("serve-00000000001-1", position, 1)
        except UnavailableError as error:
            if "damaged at byte" not in error.problem.message:
                raise
            return found
        if not some:
            return found
        found += some
        position = some[-1].next


# ---------------------------------------------------------------------------------------------- definitions


@given(definitions())
def test_any_definition_compiles_or_is_refused_with_code_and_place(text: str) -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "project.py").write_text(text, encoding="utf-8")
    try:
        compilation = compile_project(load_project(folder))
        problems = validate(compilation)
    except HoldfastError as error:
        problems = list(getattr(error, "problems", (error.problem,)))
        assert problems
    else:
        if not any(problem.severity == "error" for problem in problems):
            assert to_data(compilation.project)
            assert compilation.project.fingerprint
    finally:
        shutil.rmtree(folder)
    for problem in problems:
        assert problem.code in CODES
        assert problem.message
        assert problem.at or problem.place
        assert len(problem.message) < 2_000
