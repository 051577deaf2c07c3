"""The command line: help with examples, JSON for programs, and mistakes that end with a message."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from tests.commands import Ran, holdfast
from tests.unit.conftest import World, make_project

from holdfast.app.examples import THEN
from holdfast.cli.main import app, main
from holdfast.kernel.errors import HoldfastError

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
BLANK = Path(__file__).resolve().parents[3] / "src/holdfast/app/examples/blank"


def some_id(world: World) -> str:
    return str(world.open().wiring.lake.read("_predictions")["prediction_id"][0])


def assert_refused(ran: Ran, *words: str, status: int | None = None) -> None:
    assert ran.status in (1, 2)
    assert status is None or ran.status == status
    for word in words:
        assert word in ran.err
    assert "Traceback" not in ran.err


# --- help ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    ran = holdfast(name, "--help")

    assert ran.status == 0
    assert f"Example: holdfast {name}" in ran.out


def test_help_of_the_whole_lists_every_command() -> None:
    ran = holdfast("--help")

    assert all(name in ran.out for name in COMMANDS)


def test_version_is_printed() -> None:
    from importlib.metadata import version

    assert holdfast("--version").out == f"holdfast {version('holdfast')}\n"


def test_module_runs_as_the_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "holdfast", "validate", "--project", str(BLANK)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("blank is valid: 2 sources, 1 view, 1 feature set, 1 model, fingerprint ")


# --- what is shown ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("validate", "problems"),
        ("plan", "is_empty"),
        ("apply --dry-run", "is_empty"),
        ("quarantine transactions --limit 2", None),
        ("models fraud", None),
        ("history --limit 3", "entries"),
        ("predict fraud --dry-run", "rows"),
        ("performance fraud", "metrics"),
        ("why ID", "is_equal"),
    ],
)
def test_json_is_one_document(command: str, key: str | None, built: World) -> None:
    words = [some_id(built) if word == "ID" else word for word in command.split()]

    ran = holdfast(*words, "--json", "--project", built.folder)

    assert (ran.status, ran.err) == (0, "")
    found = json.loads(ran.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(found, list) if key is None else key in found


def test_json_of_every_change_is_one_document(rivals: World) -> None:
    def run(*words: object) -> Any:
        ran = holdfast(*words, "--json", "--project", rivals.folder)
        assert (ran.status, ran.err) == (0, "")
        return ran.json

    files = rivals.folder / "events/from-0/transactions"
    assert run("apply", "--by", "eva")["is_empty"]
    assert run("ingest", "transactions", files)["adds_up"]
    assert run("ingest", "transactions", files, "--dry-run")["dry_run"]
    assert run("approve", "fraud", 2, "--by", "ben", "--reason", "fine")["version"]["name"] == "fraud@2"
    assert run("deploy", "fraud", 2, "--by", "ben")["version"]["state"] == "champion"
    assert run("train", "fraud", "--by", "eva", "--set", "num_leaves=5")["run"]["params"]["num_leaves"] == 5
    assert run("reject", "fraud", 3, "--by", "ana", "--reason", "no")["version"]["state"] == "rejected"
    assert run("predict", "fraud", "--since", rivals.since)["version"] == 2


def test_json_of_validate_says_what_the_project_holds(built: World) -> None:
    found = holdfast("validate", "--json", "--project", built.folder).json

    project = built.open().project
    assert found["is_valid"]
    assert (found["project"], found["fingerprint"]) == ("fraud", project.fingerprint)
    assert found["holds"] == {
        "sources": ["transactions", "chargebacks"],
        "tables": [],
        "views": list(project.views),
        "grids": [],
        "feature_sets": ["create_features"],
        "models": ["fraud"],
        "releases": ["fraud"],
    }
    assert (found["errors"], found["warnings"], found["problems"]) == (0, 0, [])


def test_limit_of_history_holds_for_json_too(built: World) -> None:
    found = holdfast("history", "--limit", 2, "--json", "--project", built.folder).json

    assert [entry["action"] for entry in found["entries"]][-1] == "deploy"
    assert len(found["entries"]) == 2


def test_project_is_found_from_the_current_folder_and_below(built: World) -> None:
    assert holdfast("plan", cwd=built.folder / "events").out == "fraud: nothing to do\n"


def test_plan_and_apply_say_what_changes(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    holdfast("init", "blank", folder)

    planned = holdfast("plan", "--project", folder)
    done = holdfast("apply", "--by", "eva", "--project", folder)

    assert planned.out.startswith("blank: 6 to add, 0 to change, 0 to remove\n  + source    visits ")
    assert done.out.startswith("blank: 6 added, 0 changed, 0 removed, recorded as ")
    assert holdfast("apply", "--project", folder).out == "blank: nothing to do\n"


def test_why_shows_the_walk(built: World) -> None:
    ran = holdfast("why", some_id(built), "--project", built.folder)

    for word in (
        "fraud@1 answered risk_score",
        "recomputed",
        "approved",
        "by ana",
        "dataset",
        "30 of 30 equal",
    ):
        assert word in ran.out
    assert "DIFFERS" not in ran.out


def test_why_ends_with_status_1_where_something_differs(world: World) -> None:
    import polars as pl

    lake = world.open().wiring.lake
    row = lake.read("_predictions").head(1)
    forged = row.with_columns(pl.lit(0.123).alias("score"), pl.col("answered_us") + 1)
    lake.append("_predictions", forged, app="forger", batch=1)

    ran = holdfast("why", row["prediction_id"][0], "--project", world.folder)

    assert ran.status == 1
    assert "DIFFERS" in ran.out


def test_why_says_that_an_answer_was_marked_inexact(world: World) -> None:
    import numpy as np
    import polars as pl

    lake = world.open().wiring.lake
    row = lake.read("_predictions").head(1)
    x = np.frombuffer(row["features"][0], dtype="<f8").copy()
    x[0] += 1.0
    live = row.with_columns(
        pl.lit(x.tobytes()).alias("features"), pl.col("answered_us") + 1, pl.lit(True).alias("inexact")
    )
    lake.ensure("_predictions", live.head(0))
    lake.append("_predictions", live, app="worker", batch=1)

    ran = holdfast("why", row["prediction_id"][0], "--project", world.folder)
    as_json = holdfast("why", row["prediction_id"][0], "--json", "--project", world.folder)

    assert (ran.status, as_json.status) == (0, 0)
    assert "marked inexact: when this was asked" in ran.out
    assert "29 of 30 equal the oracle's, bit for bit; DIFFERS: amount" in ran.out
    assert as_json.json["answer"]["inexact"] is True
    assert as_json.json["is_equal"] is False


def test_performance_is_shown_beside_the_expected(built: World) -> None:
    ran = holdfast("performance", "fraud", "--project", built.folder)

    assert "measured [95 %]" in ran.out
    assert "expected [95 %]" in ran.out


def test_failed_gates_end_with_status_1_and_are_shown(world: World) -> None:
    world.edit(('hf.metric("auc") >= 0.5', 'hf.metric("auc") >= 0.999'))
    holdfast("apply", "--by", "eva", "--project", world.folder)

    ran = holdfast("train", "fraud", "--by", "eva", "--project", world.folder)

    assert ran.status == 1
    assert "auc >= 0.999: FAILED" in ran.out
    assert "not registered" in ran.out


# --- mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ingest transaction x.csv", ("no source `transaction`", "did you mean `transactions`?")),
        ("ingest transactions absent.csv", ("absent.csv does not exist",)),
        ("quarantine nothing", ("no source `nothing`",)),
        ("train frod", ("no model `frod`", "did you mean `fraud`?")),
        ("train fraud --as-of yesterday", ("not an ISO 8601 time: 'yesterday'",)),
        ("train fraud --set leaves", ("--set takes NAME=VALUE",)),
        ("train fraud --set leaves=5", ("declares no parameter `leaves`", "did you mean `num_leaves`?")),
        ("models frod", ("no model `frod`",)),
        ("approve fraud 9 --by ana --reason ok", ("`fraud` has no version 9",)),
        ("deploy fraud 9", ("`fraud` has no version 9",)),
        ("predict frod", ("no model `frod`",)),
        ("predict fraud --version 9", ("`fraud` has no version 9",)),
        ("predict fraud --since 2026-13-01", ("2026-13-01",)),
        ("predict fraud --since 2026-02-01 --until 2026-01-01", ("--since is not before --until",)),
        ("performance fraud --since tomorrow", ("not an ISO 8601 time",)),
        ("performance fraud --version 9", ("`fraud` has no version 9",)),
        ("performance fraud --by week", ("--by takes `day` or `horizon`, found 'week'",)),
        ("performance fraud --by horizon", ("fraud@1 forecasts no horizons", "hint    --by day")),
        ("why p-000000000000", ("no prediction has the id",)),
        ("why p", ("too short",)),
    ],
)
def test_mistake_ends_with_a_message(command: str, words: tuple[str, ...], built: World) -> None:
    assert_refused(holdfast(*command.split(), "--project", built.folder), *words)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "ingest transactions",
        "approve fraud 1",
        "deploy fraud one",
        "deploy fraud 1 --lift-bar",
        "history --limit 0",
        "nonsense",
    ],
)
def test_command_that_is_not_understood_ends_with_status_2(command: str, built: World) -> None:
    ran = holdfast(*command.split(), cwd=built.folder)

    assert ran.status == 2
    assert "Traceback" not in ran.err


def test_unknown_template_names_those_there_are(tmp_path: Path) -> None:
    assert_refused(
        holdfast("init", "fruad", tmp_path / "x"),
        "no template `fruad`",
        "fraud, bookings, demand, blank",
        status=2,
    )
    assert not (tmp_path / "x").exists()


def test_init_refuses_a_folder_with_files_and_leaves_them(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    assert_refused(holdfast("init", "blank", tmp_path), "exists and is not an empty folder", status=2)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_init_into_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert_refused(holdfast("init", "blank", tmp_path / "file" / "x"), "cannot be made")


@pytest.mark.parametrize("template", ["fraud", "bookings", "demand", "blank"])
def test_what_the_generators_are_told_to_write_is_ignored_by_git(template: str, tmp_path: Path) -> None:
    """Every folder that a template's own scripts, and the documentation of it, write to."""
    holdfast("init", template, tmp_path / "new")
    ignored = (tmp_path / "new/.gitignore").read_text().split()
    page = {"fraud": "tutorial/first-system.md", "demand": "how-to/forecast-demand.md"}.get(template)
    pages = [*(tmp_path / "new").glob("*.py"), *([] if page is None else [Path("docs", page)])]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    written = {name.strip("/") for name in re.findall(r"--(?:out|truth) +([\w./-]+)", text)}

    assert page is None or {"events", "later"} <= written
    assert {name for name in written if name not in ignored and f"{name}/" not in ignored} == set()


