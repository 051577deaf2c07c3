"""Loading: from a folder to the project its ``project.py`` defines."""

from __future__ import annotations

import importlib.util
import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.kernel.errors import DefinitionError, HoldfastError, NotFoundError
from holdfast.project.definition import Project

FILE = "project.py"


def find_folder(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds a ``project.py``.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    here = start.resolve()
    if not here.is_dir():
        raise NotFoundError(f"there is no folder {str(start)!r}.")
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    raise NotFoundError(
        f"there is no {FILE} in {str(here)!r} or above it.",
        hint="`holdfast init fraud DIR` makes a complete example, `holdfast init blank DIR` an empty project",
    )


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules beside ``project.py`` be imported meanwhile."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def load_project(folder: Path) -> Project:
    """Run ``project.py`` and return the one project it defines.

    Raises
    ------
    DefinitionError
        If the file fails, or defines no project or several (HF100); the place names the user's line.
    """
    path = folder / FILE
    linecache.checkcache(str(path))
    spec = importlib.util.spec_from_file_location("project", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["project"] = module
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # an edit within a second must be seen
    try:
        with importable(folder):
            spec.loader.exec_module(module)
    except HoldfastError:
        raise
    except SyntaxError as error:
        name = FILE if error.filename is None else Path(error.filename).name
        raise DefinitionError(
            f"{name} is not Python: {error.msg}.", code="HF100", place=f"{name}:{error.lineno}"
        ) from None
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        lines = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent == folder]
        place = f"{Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else FILE
        raise DefinitionError(
            f"{FILE} fails while it is loaded: {type(error).__name__}: {error}.", code="HF100", place=place
        ) from error
    finally:
        sys.dont_write_bytecode = wrote
    found = {id(v): v for v in vars(module).values() if isinstance(v, Project)}
    if not found:
        raise DefinitionError(
            f"{FILE} defines no project.",
            code="HF100",
            place=FILE,
            hint='project = hf.Project("name", owner="team")',
        )
    if len(found) > 1:
        names = " and ".join(f"`{p.name}` ({p.place})" for p in found.values())
        raise DefinitionError(
            f"{FILE} defines {len(found)} projects: {names}.",
            code="HF100",
            place=FILE,
            hint="one folder holds one project: move the other to a folder of its own",
        )
    return next(iter(found.values()))
