"""How long a user waits first: an import, help, and commands that only look; fresh processes, in turns."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, report
from benchmarks.rounds import in_turns, timed
from holdfast.app.examples import create
from holdfast.app.workspace import Workspace

ROUNDS = 7
COMMANDS = {
    "bare_python": ("-c", "pass"),
    "import": ("-c", "import holdfast"),
    "help": ("-m", "holdfast", "--help"),
    "validate": ("-m", "holdfast", "validate"),
    "history": ("-m", "holdfast", "history"),
}


def start(folder: Path, *arguments: str) -> None:
    """Run a fresh interpreter to its end, in a project's folder."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=folder)


def main() -> int:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "fraud"
        create("fraud", folder)
        Workspace(folder).apply(by="eva")
        rounds = in_turns(
            {
                name: lambda given=given: timed(lambda: start(folder, *given))
                for name, given in COMMANDS.items()
            },
            ROUNDS,
        )
    if rounds.runs:
        figures = [Figure(f"{name}_s", rounds.median(name), "s") for name in COMMANDS]
        figures.append(Figure("startup_runs", rounds.runs, "fresh processes, at least, in each median"))
        report("bench", figures, title=f"Start-up; medians of {rounds.runs} fresh processes")
    return 130 if rounds.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