def test_history_says_how_many_entries_it_does_not_show(built: World) -> None:
    whole = holdfast("history", "--limit", 1_000, "--project", built.folder).out
    last = holdfast("history", "--limit", 2, "--project", built.folder).out
    told = holdfast("history", "fraud@1", "--limit", 1, "--json", "--project", built.folder).json

    total = len(whole.splitlines()) - 2
    assert whole.splitlines()[-1] == f"{total} entries, chain verified"
    numbers = [int(line.split()[0]) for line in last.splitlines()[1:-1]]
    assert numbers == [total - 1, total]
    assert (
        last.splitlines()[-1] == f"the last 2 of {total} entries, chain verified; --limit {total} shows all"
    )
    assert len(told["entries"]) == 1 < told["total"]
    assert {entry["subject"] for entry in told["entries"]} == {"fraud@1"}


def test_a_time_that_cannot_be_read_is_said_once(built: World) -> None:
    told = holdfast("train", "fraud", "--as-of", "yesterday", cwd=built.folder).err

    assert told.startswith("not an ISO 8601 time: 'yesterday'.\n")
    told = holdfast("predict", "fraud", "--since", "2026-13-01", cwd=built.folder).err
    assert told.startswith("'2026-13-01' is no time: month must be in 1..12")


@pytest.mark.parametrize("template", sorted(THEN))
def test_next_steps_after_init_go_on_to_training(template: str, tmp_path: Path) -> None:
    made = holdfast("init", template, tmp_path / "new").out
    said = json.loads(holdfast("validate", "--json", "--project", tmp_path / "new").out)

    steps = [line.strip() for line in made.partition("next:\n")[2].splitlines()]
    after = [step.split() for step in steps[steps.index("holdfast apply") + 1 :]]
    named = {words[2] for words in after if words[1] == "ingest"}
    assert named == {*said["holds"]["sources"], *said["holds"]["tables"]}
    assert [words[1:] for words in after if words[1] != "ingest"] == [["train", *said["holds"]["models"]]]


