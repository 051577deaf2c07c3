"""One small fraud system, built once: history, a champion, predictions, and the labels that came later."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from holdfast.app.examples import create
from holdfast.app.load import importable
from holdfast.app.workspace import Workspace
from holdfast.kernel.time import DAY, format_instant, parse_instant

HISTORY, AHEAD, MATURE = 24, 26, 31  # days of history, of what is predicted, and of labels
CARDS = 150

# Shorter than the example, so that a month of few cards is enough.
SHORTER = {
    'horizon="7d"': 'horizon="3d"',
    'hf.TimeSplit(test="8d", validation="5d")': 'hf.TimeSplit(test="6d", validation="4d")',
    '"n_estimators": 400': '"n_estimators": 30',
    "n_jobs=2": "n_jobs=1",  # the threads of a busy machine wait for each other
    'hf.metric("average_precision") >= 0.50': 'hf.metric("average_precision") >= 0.02',
    'hf.metric("auc") >= 0.85': 'hf.metric("auc") >= 0.5',
    'hf.metric("average_precision") >= hf.champion() - 0.01': (
        'hf.metric("average_precision") >= hf.champion() - 0.5'
    ),
    "block=0.90, review=0.50": "block=0.30, review=0.05",
}


@dataclass(frozen=True)
class World:
    """A project folder with state, and the files that were or may be ingested."""

    folder: Path
    since: str
    until: str
    transactions: int
    chargebacks: int

    def open(self) -> Workspace:
        return Workspace(self.folder)

    def edit(self, *pairs: tuple[str, str]) -> None:
        """Change the text of project.py."""
        path = self.folder / "project.py"
        text = path.read_text(encoding="utf-8")
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def make_project(folder: Path) -> None:
    """Write the shortened fraud example into a folder."""
    create("fraud", folder)
    path = folder / "project.py"
    text = path.read_text(encoding="utf-8")
    for old, new in SHORTER.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Build the system once; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("world") / "fraud"
    make_project(folder)
    sys.modules.pop("simulator", None)
    with importable(folder):
        import simulator  # type: ignore[import-not-found]
    events = folder / "events"
    totals = {"transactions": 0, "chargebacks": 0}
    for first, last, known in ((0, HISTORY, HISTORY), (HISTORY, AHEAD, MATURE)):
        manifest = simulator.write(events / f"from-{first}", first, last, known, cards=CARDS)
        totals = {name: n + manifest[name] for name, n in totals.items()}
    start = parse_instant(f"{simulator.FIRST_DAY}", assume_utc=True)
    since, until = (format_instant(start + day * DAY) for day in (HISTORY, AHEAD))

    workspace = Workspace(folder)
    workspace.apply(by="eva")
    for source in ("transactions", "chargebacks"):
        workspace.ingest(source, events / "from-0" / source)
    trained = workspace.train("fraud", seed=7, by="eva")
    assert trained.version is not None, trained.message
    workspace.approve("fraud", 1, by="ana", reason="gates green")
    workspace.deploy("fraud", 1, by="ana")
    workspace.ingest("transactions", events / "from-24" / "transactions")
    workspace.predict("fraud", since=since, until=until)
    workspace.ingest("chargebacks", events / "from-24" / "chargebacks")
    return World(folder, since, until, **totals)


def copy_of(world: World, folder: Path) -> World:
    shutil.copytree(world.folder, folder)
    return replace(world, folder=folder)


@pytest.fixture(scope="session")
def trained_again(built: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A second version, by one of those who may approve."""
    world = copy_of(built, tmp_path_factory.mktemp("again") / "fraud")
    world.open().train("fraud", seed=8, by="ana", params={"num_leaves": 7})
    return world


@pytest.fixture
def world(built: World, tmp_path: Path) -> World:
    """A copy of the built system, to change."""
    return copy_of(built, tmp_path / "fraud")


@pytest.fixture
def rivals(trained_again: World, tmp_path: Path) -> World:
    """A copy of the system with two versions, to change."""
    return copy_of(trained_again, tmp_path / "fraud")


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str], Path]:
    """Write a project.py with this text and return its folder."""

    def write(text: str) -> Path:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "project.py").write_text(text, encoding="utf-8")
        return folder

    return write
