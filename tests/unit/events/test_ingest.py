"""Every row of a file is stored, a duplicate, or in quarantine with its reason; and it stays that way."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.files.staging import StagingFolder
from holdfast.adapters.threads import OneThread
from holdfast.events import duplicates as module
from holdfast.events.ingest import STEPS, ingest
from holdfast.events.ports import QUARANTINE, Chunk
from holdfast.events.refusals import QUARANTINE_SCHEMA
from holdfast.events.report import Counts, IngestReport
from holdfast.events.source import ARRIVED, BASIS, BATCH, ORIGIN, Source
from holdfast.kernel.errors import ConflictError, ContractError, DefinitionError, UnavailableError
from holdfast.kernel.schema import Column, Schema
from holdfast.kernel.time import DAY, HOUR, parse_instant

PAYMENT = Schema(
    "Payment",
    (
        Column("id", "string", role="event_id"),
        Column("at", "time", role="event_time"),
        Column("amount", "decimal", scale=2, ge=0, le=100_000),
        Column("country", "string", nullable=True),
    ),
)
PAYMENTS = Source("payments", PAYMENT, known_after=HOUR)
NOW = parse_instant("2026-11-02T00:00:00Z")


class FixedClock:
    def now_us(self) -> int:
        return NOW


class Killed(BaseException):
    """Stands for the death of the process."""


class State:
    """The state of one project, and the verb upon it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lake = DeltaLake(root / "lake")
        self.log = BatchLogFile(root / "batches.log")
        self.staging = StagingFolder(root / "staged")

    def ingest(self, place: Path, source: Source = PAYMENTS, **kwargs: Any) -> IngestReport:
        return ingest(
            source,
            Files(place),
            lake=self.lake,
            log=self.log,
            staging=self.staging,
            clock=FixedClock(),
            **{"beside": OneThread, **kwargs},
        )

    def rows(self, table: str = "payments") -> list[dict[str, Any]]:
        if self.lake.version(table) is None:
            return []
        return self.lake.read(table).sort(BATCH, "origin" if table == QUARANTINE else ORIGIN).to_dicts()

    def ids(self) -> list[str]:
        return sorted(row["id"] for row in self.rows())

    def reasons(self) -> list[tuple[str, str]]:
        return sorted((row["origin"], row["code"]) for row in self.rows(QUARANTINE))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("id,at,amount,country", *lines)) + "\n")
    return path


def payment(n: int, amount: str = "1.50", country: str = "PT") -> str:
    return f"e-{n},2026-01-{n % 28 + 1:02d}T00:00:00Z,{amount},{country}"