@pytest.mark.parametrize("template", ["fraud", "bookings", "blank"])
def test_template_makes_a_valid_project(template: str, tmp_path: Path) -> None:
    made = holdfast("init", template, tmp_path / "new")

    assert (made.status, made.err) == (0, "")
    assert (tmp_path / "new/.gitignore").is_file()
    assert holdfast("validate", "--project", tmp_path / "new").status == 0


def test_folder_without_project_is_not_found(tmp_path: Path) -> None:
    assert_refused(holdfast("plan", "--project", tmp_path), "there is no project.py", status=1)


def test_command_before_apply_says_so(tmp_path: Path) -> None:
    make_project(tmp_path / "fraud")

    assert_refused(holdfast("train", "fraud", cwd=tmp_path / "fraud"), "run `holdfast apply`", status=1)
    assert holdfast("models", cwd=tmp_path / "fraud").out.startswith("no version is registered")
    assert "nothing has happened yet" in holdfast("history", cwd=tmp_path / "fraud").out


def test_broken_definition_is_told_by_every_command_that_needs_it(world: World) -> None:
    world.edit(('"amount": x.amount,', '"amount": x.amont,'))

    assert holdfast("validate", cwd=world.folder).status == 1
    for command in ("plan", "apply", "train fraud"):
        assert_refused(holdfast(*command.split(), cwd=world.folder), "did you mean `amount`?", "[HF102]")


