"""The how-tos are true: their Python runs, their definitions validate, their commands do what is shown."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.pages import DOCS, ROOT, blocks

import holdfast as hf

FRAUD = (ROOT / "src/holdfast/app/examples/fraud/project.py").read_text(encoding="utf-8")
HEAD = FRAUD.partition("@project.view")[0]
"""The fraud example up to its entities."""

IMPORTS = "from datetime import datetime\nfrom decimal import Decimal\n\nimport holdfast as hf\n"

FLIGHTS = (
    IMPORTS
    + """
class Flight(hf.Event):
    flight_id: str = hf.event_id()
    at: datetime = hf.event_time()
    origin: str
    store_id: str
    item_id: str

project = hf.Project("flights", owner="me")
flights = project.source("flights", Flight, known_after="0s")

@project.view(flights, entity=hf.Entity("route", key="origin"))
def route(f):
    return {"flights_1d": f.count(over="1d")}

"""
)

READINGS = """
project = hf.Project("meters", owner="me")
readings = project.source("readings", Reading, known_after="0s")
"""


def python_of(page: str) -> str:
    return "\n\n".join(block.body for block in blocks(page) if block.language == "python")


TYPED = {
    "add-a-feature.md",
    "forecast-demand.md",
    "ingest-history.md",
    "join-a-table.md",
    "read-why.md",
    "release-by-hand.md",
    "serve-live.md",
    "start-with-real-data.md",
}
"""Pages whose commands are typed below."""


@pytest.mark.parametrize("page", sorted(path.name for path in (DOCS / "how-to").glob("*.md")))
def test_commands_of_a_page_are_typed_or_it_says_why_not(page):
    commands = [block for block in blocks(f"how-to/{page}") if block.language == "console"]

    for block in commands:
        assert page in TYPED or (block.mark == "untested" and block.say), f"{page}:{block.line}"
    assert page not in TYPED or any(block.mark != "untested" for block in commands)


@pytest.mark.parametrize(
    ("page", "before", "after"),
    [
        ("add-a-feature.md", HEAD, ""),
        ("add-an-aggregate.md", HEAD, ""),
        ("join-a-table.md", FLIGHTS, ""),
        ("correct-events.md", IMPORTS, READINGS),
    ],
)
def test_definitions_of_a_page_are_valid(page, before, after, tmp_path):
    (tmp_path / "project.py").write_text(before + python_of(f"how-to/{page}") + after)

    problems = hf.Workspace(tmp_path).validate()

    assert [problem.render() for problem in problems if problem.severity == "error"] == []


@pytest.mark.slow
def test_feature_is_added_as_the_page_says(terminal):
    here = terminal()
    (here.folder / "project.py").write_text(HEAD + python_of("how-to/add-a-feature.md"))

    here.run_page("how-to/add-a-feature.md")


@pytest.mark.slow
def test_table_is_loaded_as_the_page_says(terminal):
    here = terminal()
    (here.folder / "project.py").write_text(FLIGHTS + python_of("how-to/join-a-table.md"))
    (here.folder / "weather.csv").write_text("hour,origin,wind,sky\n2026-03-01T00:00:00Z,LIS,3.5,clear\n")
    assert here.run("holdfast apply")[0] == 0

    here.run_page("how-to/join-a-table.md")


@pytest.mark.slow
def test_history_is_ingested_as_the_page_says(terminal):
    here = terminal()
    assert here.run("holdfast init fraud .")[0] == 0
    assert here.run("python simulator.py --days 60 --out events")[0] == 0
    (here.folder / "data" / "february").mkdir(parents=True)
    for name, to in {
        "2026-01-05.parquet": "2026-01.parquet",
        "2026-02-02.parquet": "february",
        "2026-03-02.csv": "2026-03-02.csv",
    }.items():
        shutil.copy(here.folder / "events" / "transactions" / name, here.folder / "data" / to)
    assert here.run("holdfast apply")[0] == 0

    here.run_page("how-to/ingest-history.md")


@pytest.mark.slow
def test_version_is_released_by_hand_as_the_page_says(after_first_part):
    project = after_first_part.folder / "project.py"
    text = project.read_text()  # two versions of a small world differ by more than the page's gate allows
    project.write_text(text.replace("hf.champion() - 0.01", "hf.champion() - 0.3"))
    assert after_first_part.run("holdfast apply")[0] == 0

    after_first_part.run_page("how-to/release-by-hand.md")


@pytest.mark.slow
def test_service_is_run_as_the_page_says(after_first_part):
    assert after_first_part.run("python traffic.py clock --day 81")[0] == 0

    after_first_part.run_page("how-to/serve-live.md")


@pytest.mark.slow
def test_real_data_are_taken_through_as_the_page_says(terminal):
    here = terminal()

    here.run_page("how-to/start-with-real-data.md")

    # The page goes on with columns that leak: what it quotes is what is said then.
    project = here.folder / "project.py"
    added = python_of("how-to/start-with-real-data.md")
    text = project.read_text(encoding="utf-8")
    end = text.index("    }\n", text.index("def create_features"))
    project.write_text(text[:end] + added + text[end:], encoding="utf-8")
    status, said = here.run("holdfast validate")
    assert status == 1
    for name in ("country", "assigned_room_type", "required_car_parking_spaces"):
        assert f"`{name}` reads `{name}`, which is marked known_later: history shows" in said
    text = project.read_text(encoding="utf-8")
    project.write_text(text.replace(", known_later=True", ""), encoding="utf-8")
    assert here.run("holdfast apply --by ines")[0] == 0
    status, said = here.run("holdfast train cancellation --seed 7 --by ines --as-of 2017-03-01T00:00:00Z")
    assert status == 0
    assert "leak?   required_car_parking_spaces" in said
    assert "leak?   assigned_room_type" in said
    assert "leak?   country" not in said


@pytest.mark.slow
def test_demand_is_forecast_as_the_page_says(terminal):
    here = terminal()
    small = {
        "--days 730": "--from 430 --days 300 --stores 2 --items 6",
        "--days 14": "--days 14 --stores 2 --items 6",
    }
    here.change = lambda command: next(
        (command.replace(*to) for to in small.items() if to[0] in command), command
    )

    here.run_page("how-to/forecast-demand.md")


@pytest.mark.slow
def test_why_is_read_as_the_page_says(after_first_part):
    after_first_part.run_page("how-to/read-why.md")


@pytest.mark.slow
def test_commands_are_methods_as_the_page_says(first_part, tmp_path, monkeypatch):
    for name in ("project.py", "holdfast.toml", "events", "more"):
        origin, copy = first_part.folder / name, tmp_path / "cards" / name
        copy.parent.mkdir(exist_ok=True)
        (shutil.copytree if origin.is_dir() else shutil.copy)(origin, copy)
    monkeypatch.chdir(tmp_path)

    exec(compile(python_of("how-to/use-it-from-python.md"), "use-it-from-python.md", "exec"), {})


@pytest.mark.slow
def test_adapter_of_the_how_to_passes_its_kit(tmp_path):
    (tmp_path / "test_shelf.py").write_text(python_of("how-to/add-an-adapter.md"))

    ran = _pytest(tmp_path)

    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("            return found\n", "            return found[:-1]\n"),
        (
            "            whole, position = [], self.held.end\n",
            "            position, whole = self.held.end, []\n            self.held.appends.append(whole)\n",
        ),
    ],
    ids=["one frame too few", "half of what is refused"],
)
def test_kit_notices_the_mistakes_that_the_how_to_names(tmp_path, right, wrong):
    text = python_of("how-to/add-an-adapter.md")
    assert text.count(right) == 1
    (tmp_path / "test_shelf.py").write_text(text.replace(right, wrong))

    assert _pytest(tmp_path).returncode == 1


def _pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder, env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
