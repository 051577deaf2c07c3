"""Files that are what they say are read whole; files that are not are refused, with what was found."""

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from holdfast.adapters.files import batch_log as module
from holdfast.adapters.files import text
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.columnar import ParquetInput
from holdfast.adapters.files.delimited import CsvInput
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.files.jsonlines import JsonLinesInput
from holdfast.adapters.files.staging import StagingFolder
from holdfast.events.batch import Batch
from holdfast.events.ports import Chunk
from holdfast.kernel.errors import ConflictError, ContractError, DeterminismError, NotFoundError
from holdfast.kernel.ids import digest

COLUMNS = ("id", "at", "n")


def read(source: CsvInput | JsonLinesInput | ParquetInput, *, skip: int = 0, size: int = 100) -> list[Chunk]:
    return list(source.chunks(COLUMNS, skip=skip, size=size))


def only(source: CsvInput | JsonLinesInput | ParquetInput) -> Chunk:
    (chunk,) = read(source)
    return chunk


def csv_of(folder: Path, content: bytes) -> CsvInput:
    path = folder / "x.csv"
    path.write_bytes(content)
    return CsvInput(path)


def jsonl_of(folder: Path, content: bytes) -> JsonLinesInput:
    path = folder / "x.jsonl"
    path.write_bytes(content)
    return JsonLinesInput(path)


# ----------------------------------------------------------------------------------------- refused files

PARQUET_HEAD = b"PAR1" + bytes(40)

REFUSED = {
    "empty csv": ("x.csv", b"", "x.csv is empty (0 bytes)."),
    "empty jsonl": ("x.jsonl", b"", "x.jsonl is empty (0 bytes)."),
    "empty parquet": ("x.parquet", b"", "x.parquet is empty (0 bytes)."),
    "blank csv": ("x.csv", b" \n\n", "x.csv holds nothing but blanks."),
    "parquet cut short": (
        "x.parquet",
        PARQUET_HEAD,
        "x.parquet is Parquet cut short: its 44 bytes have no footer at the end.",
    ),
    "csv named parquet": (
        "x.parquet",
        b"id,at,n\ne-1,",
        "x.parquet says it is Parquet, but begins with b'id,at,n\\ne-1,'.",
    ),
    "parquet named csv": ("x.csv", PARQUET_HEAD, "x.csv says it is CSV, but holds Parquet."),
    "gzip named csv": (
        "x.csv",
        gzip.compress(b"id,at,n\n"),
        "x.csv says it is CSV, but holds gzip-compressed data.",
    ),
    "zip named jsonl": (
        "x.jsonl",
        b"PK\x03\x04rest",
        "x.jsonl says it is JSON lines, but holds a ZIP archive.",
    ),
    "json named csv": ("x.csv", b'{"id": 1}\n', "x.csv says it is CSV, but holds JSON."),
    "csv named jsonl": (
        "x.jsonl",
        b"id,at,n\ne-1,2,3\n",
        "x.jsonl says it is JSON lines, but begins with 'id,at,n'.",
    ),
    "semicolon": (
        "x.csv",
        b"id;at;n\n1;2;3\n",
        "x.csv separates its columns with a semicolon; a comma is expected.",
    ),
    "tab": (
        "x.csv",
        b"id\tat\tn\n1\t2\t3\n",
        "x.csv separates its columns with a tab; a comma is expected.",
    ),
    "latin-1": (
        "x.csv",
        "id,at,n\ne-1,x,1\ne-2,caf\u00e9,2\n".encode("latin-1"),
        "x.csv is not UTF-8: byte 0xe9 at byte 23 (line 3).",
    ),
    "latin-1 header": (
        "x.csv",
        "id,caf\u00e9\n".encode("latin-1"),
        "x.csv is not UTF-8: byte 0xe9 at byte 6 (line 1).",
    ),
    "utf-8 cut short": (
        "x.csv",
        b"id,at,n\ne-1,x,\xc3",
        "x.csv ends inside a UTF-8 character at byte 14.",
    ),
    "utf-16": (
        "x.csv",
        "id,at\n".encode("utf-16"),
        "x.csv says it is CSV, but holds UTF-16 text (little endian, with a byte order mark).",
    ),
    "nul": ("x.csv", b"id,at,n\na,b,c\na,\0,c\n", "x.csv has a NUL byte at byte 16 (line 3)."),
    "bare cr": (
        "x.csv",
        b"id,at,n\ra,b,c\r",
        "x.csv ends its lines with a bare carriage return.",
    ),
    "bare cr jsonl": (
        "x.jsonl",
        b'{"id": 1}\r{"id": 2}\r',
        "x.jsonl ends its lines with a bare carriage return.",
    ),
    "header twice": ("x.csv", b"id,at,id\n", "x.csv names `id` more than once in its header."),
    "open quote": (
        "x.csv",
        b'id,at,n\na,b,c\na,"b,c\nd,e,f\n',
        "x.csv has a quote that opens on line 3 and never closes.",
    ),
    "json array": (
        "x.json",
        b'[{"id": 1}]\n',
        "x.json holds one JSON array; one object a line is expected.",
    ),
    "pretty json": (
        "x.json",
        b'{\n "id": 1\n}\n',
        "x.json spreads an object over several lines; one object a line is expected.",
    ),
}


