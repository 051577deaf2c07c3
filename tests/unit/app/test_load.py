"""A project.py that cannot be loaded ends with one clear error and its place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.app.load import find_folder, load_project
from holdfast.kernel.errors import DefinitionError, NotFoundError

Write = Callable[[str], Path]


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("x = 1\ndef f(:\n", "project.py is not Python", "project.py:2"),
        ("import holdfast as hf\nimport nowhere\n", "No module named 'nowhere'", "project.py:2"),
        ("import holdfast as hf\n\n1 / 0\n", "ZeroDivisionError", "project.py:3"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3", "project.py:2"),
        ("import holdfast as hf\nhf.Projekt('x')\n", "no attribute 'Projekt'", "project.py:2"),
        ("import holdfast as hf\n", "defines no project", "project.py"),
        (
            "import holdfast as hf\na = hf.Project('a')\nb = hf.Project('b')\n",
            "defines 2 projects: `a` (project.py:2) and `b` (project.py:3)",
            "project.py",
        ),
    ],
)
def test_file_that_defines_no_project_is_refused_with_its_place(
    text: str, message: str, place: str, project: Write
) -> None:
    with pytest.raises(DefinitionError) as caught:
        load_project(project(text))

    assert caught.value.code == "HF100"
    assert message in caught.value.problem.message
    assert caught.value.problem.place == place


def test_syntax_error_beside_the_project_names_that_file(project: Write) -> None:
    folder = project("import beside_with_error\n")
    (folder / "beside_with_error.py").write_text("def f(:\n")

    with pytest.raises(DefinitionError) as caught:
        load_project(folder)

    assert caught.value.problem.place == "beside_with_error.py:1"


def test_mistake_of_capture_at_module_level_keeps_its_own_place(project: Write) -> None:
    folder = project("import holdfast as hf\np = hf.Project('x')\nhf.where(object(), 1, 2)\n")

    with pytest.raises(DefinitionError) as caught:
        load_project(folder)

    assert (caught.value.code, caught.value.problem.place) == ("HF103", "project.py:3")


def test_edit_within_the_same_second_is_seen(project: Write) -> None:
    first = load_project(project("import holdfast as hf\np = hf.Project('one')\n"))
    second = load_project(project("import holdfast as hf\np = hf.Project('two')\n"))

    assert (first.name, second.name) == ("one", "two")


def test_project_is_found_from_a_folder_below(project: Write) -> None:
    folder = project("")
    below = folder / "events" / "week"
    below.mkdir(parents=True)

    assert find_folder(below) == folder.resolve()


def test_folder_without_project_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no project\.py"):
        find_folder(tmp_path)
    with pytest.raises(NotFoundError, match="there is no folder"):
        find_folder(tmp_path / "absent")
