"""The folder that the first part of the tutorial leaves behind; made once, by typing that page."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.docs.pages import Terminal

CARDS = 250
"""How large a world; the pages leave the simulator's 1,000, which takes about three times as long."""


def smaller(command: str) -> str:
    """Tell the simulator, and whoever plays its world, to make a smaller one."""
    return re.sub(
        r"(simulator\.py|traffic\.py (?:payments|reports|load)) ", rf"\1 --cards {CARDS} ", command, count=1
    )


@pytest.fixture(scope="session")
def first_part(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """Type the first part of the tutorial; its last commands are still on the screen."""
    home = tmp_path_factory.mktemp("tutorial")
    (home / "work").mkdir()
    terminal = Terminal(home / "work", home / "bin", smaller)
    terminal.run_page("tutorial/first-system.md")
    return terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[[], Terminal]]:
    """Return how to open a terminal in an empty folder."""
    opened: list[Terminal] = []

    def open_one() -> Terminal:
        (tmp_path / "work").mkdir()
        opened.append(Terminal(tmp_path / "work", tmp_path / "bin", smaller))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def after_first_part(first_part: Terminal, tmp_path: Path) -> Iterator[Terminal]:
    """Open a terminal in a copy of the folder that the first part of the tutorial made."""
    shutil.copytree(first_part.folder, tmp_path / "cards")
    opened = Terminal(tmp_path / "cards", tmp_path / "bin", smaller, last_id=first_part.last_id)
    yield opened
    opened.close()