@pytest.mark.parametrize(("name", "content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_damaged_file_is_refused_with_what_was_found(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (found,) = Files(tmp_path / name)

    with pytest.raises(ContractError) as caught:
        found.digest()

    assert caught.value.problem.message == message
    assert caught.value.code == "HF200"
    assert caught.value.hint or "blank" in message or "begins with" in message


def test_damaged_parquet_footer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 60 + (20).to_bytes(4, "little") + b"PAR1")

    with pytest.raises(ContractError, match=r"has a Parquet footer that cannot be read"):
        ParquetInput(path).columns()


def test_damaged_parquet_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame({"id": [f"e-{i}" for i in range(5000)]}).write_parquet(path, compression="snappy")
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)

    with pytest.raises(ContractError, match=r"is damaged after row 0"):
        read(ParquetInput(path))


def test_quote_that_closes_only_far_away_counts_as_never_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "LONGEST_RECORD_LINES", 50)
    rows = b"".join(b"e-%d,x,1\n" % i for i in range(100))
    source = csv_of(tmp_path, b'id,at,n\na,"x,1\n' + rows + b'a,x",1\n')

    with pytest.raises(ContractError, match="opens on line 2 and never closes"):
        source.digest()


def test_quotes_are_followed_across_read_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f'e-{i},"a\n""{i}"", b",{i}\n' for i in range(40)]
    content = ("id,at,n\n" + "".join(rows)).encode()

    for size in range(1, 40):
        monkeypatch.setattr(text, "READ_BYTES", size)
        chunk = only(csv_of(tmp_path, content))

        assert chunk.frame.rows() == [(f"e-{i}", f'a\n"{i}", b', str(i)) for i in range(40)]
        assert chunk.broken == ()


# ---------------------------------------------------------------------------------------------- good files


def test_csv_fields_stay_text(tmp_path: Path) -> None:
    chunk = only(csv_of(tmp_path, b"id,at,n\n007,2026-01-01, 12.3450\n,x,\n"))

    assert chunk.frame.rows() == [("007", "2026-01-01", " 12.3450"), (None, "x", None)]
    assert chunk.rows.tolist() == [0, 1]


def test_csv_header_alone_has_no_rows(tmp_path: Path) -> None:
    assert read(csv_of(tmp_path, b"id,at,n\n")) == []
    assert read(csv_of(tmp_path, b"id,at,n")) == []


def test_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert csv_of(tmp_path, b"\xef\xbb\xbfid,at,n\n1,2,3\n").columns() == COLUMNS
    assert only(jsonl_of(tmp_path, b'\xef\xbb\xbf{"id": "1"}\n')).frame["id"].to_list() == ["1"]


def test_csv_quotes_keep_commas_line_ends_and_quotes(tmp_path: Path) -> None:
    content = b'"id","at","n"\r\n"a,b","x\r\ny","say ""hi"""\r\n,,\r\nlast,"",z'

    chunk = only(csv_of(tmp_path, content))

    rows = [tuple(cell or None for cell in row) for row in chunk.frame.rows()]
    assert rows == [("a,b", "x\r\ny", 'say "hi"'), (None, None, None), ("last", None, "z")]


def test_csv_line_ends_may_be_crlf_and_the_last_may_be_absent(tmp_path: Path) -> None:
    assert only(csv_of(tmp_path, b"id,at,n\r\n1,2,3\r\n4,5,6")).frame.rows() == [
        ("1", "2", "3"),
        ("4", "5", "6"),
    ]