def test_rows_are_stored_with_their_arrival_basis_batch_and_origin(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", payment(1), payment(2, "2", ""))

    report = state.ingest(path)

    first, second = state.rows()
    assert first["id"] == "e-1"
    assert first["amount"] == 150
    assert first[ARRIVED] == parse_instant("2026-01-02T01:00:00Z")
    assert (first[BASIS], first[BATCH], first[ORIGIN]) == ("assumed", 1, "x.csv:1")
    assert second["country"] is None
    assert report.now == Counts(stored=2)
    assert report.adds_up
    assert list(report.lines()) == ["x.csv  2 rows: 2 stored, 0 duplicates, 0 quarantined"]
    assert state.staging.list_names() == []


def test_arrival_column_is_the_arrival_time(state: State, tmp_path: Path) -> None:
    schema = Schema("Report", (*PAYMENT.columns, Column("told", "time", role="arrival_time")))
    path = tmp_path / "x.jsonl"
    row = {"id": "a", "at": "2026-01-01T00:00:00Z", "amount": 1, "told": "2026-01-08T00:00:00.5Z"}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": "b", "told": None}) + "\n")

    report = state.ingest(path, Source("payments", schema))

    (stored,) = state.rows()
    assert stored[ARRIVED] == parse_instant("2026-01-08T00:00:00.5Z")
    assert stored[BASIS] == report.basis == "column"
    assert state.reasons() == [("x.jsonl:2", "HF201")]


def test_history_without_a_basis_is_refused_with_both_remedies(state: State, tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        state.ingest(write(tmp_path / "x.csv", payment(1)), Source("payments", PAYMENT))

    assert caught.value.code == "HF211"
    assert "hf.arrival_time()" in caught.value.hint
    assert 'known_after="' in caught.value.hint
    assert not state.root.exists()


def test_schema_without_event_time_is_refused(state: State, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError):
        state.ingest(write(tmp_path / "x.csv"), Source("s", Schema("S", PAYMENT.columns[:1]), known_after=0))


def test_bad_rows_are_quarantined_with_reason_and_raw_row(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", payment(1), payment(2, "912500"), "e-3,now", payment(4, "1.234"))

    report = state.ingest(path)

    rows = {row["origin"]: row for row in state.rows(QUARANTINE)}
    assert list(rows) == ["x.csv:2", "x.csv:3", "x.csv:4"]
    assert rows["x.csv:2"] == {
        "source": "payments",
        "code": "HF203",
        "reason": "`amount` must be at most 100000, found 912500.",
        "column": "amount",
        "origin": "x.csv:2",
        "raw": '{"id":"e-2","at":"2026-01-03T00:00:00Z","amount":"912500","country":"PT"}',
        ARRIVED: NOW,
        BATCH: 1,
    }
    assert rows["x.csv:3"]["reason"] == "line 4 has 2 fields, expected 4."
    assert rows["x.csv:3"]["column"] is None
    assert json.loads(rows["x.csv:3"]["raw"]) == "e-3,now"
    assert state.lake.read(QUARANTINE).schema == QUARANTINE_SCHEMA
    assert report.now == Counts(1, 0, {"HF203": 1, "HF204": 1, "HF214": 1})
    assert list(report.lines())[:1] == [
        "x.csv  4 rows: 1 stored, 0 duplicates, 3 quarantined (HF203 1, HF204 1, HF214 1)"
    ]


def test_raw_row_of_json_lines_is_the_line(state: State, tmp_path: Path) -> None:
    line = '{"id": "a", "at": "2026-01-01T00:00:00Z", "amount": 1.50000000000000000001}'
    (tmp_path / "x.jsonl").write_text(line + "\n")

    state.ingest(tmp_path / "x.jsonl")

    assert state.rows(QUARANTINE)[0]["raw"] == line


def test_raw_row_of_parquet_is_json(state: State, tmp_path: Path) -> None:
    at = pl.Series([parse_instant("2026-01-01T00:00:00Z")]).cast(pl.Datetime("us", "UTC"))
    pl.DataFrame({"id": ["a"], "at": at, "amount": [float("nan")]}).write_parquet(tmp_path / "x.parquet")

    state.ingest(tmp_path / "x.parquet")

    assert json.loads(state.rows(QUARANTINE)[0]["raw"]) == {
        "id": "a",
        "at": "2026-01-01 00:00:00+00:00",
        "amount": "nan",
    }


@pytest.mark.parametrize("beside", [None, OneThread])
@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 100])
def test_duplicates_and_clashes_are_found_whatever_the_chunks(
    state: State, tmp_path: Path, chunk_rows: int, beside: type[OneThread] | None
) -> None:
    path = write(
        tmp_path / "x.csv",
        payment(1),
        payment(2),
        payment(1, "1.5"),
        payment(2, "7"),
        payment(3),
        payment(1, "1.5", ""),
        payment(2, "8", "DE"),
        payment(29),
        payment(3),
    )

    report = state.ingest(path, chunk_rows=chunk_rows, beside=beside)

    assert state.ids() == ["e-1", "e-2", "e-29", "e-3"]
    assert report.now == Counts(4, 2, {"HF210": 3})
    assert {row["origin"]: row["reason"] for row in state.rows(QUARANTINE)} == {
        "x.csv:4": "`id` 'e-2' was seen with different content in `amount`.",
        "x.csv:6": "`id` 'e-1' was seen with different content in `country`.",
        "x.csv:7": "`id` 'e-2' was seen with different content in `amount`, `country`.",
    }


def test_duplicates_are_found_in_the_lake(state: State, tmp_path: Path) -> None:
    state.ingest(write(tmp_path / "x.csv", *map(payment, range(50))))

    report = State(state.root).ingest(
        write(tmp_path / "y.csv", *map(payment, range(40, 60)), payment(7, "9"))
    )

    assert report.now == Counts(10, 10, {"HF210": 1})
    assert len(state.ids()) == len(set(state.ids())) == 60


def test_ids_of_forgotten_days_are_read_again(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED_ROWS", 4)
    lines = [payment(n) for n in range(30)]

    report = state.ingest(write(tmp_path / "x.csv", *lines, *lines), chunk_rows=7)

    assert report.now == Counts(30, 30)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_is_done_beside_changes_nothing(tmp_path: Path, kind: str) -> None:
    rows = [
        {
            "id": f"e-{n * n % 31}",
            "at": f"2026-01-{n % 5 + 1:02d}T00:00:00Z",
            "amount": "1.234" if n % 7 == 0 else str(n % 3),
            "country": None,
        }
        for n in range(60)
    ]
    frame = pl.DataFrame(rows, schema_overrides={"country": pl.String})
    path = tmp_path / f"x.{kind}"
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[kind](path)
    inturn, beside = State(tmp_path / "a"), State(tmp_path / "b")

    first = inturn.ingest(path, chunk_rows=7, beside=None)
    second = beside.ingest(path, chunk_rows=7)

    assert second == first
    assert second.now.duplicates
    assert set(second.now.quarantined) == {"HF204", "HF210"}
    assert beside.rows() == inturn.rows()
    assert beside.rows(QUARANTINE) == inturn.rows(QUARANTINE)
    assert list(beside.log.entries()) == list(inturn.log.entries())


def test_rows_before_damage_are_stored(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", *map(payment, range(10)))

    class Damaged:
        name, may_omit = "x.csv", False

        def __init__(self) -> None:
            (self.input,) = Files(path)

        def columns(self) -> tuple[str, ...]:
            return self.input.columns()

        def digest(self) -> str:
            return self.input.digest()

        def chunks(self, columns: Any, *, skip: int, size: int) -> Iterator[Chunk]:
            for chunk in self.input.chunks(columns, skip=skip, size=size):
                if chunk.first >= 6:
                    raise ContractError("x.csv is damaged after row 6.", code="HF200")
                yield chunk

    with pytest.raises(ContractError, match="damaged after row 6"):
        ingest(
            PAYMENTS,
            [Damaged()],
            lake=state.lake,
            log=state.log,
            staging=state.staging,
            clock=FixedClock(),
            chunk_rows=2,
            beside=OneThread,
        )

    assert len(state.ids()) == 6
    assert state.ingest(path).now == Counts(4)


def test_stored_rows_are_the_staged_file(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.ingest(write(tmp_path / "x.csv", payment(1)))
    staged: list[int] = []
    monkeypatch.setattr(
        state.staging, "remove", lambda name: staged.append((state.staging.root / name).stat().st_ino)
    )

    state.ingest(write(tmp_path / "y.csv", payment(2)))

    assert {path.stat().st_ino for path in Path(state.lake.root, "payments").glob("*.parquet")} >= {*staged}
    assert len(staged) == 1


def test_source_without_event_id_keeps_equal_rows(state: State, tmp_path: Path) -> None:
    schema = Schema("Reading", (Column("at", "time", role="event_time"), Column("n", "int")))
    (tmp_path / "x.csv").write_text("at,n\n" + "2026-01-01T00:00:00Z,1\n" * 2)

    report = state.ingest(tmp_path / "x.csv", Source("readings", schema, known_after=0))

    assert report.now == Counts(2)


def test_same_content_adds_nothing_and_says_so(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", *map(payment, range(5)), payment(1, "x"))
    state.ingest(path)
    version = state.lake.version("payments")
    copy = tmp_path / "copy.csv"
    copy.write_bytes(path.read_bytes())

    report = state.ingest(copy)

    assert state.lake.version("payments") == version
    assert report.now == Counts()
    assert report.before == Counts(5, 0, {"HF202": 1})
    assert report.adds_up
    assert list(report.lines()) == ["copy.csv  6 rows: ingested before, nothing added"]


def test_same_content_twice_in_one_run_is_ingested_once(state: State, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.csv", payment(1))
    write(folder / "b.csv", payment(1))

    report = state.ingest(folder)

    assert [file.now for file in report.files] == [Counts(1), Counts()]
    assert report.adds_up
    assert (
        list(report.lines())[-1] == "total  2 rows: 1 stored, 0 duplicates, 0 quarantined, 1 ingested before"
    )


def test_sources_share_one_numbering(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", payment(1), payment(2, "bad"))
    state.ingest(path)
    state.ingest(path, Source("others", PAYMENT, known_after=0))

    assert [row[BATCH] for row in state.rows() + state.rows("others")] == [1, 2]
    assert [row[BATCH] for row in state.rows(QUARANTINE)] == [1, 2]
    assert [batch.number for batch in state.log.entries()] == [1, 2]


def test_nullable_column_may_be_absent_from_a_file(state: State, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,at,amount\ne-1,2026-01-01T00:00:00Z,1\n")

    state.ingest(tmp_path / "x.csv")

    assert state.rows()[0]["country"] is None


def test_one_file_with_other_columns_stops_all_before_anything_is_written(
    state: State, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.csv", payment(1))
    (folder / "b.csv").write_text("id,at,amont,country\n")

    with pytest.raises(ContractError) as caught:
        state.ingest(folder)

    assert caught.value.code == "HF209"
    assert not state.root.exists()


def test_new_nullable_column_of_the_schema_reaches_the_table(state: State, tmp_path: Path) -> None:
    state.ingest(write(tmp_path / "x.csv", payment(1)))
    wider = Source(
        "payments", Schema("Payment", (*PAYMENT.columns, Column("note", "string", nullable=True))), 0, 0
    )
    (tmp_path / "y.csv").write_text("id,at,amount,note\ne-9,2026-01-01T00:00:00Z,1,hello\n")

    state.ingest(tmp_path / "y.csv", wider)

    assert [(row["id"], row["note"]) for row in state.rows()] == [("e-1", None), ("e-9", "hello")]


def test_dry_run_counts_as_the_real_run_and_writes_nothing(state: State, tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.csv", *map(payment, range(9)), payment(3), payment(4, "8"), payment(5, "x"), payment(3)
    )

    dry = state.ingest(path, dry_run=True, chunk_rows=4)
    assert not state.root.exists()
    real = state.ingest(path, chunk_rows=4)
    again = state.ingest(write(tmp_path / "y.csv", payment(3), payment(3, "7"), payment(99)), dry_run=True)

    assert dry.now == real.now == Counts(9, 2, {"HF202": 1, "HF210": 1})
    assert dry.dry_run
    assert again.now == Counts(1, 1, {"HF210": 1})
    assert len(state.ids()) == 9


def test_progress_hears_every_row(state: State, tmp_path: Path) -> None:
    heard: list[object] = []

    class Listener:
        def start(self, label: str, total: int | None) -> None:
            heard.append(label)

        def advance(self, units: int) -> None:
            heard.append(units)

        def finish(self) -> None:
            heard.append("end")

    state.ingest(write(tmp_path / "x.csv", *map(payment, range(5))), chunk_rows=2, progress=Listener())

    assert heard == ["x.csv", 2, 2, 1, "end"]


# ------------------------------------------------------------------------------------------------ crashes


def dies_at(step: str, occurrence: int) -> Callable[[str], None]:
    left = [occurrence]

    def faults(reached: str) -> None:
        if reached == step:
            left[0] -= 1
            if not left[0]:
                raise Killed

    return faults


@pytest.mark.parametrize("occurrence", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
def test_ingestion_that_died_after_any_step_goes_on(
    state: State, tmp_path: Path, step: str, occurrence: int
) -> None:
    lines = [payment(n, "bad" if n % 5 == 0 else "1") for n in range(18)] + [payment(3, "1"), payment(4, "2")]
    path = write(tmp_path / "x.csv", *lines)
    with pytest.raises(Killed):
        state.ingest(path, chunk_rows=6, faults=dies_at(step, occurrence))

    report = State(state.root).ingest(path, chunk_rows=5)

    assert state.ids() == sorted(f"e-{n}" for n in range(18) if n % 5)
    assert len(state.reasons()) == len(set(state.reasons())) == 5
    assert report.adds_up
    assert report.now + report.before == Counts(14, 1, {"HF202": 4, "HF210": 1})
    assert report.replayed == (1 if step in ("logged", "refused") else 0)
    assert state.staging.list_names() == []
    assert [batch.number for batch in state.log.entries()] == list(
        range(1, len(list(state.log.entries())) + 1)
    )


def test_death_during_replay_is_harmless(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", *map(payment, range(4)), payment(5, "bad"))
    with pytest.raises(Killed):
        state.ingest(path, faults=dies_at("logged", 1))
    batch = next(iter(state.log.entries()))
    state.lake.append(QUARANTINE, state.staging.read(batch.refused), app="applier", batch=1)

    report = State(state.root).ingest(path)

    assert report.replayed == 1
    assert len(state.reasons()) == 1
    assert len(state.ids()) == 4


def test_interrupted_batch_of_another_source_is_applied_first(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", payment(1))
    with pytest.raises(Killed):
        state.ingest(path, faults=dies_at("logged", 1))

    report = state.ingest(path, Source("others", PAYMENT, known_after=0))

    assert report.replayed == 1
    assert state.ids() == ["e-1"]
    assert next(report.lines()) == "1 batch of an interrupted run applied first"


def test_lost_staged_rows_are_an_error_not_a_gap(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", payment(1))
    with pytest.raises(Killed):
        state.ingest(path, faults=dies_at("logged", 1))
    for name in state.staging.list_names():
        state.staging.remove(name)

    with pytest.raises(UnavailableError, match="its staged rows 0 to 1 are gone"):
        state.ingest(path)


def test_lake_ahead_of_its_log_is_refused(state: State, tmp_path: Path) -> None:
    state.ingest(write(tmp_path / "x.csv", payment(1)))
    (state.root / "batches.log").unlink()

    with pytest.raises(UnavailableError, match="holds batch 1, but the batch log ends at 0"):
        state.ingest(write(tmp_path / "y.csv", payment(2)))


def test_second_ingestion_at_the_same_time_is_refused(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", payment(1))

    with state.log.lease(), pytest.raises(ConflictError):
        State(state.root).ingest(path)


def test_day_borders_before_the_epoch_are_days(state: State, tmp_path: Path) -> None:
    lines = ["a,1969-12-31T23:59:59.999999Z,1,", "a,1969-12-31T00:00:00Z,1,", "a,1970-01-01T00:00:00Z,1,"]

    report = state.ingest(write(tmp_path / "x.csv", *lines), chunk_rows=1)

    assert report.now == Counts(2, 0, {"HF210": 1})
    assert DAY == 86_400_000_000


# --- ids made of content ------------------------------------------------------------------------------

LINE = Schema(
    "Line",
    (
        Column("line_id", "string", role="content_id"),
        Column("at", "time", role="event_time"),
        Column("item", "string", nullable=True),
    ),
)


def test_rows_without_id_that_are_equal_in_everything_are_one_event(tmp_path: Path) -> None:
    state, lines = State(tmp_path / "state"), Source("lines", LINE, known_after=0)
    first = "at,item\n2026-01-01T00:00:00Z,a\n2026-01-01T00:00:00Z,a\n2026-01-01T00:00:00Z,\n"
    (tmp_path / "first.csv").write_text(f"{first}2026-01-01,a\n")
    (tmp_path / "second.csv").write_text(f"{first}2026-01-02T00:00:00Z,a\n")

    one = state.ingest(tmp_path / "first.csv", lines, chunk_rows=1)
    two = state.ingest(tmp_path / "second.csv", lines)

    assert one.now == Counts(2, 1, {"HF205": 1})
    assert two.now == Counts(1, 3, {})
    stored = state.lake.read("lines")
    assert stored["line_id"].n_unique() == stored.height == 3
    assert stored["line_id"].str.len_chars().to_list() == [32] * 3


def test_report_tells_the_first_row_of_each_reason(tmp_path: Path) -> None:
    rows = ["id,at,amount"] + [
        f"t{i},2026-01-01T00:00:00Z,{amount}" for i, amount in enumerate([1, -1, -2, "x"])
    ]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    state = State(tmp_path / "state")

    report = state.ingest(tmp_path / "a.csv", chunk_rows=2)

    assert list(report.lines())[1:] == [
        "  HF202  1 row, first: `amount` must be a number, found 'x'. (a.csv:4)",
        "  HF203  2 rows, first: `amount` must be at least 0, found -1. (a.csv:2)",
    ]
    assert list(state.ingest(tmp_path / "a.csv").lines())[1:] == []
