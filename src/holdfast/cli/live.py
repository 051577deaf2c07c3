"""Commands of the live half: the processes that serve, and the questions asked about what they answered."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli.common import HERE, By, EventSince, Folder, Json, Model, Until
from holdfast.cli.common import open_workspace as _open
from holdfast.cli.common import show as _show

live = typer.Typer()

Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        help="First time of the answer: an instant, or a duration back from now, such as 1h; all without it.",
    ),
]


@live.command(epilog="Example: holdfast materialize")
def materialize(folder: Folder = HERE, as_json: Json = False) -> None:
    """Build the online state anew from the lake, while serving goes on, then swap it in.

    A running worker does it and goes on applying meanwhile; without one, this command does. It is also the
    way back after damage to the state.
    """
    from holdfast.cli import live_render

    workspace = _open(folder, computes=True)
    from holdfast.app.materialize import materialize_state

    _show(materialize_state(workspace.wiring, progress=workspace.progress), as_json, live_render.materialized)


@live.command(epilog="Example: holdfast worker")
def worker(folder: Folder = HERE) -> None:
    """Bring what serving processes accepted into the online state and the lake, until it is stopped."""
    from holdfast.app.warm import compiled_once, said_on_stderr

    with compiled_once(said_on_stderr):
        from holdfast.app.worker import run_worker

    run_worker(folder)


@live.command(epilog="Example: holdfast up --port 8000")
def up(
    folder: Folder = HERE,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="Port of the service; 0 takes a free one.", min=0)
    ] = 8000,
    status_port: Annotated[
        int, typer.Option("--status-port", help="Port of the status page; 0 takes a free one.", min=0)
    ] = 0,
    workers: Annotated[int, typer.Option("--workers", help="Serving processes.", min=1)] = 1,
) -> None:
    """Run everything on this machine: serving, the worker and a status page. One Ctrl-C stops it all."""
    from holdfast.app.warm import compiled_once, said_on_stderr

    with compiled_once(said_on_stderr):
        from holdfast.app.up import Up

    raise typer.Exit(Up(folder, host=host, port=port, status_port=status_port, workers=workers).run())


@live.command(epilog="Example: holdfast parity --since 1h")
def parity(
    folder: Folder = HERE,
    since: Since = None,
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Falsify a scratch copy: each falsification must be noticed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Recompute recorded predictions, features and score, from the lake, and compare them bit for bit.

    Exit status 1 if anything differs.
    """
    from holdfast.cli import live_render

    workspace = _open(folder, computes=True)
    if self_test:
        trials = workspace.try_out_parity(since=since, model=model)
        _show(trials, as_json, live_render.trials)
        if not all(trial.caught for trial in trials):
            raise typer.Exit(1)
        return
    found = workspace.parity(since=since, model=model)
    _show(live_render.parity_data(found) if as_json else found, as_json, live_render.parity)
    if not found.is_equal:
        raise typer.Exit(1)


@live.command(epilog="Example: holdfast drift fraud --since 24h")
def drift(
    model: Model,
    folder: Folder = HERE,
    since: EventSince = None,
    until: Until = None,
    version: Annotated[
        int | None, typer.Option(help="Version to look at.", show_default="the champion")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare what a model was asked with what it was trained on, feature by feature."""
    from holdfast.cli import live_render

    found = _open(folder, computes=True).drift(model, since=since, until=until, version=version)
    _show(found, as_json, live_render.drift)


@live.command(epilog='Example: holdfast rollback fraud --by ana --reason "scores jumped"')
def rollback(
    model: Model,
    reason: Annotated[str, typer.Option("--reason", help="Why.", show_default=False)],
    folder: Folder = HERE,
    to: Annotated[
        int | None, typer.Option("--to", help="Number of an earlier champion.", show_default="the last one")
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Bring an earlier champion back and bar the one that answers now; takes effect within a second."""
    from holdfast.cli import render

    _show(_open(folder).rollback(model, to=to, by=by, reason=reason), as_json, render.outcome)