def test_ragged_csv_rows_are_broken_not_bent(tmp_path: Path) -> None:
    chunk = only(csv_of(tmp_path, b"id,at,n\n1,2,3\n1,2\n\n1,2,3,4\n5,6,7\n"))

    assert chunk.frame.rows() == [("1", "2", "3"), ("5", "6", "7")]
    assert chunk.rows.tolist() == [0, 3]
    assert (chunk.first, chunk.last) == (0, 4)
    assert [(b.row, b.code, b.message, b.raw) for b in chunk.broken] == [
        (1, "HF214", "line 3 has 2 fields, expected 3.", '"1,2"'),
        (2, "HF214", "line 5 has 4 fields, expected 3.", '"1,2,3,4"'),
    ]


def test_csv_quote_in_the_middle_of_a_field_breaks_the_row(tmp_path: Path) -> None:
    chunk = only(csv_of(tmp_path, b'id,at,n\n1,2 "x",3\n"4","5",6\n7,8\n'))

    assert chunk.frame.rows() == [("4", "5", "6")]
    assert [broken.message for broken in chunk.broken] == [
        "line 2 has a quote where no field begins or ends.",
        "line 4 has 2 fields, expected 3.",
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("skip", [0, 1, 2, 5, 6, 9])
def test_chunks_join_to_the_file_whatever_their_size(tmp_path: Path, size: int, skip: int) -> None:
    lines = ["1,a,1", "2,b", '3,"c\nd",3', "", "4,e,4", "5,f,5", "6,g,6"]
    (tmp_path / "x.csv").write_text("id,at,n\n" + "\n".join(lines) + "\n")
    (tmp_path / "x.jsonl").write_text(
        '{"id": "1", "n": 1}\n{"id": 2\n{"n": 3, "id": "3"}\n\n{"id": "4"}\n{"id": "5"}\n{"id": "6"}\n'
    )
    pl.DataFrame({"id": list("123456"), "at": list("abcdef")}).write_parquet(
        tmp_path / "x.parquet", row_group_size=4
    )

    for source in Files(tmp_path):
        chunks = read(source, skip=skip, size=size)
        seen = [row for chunk in chunks for row in chunk.rows] + [b.row for c in chunks for b in c.broken]
        ids = [(int(row), each) for c in chunks for row, each in zip(c.rows, c.frame["id"], strict=True)]

        assert sorted(seen) == list(range(skip, 6))
        assert all(int(each) == row + 1 for row, each in ids)
        assert all(chunk.last - chunk.first <= size for chunk in chunks)
        assert [c.first for c in chunks] == [skip, *(c.last for c in chunks[:-1])][: len(chunks)]
        assert all(b.message.startswith(("line 3 ", "line 2 ")) for c in chunks for b in c.broken)


def test_json_numbers_stay_as_written(tmp_path: Path) -> None:
    numbers = ["12.345", "9007199254740993", "1e5", "-0.0", "1.10", "NaN", "1E-400"]
    chunk = only(jsonl_of(tmp_path, "".join(f'{{"n": {n}}}\n' for n in numbers).encode()))

    assert chunk.frame["n"].to_list() == numbers
    assert chunk.not_text["n"].all()


def test_json_strings_are_decoded_and_known_as_text(tmp_path: Path) -> None:
    lines = [{"id": 'a"\\\n\u00e9\U0001f600', "n": "12"}, {"id": "", "n": None}, {"id": 7, "n": True}]
    chunk = only(jsonl_of(tmp_path, "".join(json.dumps(line) + "\n" for line in lines).encode()))

    assert chunk.frame.rows() == [('a"\\\n\u00e9\U0001f600', "12"), ("", None), ("7", "true")]
    assert chunk.not_text["id"].tolist() == [False, False, True]


def test_json_rows_may_order_and_omit_their_keys(tmp_path: Path) -> None:
    content = (
        b'{"id": "1", "n": 1}\n{ "n" : 2 , "id":"2"}\r\n{"at": "x", "id": "3"}\n{"id": {"a": [1.50]}}\n{}\n'
    )
    chunk = only(jsonl_of(tmp_path, content))

    assert chunk.frame.select("id", "at", "n").rows() == [
        ("1", None, "1"),
        ("2", None, "2"),
        ("3", "x", None),
        ('{"a": [1.50]}', None, None),
        (None, None, None),
    ]
    assert chunk.not_text["id"].tolist() == [False, False, False, True, False]


def test_broken_json_lines_are_told_apart(tmp_path: Path) -> None:
    lines = [
        '{"id": "ok"}',
        '{"id": 1, "n": 2, "id": 3}',
        '{"id": "x"',
        "[1, 2]",
        "17",
        '"text"',
        "null",
        '{"id": "\\ud800"}',
        '{"id": "x", "colour": "red"}',
        '{"id": "x", "colour": null}',
        '{"id": 01}',
        "[" * 100_000,
        '{"id": ' + "[" * 600 + "]" * 600 + "}",
    ]
    chunk = only(jsonl_of(tmp_path, "\n".join(lines).encode()))

    assert [(b.row, b.code, b.message) for b in chunk.broken] == [
        (1, "HF214", "line 2 names `id` twice."),
        (2, "HF214", "line 3 is not JSON: expecting ',' delimiter."),
        (3, "HF214", "line 4 is an array, expected an object."),
        (4, "HF214", "line 5 is a number, expected an object."),
        (5, "HF214", "line 6 is a string, expected an object."),
        (6, "HF214", "line 7 is null, expected an object."),
        (7, "HF214", "line 8 has half of a surrogate pair."),
        (8, "HF209", "line 9 has `colour`, which the schema does not have."),
        (10, "HF214", "line 11 is not JSON: expecting ',' delimiter."),
        (11, "HF214", "line 12 nests too deeply."),
        (12, "HF214", "line 13 nests too deeply."),
    ]
    assert chunk.frame["id"].to_list() == ["ok", "x"]
    assert json.loads(chunk.broken[0].raw) == lines[1]


def test_many_shapes_of_json_lines_are_all_read(tmp_path: Path) -> None:
    columns = [f"c{i}" for i in range(12)]
    lines = [json.dumps(dict.fromkeys(columns[i % 12 :], i)) for i in range(60)]
    source = jsonl_of(tmp_path, "\n".join(lines).encode())

    (chunk,) = source.chunks(columns, skip=0, size=100)

    assert chunk.rows.tolist() == list(range(60))
    assert chunk.lines is not None
    assert chunk.lines.to_list() == lines
    for i, row in enumerate(chunk.frame.select(columns).rows()):
        assert row == tuple(None if c < i % 12 else str(i) for c in range(12))


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame({"id": ["a"], "n": [1.5], "other": [1]}).write_parquet(path)
    source = ParquetInput(path)

    assert source.columns() == ("id", "n", "other")
    assert only(source).frame.schema == {"id": pl.String, "n": pl.Float64}


# ------------------------------------------------------------------------------------------------- places


def test_folder_gives_its_files_in_order_and_names_what_it_ignores(tmp_path: Path) -> None:
    for name in ("b.csv", "a/c.jsonl", "notes.txt", ".hidden.csv", "_tmp/d.csv", "B.CSV"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("id\n1\n")

    found = Files(tmp_path)

    assert [each.name for each in found] == ["B.CSV", "a/c.jsonl", "b.csv"]
    assert found.ignored == (str(tmp_path / "notes.txt"),)
    assert len(found) == 3


def test_pattern_gives_matching_files(tmp_path: Path) -> None:
    for name in ("x-1.csv", "x-2.csv", "y.csv"):
        (tmp_path / name).write_text("id\n1\n")

    assert [each.name for each in Files(str(tmp_path / "x-*.csv"))] == ["x-1.csv", "x-2.csv"]


def test_nothing_at_a_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Files(tmp_path / "absent.csv")
    with pytest.raises(NotFoundError):
        Files(str(tmp_path / "*.csv"))


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(b"")

    with pytest.raises(ContractError, match=r"has no file of a known format; found x\.csv\.gz"):
        Files(tmp_path / "x.csv.gz")


# ---------------------------------------------------------------------------------------------- batch log


def batch(number: int) -> Batch:
    return Batch(number, "s", "d" * 40, 0, 10, "name.arrow", {"stored": 10})


def test_batch_log_returns_what_was_appended(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log")
    with log.lease():
        log.append(batch(1))
        log.append(batch(2))

    assert list(BatchLogFile(tmp_path / "log").entries()) == [batch(1), batch(2)]


def test_torn_last_entry_is_dropped_at_any_byte(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log")
    with log.lease():
        log.append(batch(1))
    one = (tmp_path / "log").read_bytes()
    with log.lease():
        log.append(batch(2))
    two = (tmp_path / "log").read_bytes()

    for cut in (*range(len(one), len(two), 17), len(two) - 1):
        (tmp_path / "log").write_bytes(two[:cut])
        assert list(log.entries()) == [batch(1)]
        with log.lease():
            log.append(batch(3))
        assert list(log.entries()) == [batch(1), batch(3)]


def test_damage_before_whole_entries_is_refused(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log")
    with log.lease():
        log.append(batch(1))
        log.append(batch(2))
    content = bytearray((tmp_path / "log").read_bytes())

    for position in (0, 5, 8, 20):
        damaged = content.copy()
        damaged[position] ^= 0xFF
        (tmp_path / "log").write_bytes(damaged)
        with pytest.raises(ContractError, match="is damaged at byte 0"):
            list(log.entries())
        with pytest.raises(ContractError, match="is damaged at byte 0"), log.lease():
            pass
    assert (tmp_path / "log").read_bytes() == damaged


def test_newer_format_is_refused_not_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = BatchLogFile(tmp_path / "log")
    with monkeypatch.context() as patch, log.lease():
        patch.setattr(module, "VERSION", 2)
        log.append(batch(1))

    with pytest.raises(ContractError) as caught:
        list(log.entries())

    assert caught.value.code == "HF304"


def test_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    code = (
        "import sys; from holdfast.adapters.files.batch_log import BatchLogFile\n"
        "from holdfast.kernel.errors import ConflictError\n"
        "try:\n"
        "    with BatchLogFile(sys.argv[1]).lease(): print('held')\n"
        "except ConflictError as error: print(error.code, error.problem.message)\n"
    )

    def attempt() -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "log")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with BatchLogFile(tmp_path / "log").lease():
        refused = attempt()
    after = attempt()

    assert refused == f"HF303 another process (pid {os.getpid()}) holds log."
    assert after == "held"


def test_append_needs_the_lease(tmp_path: Path) -> None:
    with pytest.raises(ConflictError):
        BatchLogFile(tmp_path / "log").append(batch(1))


# ------------------------------------------------------------------------------------------------ staging


def test_staged_frame_comes_back_until_removed(tmp_path: Path) -> None:
    staging = StagingFolder(tmp_path / "staged")
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})

    name = staging.write(frame)
    back = staging.read(name)
    names = staging.list_names()
    staging.remove(name)
    staging.remove(name)

    assert back.equals(frame)
    assert names == [name]
    assert staging.list_names() == []
    with pytest.raises(NotFoundError):
        staging.read(name)


def test_staged_frame_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="lz4")
    name = f"{digest(buffer.getvalue())}.arrow"
    (tmp_path / name).write_bytes(buffer.getvalue())
    staging = StagingFolder(tmp_path)

    assert staging.list_names() == [name]
    assert staging.read(name).equals(frame)
    assert staging.path(name) is None


def test_staged_frame_is_checked_against_its_name(tmp_path: Path) -> None:
    staging = StagingFolder(tmp_path)
    name = staging.write(pl.DataFrame({"a": [1]}))
    (tmp_path / name).write_bytes(b"other")

    with pytest.raises(DeterminismError):
        staging.read(name)


def test_incomplete_staged_file_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ("0" * 40 + ".arrow.part")).write_bytes(b"half")

    assert StagingFolder(tmp_path).list_names() == []
    assert list(tmp_path.iterdir()) == []


