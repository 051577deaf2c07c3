"""The command line: one command for each verb of the loop, tables for people and ``--json`` for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core

from holdfast.cli.common import HERE, By, EventSince, Folder, Json, Model, Number, Until, terminal_width
from holdfast.cli.common import open_workspace as _open
from holdfast.cli.common import show as _show
from holdfast.cli.live import live

if TYPE_CHECKING:
    from holdfast.project.plan import Plan


class _Commands(typer.core.TyperGroup):
    """Lists each command with its whole first sentence, wrapped where it is long."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(500)) for name, command in found if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    name="holdfast",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From one project definition, the production system around a model.",
    epilog="Begin with: holdfast init fraud demo && cd demo && holdfast validate && holdfast plan",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"holdfast {version('holdfast')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: holdfast init fraud demo")
def init(
    template: Annotated[
        str,
        typer.Argument(
            help="`fraud`: a complete example. `bookings`: real data. `demand`: forecasts. `blank`: empty."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to make; it must not hold anything yet.")],
) -> None:
    """Make a new project folder."""
    from holdfast.app.examples import create

    for line in create(template, folder):
        typer.echo(line)


@app.command(epilog="Example: holdfast validate --json")
def validate(folder: Folder = HERE, as_json: Json = False) -> None:
    """Check the definition and report every problem at once; status 1 where one is an error.

    With --json, `problems` lists them; where none is an error, `fingerprint` and `holds` say what was read.
    """
    from holdfast.cli import render

    workspace = _open(folder)
    problems = workspace.validate()
    shown = render.problems_data(problems, workspace) if as_json else problems
    _show(shown, as_json, lambda found: render.problems(found, workspace))
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(1)


@app.command(epilog="Example: holdfast plan")
def plan(folder: Folder = HERE, as_json: Json = False) -> None:
    """Show what applying the definition would change; status 1 where applying would be refused."""
    _planned(_open(folder).plan(), as_json)


def _planned(found: Plan, as_json: bool) -> None:
    """Print a plan; status 1 says that applying it would be refused."""
    from holdfast.cli import render

    _show(found, as_json, render.plan)
    if found.refused:
        raise typer.Exit(1)


@app.command(epilog="Example: holdfast apply --by ana")
def apply(
    folder: Folder = HERE,
    by: By = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    as_json: Json = False,
) -> None:
    """Create or evolve tables and record the definition. Loads no data, trains and approves nothing."""
    from holdfast.cli import render

    workspace = _open(folder)
    if dry_run:
        _planned(workspace.plan(), as_json)
    else:
        _show(workspace.apply(by=by), as_json, render.applied)


@app.command(epilog="Example: holdfast ingest transactions events/transactions 'more/*.csv'")
def ingest(
    source: Annotated[str, typer.Argument(help="Name of the source.", show_default=False)],
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders or globs of Parquet, CSV or JSON lines.", show_default=False),
    ],
    folder: Folder = HERE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge every row and store nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Load history: good rows into the lake, bad rows into quarantine with the reason.

    A command that was interrupted is resumed by running it again; a file that is loaded already adds nothing.
    """
    from holdfast.cli import render

    _show(_open(folder).ingest(source, *paths, dry_run=dry_run), as_json, render.ingest)


@app.command(epilog="Example: holdfast quarantine transactions --limit 5")
def quarantine(
    source: Annotated[str | None, typer.Argument(help="Name of the source; all without it.")] = None,
    folder: Folder = HERE,
    limit: Annotated[int, typer.Option(help="Rows to show at most.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Show rows that broke their contract, with reason and origin."""
    from holdfast.cli import render

    _show(_open(folder).quarantine(source, limit=limit), as_json, render.quarantine)


@app.command(epilog="Example: holdfast train fraud --seed 7 --by eva --set num_leaves=63")
def train(
    model: Model,
    folder: Folder = HERE,
    seed: Annotated[int, typer.Option(help="Seed of everything random in the run.", min=0)] = 0,
    by: By = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="Use nothing that arrived later, such as 2026-03-01T00:00:00Z."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Parameter for this run, NAME=VALUE; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the dataset, train, measure against baseline and champion, and register if the gates pass."""
    from holdfast.cli import render

    params = _parameters(set_ or [])
    result = _open(folder, computes=True).train(model, seed=seed, by=by, as_of=as_of, params=params)
    _show(result, as_json, render.trained)
    if result.version is None:
        raise typer.Exit(1)


def _parameters(settings: list[str]) -> dict[str, Any]:
    from holdfast.kernel.errors import UsageError

    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise UsageError(
                f"--set takes NAME=VALUE, found {setting!r}.", hint="for example --set num_leaves=63"
            )
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    return found


@app.command(epilog="Example: holdfast models fraud")
def models(
    model: Annotated[str | None, typer.Argument(help="Name of the model; all without it.")] = None,
    folder: Folder = HERE,
    as_json: Json = False,
) -> None:
    """List versions: which one runs, which dataset produced it, who approved it."""
    from holdfast.cli import render

    _show(_open(folder).models(model), as_json, render.models)


@app.command(epilog="Example: holdfast history --limit 50")
def history(
    subject: Annotated[
        str | None, typer.Argument(help="Only entries of this subject, such as fraud@1.")
    ] = None,
    folder: Folder = HERE,
    limit: Annotated[
        int, typer.Option(help="Entries to show at most: the newest of the subject's, newest last.", min=1)
    ] = 30,
    as_json: Json = False,
) -> None:
    """Show the append-only history and verify its chain of hashes.

    The chain is verified from the beginning, however few entries are shown. Times are those of the project's
    clock, the system's unless a demo sets it. With --json, `total` says how many there are.
    """
    from holdfast.cli import render

    found = _open(folder).history(subject, limit=limit)
    _show(found, as_json, render.history)
    if found.broken is not None:
        raise typer.Exit(1)


@app.command(epilog='Example: holdfast approve fraud 1 --by ana --reason "gates green, slices checked"')
def approve(
    model: Model,
    number: Number,
    by: Annotated[str, typer.Option("--by", help="Who approves.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why.", show_default=False)],
    folder: Folder = HERE,
    as_json: Json = False,
) -> None:
    """Approve a version as a named person, with a reason."""
    from holdfast.cli import render

    _show(_open(folder).approve(model, number, by=by, reason=reason), as_json, render.outcome)


@app.command(epilog='Example: holdfast reject fraud 2 --by ana --reason "slice PT is worse"')
def reject(
    model: Model,
    number: Number,
    by: Annotated[str, typer.Option("--by", help="Who rejects.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why.", show_default=False)],
    folder: Folder = HERE,
    as_json: Json = False,
) -> None:
    """Refuse a version for good."""
    from holdfast.cli import render

    _show(_open(folder).reject(model, number, by=by, reason=reason), as_json, render.outcome)


BY_HAND = "deployed by hand"


@app.command(epilog="Example: holdfast deploy fraud 1")
def deploy(
    model: Model,
    number: Number,
    folder: Folder = HERE,
    by: By = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why.", show_default=BY_HAND)] = None,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="Set the alias `challenger` instead.")
    ] = False,
    lift_bar: Annotated[
        bool,
        typer.Option("--lift-bar", help="Deploy a version that was rolled back; --reason says why it may."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an approved version the champion."""
    from holdfast.cli import render
    from holdfast.kernel.errors import UsageError

    if lift_bar and reason is None:
        raise UsageError("--lift-bar needs --reason.", hint="say why the version may answer again")
    found = _open(folder).deploy(
        model, number, by=by, reason=reason or BY_HAND, challenger=challenger, lift_bar=lift_bar
    )
    _show(found, as_json, render.outcome)


@app.command(epilog="Example: holdfast predict fraud --since 2026-03-06 --until 2026-03-13")
def predict(
    model: Model,
    folder: Folder = HERE,
    since: Annotated[
        str | None,
        typer.Option(
            help="First event time or origin, such as 2026-03-06, or a duration back from the newest event, "
            "such as 24h; all without it."
        ),
    ] = None,
    until: Until = None,
    version: Annotated[int | None, typer.Option(help="Version to use.", show_default="the champion")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write the answers of the interval to a .parquet or .csv file."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the rows.")] = False,
    as_json: Json = False,
) -> None:
    """Predict stored rows in batch, with features as known at each row's time.

    A model over a spine forecasts from each origin in the interval, without one from the last origin only.

    Rows this version has answered are left alone, so an interrupted job is resumed by running it again.
    """
    from holdfast.cli import render

    found = _open(folder, computes=True).predict(
        model, since=since, until=until, version=version, dry_run=dry_run, out=out
    )
    _show(found, as_json, render.predicted)
    if out is not None and not dry_run and not as_json:
        typer.echo(f"  answers written to {out}")


@app.command(epilog="Example: holdfast why p-6b1f0a")
def why(
    prediction: Annotated[
        str, typer.Argument(help="Id of the prediction, or its first characters.", show_default=False)
    ],
    folder: Folder = HERE,
    version: Annotated[
        int | None, typer.Option(help="Version whose answer.", show_default="the last")
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain one prediction, from the answer back to approver, run, dataset, features and events.

    Exit status 1 if anything differs from its recomputation, unless the answer was marked inexact when given.
    """
    from holdfast.cli.why_render import why as rendered

    found = _open(folder, computes=True).why(prediction, version=version)
    _show(found, as_json, lambda shown: rendered(shown, terminal_width()))
    if not found.is_equal and not found.answer["inexact"]:
        raise typer.Exit(1)


@app.command(epilog="Example: holdfast performance fraud --since 2026-03-06")
def performance(
    model: Model,
    folder: Folder = HERE,
    since: EventSince = None,
    until: Until = None,
    version: Annotated[
        int | None, typer.Option(help="Version to measure.", show_default="the champion")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", help="`day`: one more row for each day; `horizon`: for each horizon of a forecast."
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", help="What had arrived by then is all there was.", show_default="the newest arrival"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure predictions on the labels that have matured, beside what was expected."""
    from holdfast.cli import render
    from holdfast.kernel.errors import UsageError

    if by not in (None, "day", "horizon"):
        raise UsageError(f"--by takes `day` or `horizon`, found {by!r}.")
    found = _open(folder, computes=True).performance(
        model, since=since, until=until, version=version, as_of=as_of
    )
    if by == "horizon" and found.mature and not found.horizons:
        raise UsageError(
            f"{found.model}@{found.version} forecasts no horizons.", at="--by", hint="--by day goes by day"
        )
    _show(found, as_json, lambda shown: render.performance(shown, by))


@app.command(epilog="Example: holdfast serve --port 8000 --workers 2")
def serve(
    folder: Folder = HERE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Number of processes that answer.")] = 1,
    durability: Annotated[
        str, typer.Option(help="What an answer survives: `process` ends, or `power` is lost.")
    ] = "process",
    access_log: Annotated[bool, typer.Option("--access-log", help="Log every request.")] = False,
    connections: Annotated[
        int, typer.Option(min=1, max=100_000, help="Open connections of each process; more get 503.")
    ] = 1_000,
) -> None:
    """Answer predictions and accept events over HTTP, until told to stop, as by Ctrl-C; then drain."""
    from holdfast.app.load import find_folder
    from holdfast.kernel.errors import UsageError
    from holdfast.server.supervise import Supervisor

    if durability not in ("process", "power"):
        raise UsageError(f"--durability takes `process` or `power`, found {durability!r}.")
    Supervisor(
        find_folder(folder),
        host,
        port,
        workers,
        "power" if durability == "power" else "process",
        access_log,
        connections,
        say=typer.echo,
    ).run()


@app.command(epilog="Example: holdfast warmup")
def warmup(as_json: Json = False) -> None:
    """Compile the kernels once, or load them from the cache, so that no process waits for it later."""
    from holdfast.app.warm import said_on_stderr, warm_up

    def told(spent: Any) -> str:
        return "\n".join(f"{name:<36}{seconds:8.2f} s" for name, seconds in spent.items())

    _show(warm_up(said_on_stderr), as_json, told)


app.add_typer(live)


_INTERRUPTED = 130
_RESUMED = ("ingest", "predict")
_RECORDED = ("apply", "approve", "reject", "deploy", "rollback")


def main() -> None:
    """Run the command line; a user's mistake ends with a message and status 1, never with a traceback.

    With ``--json`` the message is a JSON object on standard output, where the result would be.
    """
    from holdfast.kernel.errors import HoldfastError

    try:
        app()
    except KeyboardInterrupt:
        _end_interrupted()
    except SystemExit as ended:  # the framework ends an interrupted command so, without a word
        if ended.code == _INTERRUPTED:
            _end_interrupted()
        raise
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        if _is_of_interrupt(error):
            _end_interrupted()
        if not isinstance(error, HoldfastError):
            raise
        if "--json" in sys.argv[1:]:
            from holdfast.cli.render import error_json

            typer.echo(json.dumps(error_json(error), indent=2, ensure_ascii=False))
        else:
            typer.echo(str(error), err=True)
        sys.exit(2 if error.code == "HF700" else 1)


def _is_of_interrupt(error: BaseException) -> bool:
    """Whether an interrupt is among the causes: compiled code that it meets fails with its own error."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if isinstance(each, KeyboardInterrupt):
            return True
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            left += (each.__cause__, each.__context__)
    return False


def _end_interrupted() -> NoReturn:
    """Say what the command that was interrupted leaves behind, as far as that is so for all such commands."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in _RESUMED:
        told = "stopped; what was finished is kept, and the same command goes on from there"
    elif command in _RECORDED:
        told = "stopped; `holdfast history` says whether it was recorded"
    elif command == "train":
        told = "stopped; the same command starts over"
    else:
        told = "stopped"
    typer.echo(told, err=True)
    sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
