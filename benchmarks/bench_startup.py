"""How long a user waits first: ``import holdfast`` and ``holdfast --help``, each in fresh processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.figures import report

REPEATS = 7


def median_s(*arguments: str) -> float:
    """Return the median wall time of a fresh interpreter, in seconds."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Measure and report."""
    rows = [
        ("bare_python_s", median_s("-c", "pass"), "s"),
        ("import_s", median_s("-c", "import holdfast"), "s"),
        ("help_s", median_s("-m", "holdfast", "--help"), "s"),
    ]
    report("bench", rows, title=f"start-up, median of {REPEATS} fresh processes")


if __name__ == "__main__":
    main()
