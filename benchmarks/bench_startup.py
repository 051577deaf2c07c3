"""How long a user waits first: ``import holdfast`` and ``holdfast --help``, in fresh processes, in turns."""

import subprocess
import sys

from benchmarks.figures import Figure, report
from benchmarks.rounds import in_turns, timed

ROUNDS = 7
COMMANDS = {
    "bare_python": ("-c", "pass"),
    "import": ("-c", "import holdfast"),
    "help": ("-m", "holdfast", "--help"),
}


def start(*arguments: str) -> None:
    """Run a fresh interpreter to its end."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    """Measure and report."""
    rounds = in_turns(
        {name: lambda given=given: timed(lambda: start(*given)) for name, given in COMMANDS.items()}, ROUNDS
    )
    if rounds.runs:
        figures = [Figure(f"{name}_s", rounds.median(name), "s") for name in COMMANDS]
        figures.append(Figure("startup_runs", rounds.runs, "fresh processes, at least, in each median"))
        report("bench", figures, title=f"Start-up; medians of {rounds.runs} fresh processes")
    return 130 if rounds.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
