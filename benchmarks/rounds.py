"""Contestants measured in turns: what else the machine does hits all of them alike.

Nothing measured is lost: after each round the caller is told, and an interrupt ends the rounds, but not the
report.
"""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

Found = Mapping[str, float]
"""What one run measured, by name: `s` and `cpu_s`, and whatever else."""


@dataclass(slots=True)
class Rounds:
    """What was found, by contestant, one entry a run.

    Attributes
    ----------
    interrupted : somebody stopped it before all rounds were over
    """

    found: dict[str, list[Found]] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def runs(self) -> int:
        """Runs that every contestant has; each median is of at least as many."""
        return min(map(len, self.found.values()), default=0)

    def median(self, contestant: str, name: str = "s") -> float:
        """Return the median of one thing measured."""
        return median(run[name] for run in self.found[contestant])


def in_turns(
    contestants: Mapping[str, Callable[[], Found]],
    times: int,
    *,
    after: Callable[[Rounds], object] = lambda rounds: None,
) -> Rounds:
    """Run every contestant once a round, for some rounds, and say so on standard error.

    Parameters
    ----------
    after : told after each whole round what was found until then
    """
    rounds = Rounds({name: [] for name in contestants})

    def stop(*_: object) -> None:
        rounds.interrupted = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        for number in range(1, times + 1):
            for name, run in contestants.items():
                gc.collect()
                began = time.perf_counter()
                rounds.found[name].append(run())
                spent = time.perf_counter() - began
                print(f"round {number} of {times}: {name} {spent:.2f} s", file=sys.stderr, flush=True)
            after(rounds)
    except BaseException as error:
        rounds.interrupted |= isinstance(error, KeyboardInterrupt)
        if not rounds.interrupted:  # of an interrupt some engines make an error of their own
            raise
        print(f"interrupted; {rounds.runs} whole rounds were measured", file=sys.stderr, flush=True)
    finally:
        signal.signal(signal.SIGINT, before)
    return rounds


def timed(call: Callable[[], object]) -> Found:
    """Return the seconds that a call takes on the clock, and of all processors."""
    began, used = time.perf_counter(), time.process_time()
    call()
    return {"s": time.perf_counter() - began, "cpu_s": time.process_time() - used}


def apart(module: str, *arguments: str) -> Found:
    """Return the JSON object that a benchmark prints about one run in a process of its own."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE)
    if done.returncode == -signal.SIGINT:
        raise KeyboardInterrupt  # it was meant for both, and reached that one first
    done.check_returncode()
    found: Found = json.loads(done.stdout)
    return found
