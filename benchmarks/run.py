"""Run benchmarks one after another, and say in one table which figures are what they have to be.

    python -m benchmarks.run [NAME ...]

Without names all of `bench_*.py` run. One that fails, or a figure that misses its target, stops none of the
others. The exit status is 1 where a benchmark failed, not where a target was missed: how fast a machine is,
is a finding and no fault of the run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import FOLDER, shown
from benchmarks.targets import TARGETS, Target

HERE = Path(__file__).resolve().parent


def verdicts(
    figures: Mapping[str, float], targets: Mapping[str, Target] = TARGETS
) -> list[tuple[str, str, str, str]]:
    """Return (figure, value, wanted, verdict), those with a target first; one not measured is told too."""
    rows = []
    for name, target in sorted(targets.items()):
        value = figures.get(name)
        verdict = "not measured" if value is None else "met" if target.is_met(value) else "missed"
        rows.append((name, "" if value is None else shown(value), str(target), verdict))
    rest = sorted(set(figures) - set(targets))
    return rows + [(name, shown(figures[name]), "", "") for name in rest]


def summary(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Return how many targets were met, and which were not."""
    wanted = [(name, verdict) for name, _, _, verdict in rows if verdict]
    met = sum(verdict == "met" for _, verdict in wanted)
    others = "; ".join(f"{name} {verdict}" for name, verdict in wanted if verdict != "met")
    return f"{met} of {len(wanted)} targets met" + (f"; {others}" if others else "")


def run(name: str) -> int:
    """Return the exit status of a benchmark; one that is interrupted still says what it measured."""
    process = subprocess.Popen([sys.executable, "-m", f"benchmarks.{name}"])
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def main() -> int:
    """Run, then read what all of them wrote."""
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("bench_*.py"))
    path = FOLDER / "bench.json"
    path.unlink(missing_ok=True)
    console = Console(width=100)
    failed = []
    for number, name in enumerate(names, 1):
        console.print(f"[bold]{name}[/] ({number} of {len(names)})")
        try:
            if run(name):
                failed.append(name)
        except KeyboardInterrupt:
            failed += names[number - 1 :]
            break

    rows = verdicts(json.loads(path.read_text()) if path.exists() else {})
    table = Table(title=path.name, title_justify="left", box=None, pad_edge=False)
    for heading in ("figure", "value", "wanted", ""):
        table.add_column(heading, justify="right" if heading == "value" else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table, "")
    console.print(summary(rows), highlight=False)
    if failed:
        console.print(f"not run to the end: {', '.join(failed)}", highlight=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