@pytest.mark.parametrize("text", ["1 / 0\n", "def half_written(\n"])
def test_what_answers_and_measures_goes_on_while_the_definition_is_edited(text: str, world: World) -> None:
    (world.folder / "project.py").write_text(text)

    for command in (
        "predict fraud",
        "performance fraud",
        "drift fraud",
        "parity --model fraud",
        "models fraud",
    ):
        ran = holdfast(*command.split(), cwd=world.folder)
        assert (ran.status, ran.err) == (0, ""), command


def test_wrong_setting_is_told(world: World) -> None:
    (world.folder / "holdfast.toml").write_text('lake = "s3://bucket"\n')

    assert_refused(holdfast("models", cwd=world.folder), "a URL that begins with `file:`", "[HF114]")


# --- dry runs -----------------------------------------------------------------------------------------


def test_dry_runs_write_nothing(world: World) -> None:
    def state() -> dict[str, int]:
        folder = world.folder / ".holdfast"
        return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}

    history, before = world.open().history(), state()
    files = world.folder / "events/from-0/chargebacks"
    world.edit(('owner="risk"', 'owner="fraud"'))
    assert "to change" in holdfast("apply", "--dry-run", cwd=world.folder).out
    world.edit(('owner="fraud"', 'owner="risk"'))
    assert "dry run" in holdfast("ingest", "chargebacks", files, "--dry-run", cwd=world.folder).out
    assert "would be predicted (dry run)" in holdfast("predict", "fraud", "--dry-run", cwd=world.folder).out

    changed = {Path(path).name for path in state() if state()[path] != before.get(path)}
    # SQLite tidies its own file whenever a reader leaves; what it says is compared instead.
    assert {name for name in changed if not name.startswith("meta.db")} <= {"batches.log.lock"}
    assert world.open().history() == history


def stopped_by_framework() -> None:
    sys.exit(130)


def stopped_in_compiled_code() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as interrupt:
        raise SystemError("returned a result with an exception set") from interrupt


def stopped_in_clean_up() -> None:
    try:
        stopped_in_compiled_code()
    finally:
        raise HoldfastError("the lease was lost meanwhile.", code="HF302")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ingest", "the same command goes on from there"),
        ("predict", "the same command goes on from there"),
        ("train", "the same command starts over"),
        ("deploy", "`holdfast history` says whether it was recorded"),
        ("why", "stopped\n"),
    ],
)
@pytest.mark.parametrize("interrupted", [stopped_by_framework, stopped_in_compiled_code, stopped_in_clean_up])
def test_a_command_that_is_interrupted_says_what_it_leaves_behind(
    interrupted: Callable[[], None],
    command: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("holdfast.cli.main.app", interrupted)
    monkeypatch.setattr(sys, "argv", ["holdfast", command, "x"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 130
    told = capsys.readouterr().err
    assert told.startswith("stopped")
    assert words in told


def test_an_error_without_interrupt_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise SystemError("something else") from ValueError("a cause")

    monkeypatch.setattr("holdfast.cli.main.app", fails)

    with pytest.raises(SystemError, match="something else"):
        main()
