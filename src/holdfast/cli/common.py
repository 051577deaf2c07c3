"""What all commands share: their common options, how a project is opened, and how a result is printed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.app.workspace import Workspace

Folder = Annotated[
    Path, typer.Option("--project", "-C", help="Folder of the project.", show_default="this folder")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
By = Annotated[str | None, typer.Option("--by", help="Name recorded as acting; by default the login name.")]
Model = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
Number = Annotated[int, typer.Argument(help="Number of the version.", show_default=False)]
EventSince = Annotated[
    str | None,
    typer.Option(
        "--since",
        help="First event time, such as 2026-03-06, or a duration back from the newest event answered, "
        "such as 24h; all without it.",
    ),
]
Until = Annotated[str | None, typer.Option("--until", help="End of event time, exclusive.")]
HERE = Path()


def open_workspace(folder: Path, *, computes: bool = False) -> Workspace:
    """Return the workspace of a folder, with a progress bar where a person looks.

    Parameters
    ----------
    computes
        Whether the command needs the kernels: they are loaded here, or compiled, which is said. Other
        commands answer without them.
    """
    from holdfast.app.workspace import Workspace
    from holdfast.cli.progress import make_progress

    workspace = Workspace(folder, progress=make_progress())
    if computes:
        from holdfast.app.warm import said_on_stderr, warm_up

        warm_up(said_on_stderr)
    return workspace


def show(value: Any, as_json: bool, render: Callable[[Any], str]) -> None:
    """Print a result as a table, or as one JSON document."""
    if as_json:
        from holdfast.cli.render import to_json

        typer.echo(json.dumps(to_json(value), indent=2, ensure_ascii=False))
    else:
        typer.echo(render(value))


def terminal_width() -> int | None:
    """Return the columns of the terminal that shows the result; None where a file or a program reads it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