def test_wide_json_lines_are_read(tmp_path: Path) -> None:
    columns = [f"c{i}" for i in range(300)]
    lines = [json.dumps({name: f"{i}-{name}" for name in columns}) for i in range(20)]

    (chunk,) = jsonl_of(tmp_path, "\n".join(lines).encode()).chunks(columns, skip=0, size=100)

    assert chunk.frame.select(columns).row(7) == tuple(f"7-{name}" for name in columns)


def test_wide_csv_with_quotes_is_read(tmp_path: Path) -> None:
    columns = [f"c{i}" for i in range(300)]
    rows = [",".join(f'"{i},{name}"' for name in columns) for i in range(20)]

    source = csv_of(tmp_path, "\n".join((",".join(columns), *rows)).encode())
    (chunk,) = source.chunks(columns, skip=0, size=100)

    assert chunk.frame.row(7) == tuple(f"7,{name}" for name in columns)


def test_an_interrupt_while_polars_reads_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_path: Path) -> None:
        raise pl.exceptions.ComputeError("called `Result::unwrap()` on an `Err`: <class 'KeyboardInterrupt'>")

    path = tmp_path / "rows.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    monkeypatch.setattr(pl, "read_parquet_schema", interrupted)

    with pytest.raises(KeyboardInterrupt):
        ParquetInput(path).columns()
