"""``make demo``: the loop on the fraud system, command by command, with checks that can fail.

Every command runs as a user would type it; what it stored is then checked through the Python interface.
The exit status is 0 only if everything held.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from holdfast.app.warm import compiled_once, said_on_stderr

with compiled_once(said_on_stderr):
    from holdfast.app.load import importable
    from holdfast.app.wire import set_clock
    from holdfast.app.workspace import Workspace
    from holdfast.cli.demo_live import LiveDemo
    from holdfast.cli.main import app
    from holdfast.cli.render import score_line
    from holdfast.kernel.errors import HoldfastError
    from holdfast.kernel.time import DAY, format_instant, parse_instant
    from holdfast.serving.ports import PREDICTIONS

INTERRUPTED = 130
"""Exit status after Ctrl-C."""
HISTORY, AHEAD, MATURE = 60, 67, 81
"""Days of history, end of the days that are predicted, and the day when their labels have matured."""
PLANTED = {
    "negative_amount": "HF203",
    "amount_over_bound": "HF203",
    "missing_card_id": "HF201",
    "unparsable_time": "HF202",
    "zoneless_time": "HF205",
    "too_many_decimals": "HF204",
    "exact_duplicate": "duplicate",
    "conflicting_content": "HF210",
}
"""What each planted reason must be found as."""
NOT_YET = (
    "canary: releases to a share of requests, guarded",
    "retrain: by itself, when drift and labels ask for it",
)


class Demo:
    """One walk through the loop."""

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        self.folder = folder
        self.keep = keep
        self.failed: list[str] = []
        self.began = time.monotonic()
        self.start = 0

    def say(self, text: str = "") -> None:
        """Print a line at once."""
        print(text, flush=True)

    def stage(self, title: str) -> None:
        """Begin a stage."""
        self.say(f"\n== {title}  ({time.monotonic() - self.began:.0f} s)")

    def run(self, *args: str) -> None:
        """Run one command of the command line, as typed in the project's folder."""
        self.say(f"$ holdfast {' '.join(a if ' ' not in a else repr(a) for a in args)}")
        if app([*args, "--project", str(self.folder)], standalone_mode=False) == INTERRUPTED:
            raise KeyboardInterrupt

    def check(self, holds: bool, words: str) -> None:
        """Report one check."""
        self.say(f"  {'ok  ' if holds else 'FAIL'}  {words}")
        if not holds:
            self.failed.append(words)

    def refused(self, words: str, *args: str) -> None:
        """Run a command that must be refused with an error."""
        try:
            self.run(*args)
        except HoldfastError as error:
            self.say(str(error))
            self.check(True, words)
        else:
            self.check(False, words)

    def walk(self) -> bool:
        """Walk the loop and return whether everything held."""
        self.stage("define")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.say(f"$ holdfast init fraud {self.folder}")
        app(["init", "fraud", str(self.folder)], standalone_mode=False)
        self.start = _first_day(self.folder)
        self.move(HISTORY)
        self.run("validate")
        self.run("plan")
        self.run("apply", "--by", "eva")
        workspace = Workspace(self.folder)
        self.check(workspace.plan().is_empty, "applied: the plan is empty now")

        self.stage(f"simulate {HISTORY} days and ingest")
        manifest = self.simulate(0, HISTORY, HISTORY)
        self.ingest(workspace, manifest)
        self.run("quarantine", "transactions", "--limit", "3")

        self.stage("train, measure, gate, register")
        self.run("train", "fraud", "--seed", "7", "--by", "ana")
        listed = Workspace(self.folder).models("fraud")
        self.check(len(listed) == 1, "the gates passed and fraud@1 is registered")
        payload = workspace.wiring.registry.list_runs("fraud")[-1].payload
        candidate = payload["metrics"]["average_precision"]
        trivial = payload["baseline"]["average_precision"]
        self.check(
            candidate["low"] > 5 * trivial,
            f"average precision {candidate['value']:.3f} [{candidate['low']:.3f}, {candidate['high']:.3f}] "
            f"is far above the baseline's {trivial:.3f}",
        )

        self.stage("approve and deploy")
        self.refused("nobody deploys what nobody approved", "deploy", "fraud", "1", "--by", "eva")
        self.refused(
            "the author cannot approve", "approve", "fraud", "1", "--by", "ana", "--reason", "looks good"
        )
        self.run("approve", "fraud", "1", "--by", "ben", "--reason", "gates green, far above the baseline")
        self.run("deploy", "fraud", "1", "--by", "ben")
        self.run("models", "fraud")

        self.stage(f"predict the next {AHEAD - HISTORY} days")
        self.move(AHEAD)
        self.ingest(workspace, self.simulate(HISTORY, AHEAD, AHEAD))
        since, until = (format_instant(self.start + day * DAY) for day in (HISTORY, AHEAD))
        self.run("predict", "fraud", "--since", since, "--until", until)
        again = workspace.predict("fraud", since=since, until=until)
        self.check(
            again.predicted == 0 and again.repeated == again.rows > 0,
            f"each of {again.rows:,} rows is answered once",
        )

        self.stage("why")
        chosen = self.blocked(workspace)
        self.run("why", chosen)
        explanation = workspace.why(chosen)
        self.say(f"\n  {score_line(explanation.answer)}")
        self.check(explanation.answer["decision"] == "block", "the highest score is blocked")
        self.check(
            explanation.is_equal, f"all {len(explanation.features)} features equal the oracle's, bit for bit"
        )

        self.stage(f"{MATURE - AHEAD} days later: the labels have matured")
        self.move(MATURE)
        self.ingest(workspace, self.simulate(AHEAD, MATURE, MATURE))
        self.run("performance", "fraud", "--since", since, "--until", until)
        found = workspace.performance("fraud", since=since, until=until)
        measured, share = found.metrics["average_precision"], found.positives / found.mature
        self.check(found.mature == found.predictions, f"all {found.mature:,} predictions have a mature label")
        self.check(
            (measured.low or 0) > 5 * share,
            f"measured average precision {measured.value:.3f}, chance {share:.3f}",
        )
        self.run("history")

        LiveDemo(self, first_day=MATURE).walk(keep=self.keep)
        self.check(workspace.history().broken is None, "the history's chain of hashes is whole")

        self.say("\nnot yet:")
        for line in NOT_YET:
            self.say(f"  {line}")
        verdict = f"{len(self.failed)} checks FAILED" if self.failed else "everything held"
        self.say(f"\n{verdict} in {time.monotonic() - self.began:.0f} s; the project is in {self.folder}")
        return not self.failed

    def move(self, day: int) -> None:
        """Let it be the beginning of a day, for every process of the project."""
        set_clock(self.folder, self.start + day * DAY)

    def simulate(self, first: int, last: int, known_until: int) -> dict[str, Any]:
        """Write the events of some days, as they were known on the last of them."""
        sys.modules.pop("simulator", None)
        with importable(self.folder.resolve()):
            import simulator  # type: ignore[import-not-found]

            folder = self.folder / "events" / f"days-{first:02d}-{known_until:02d}"
            manifest: dict[str, Any] = simulator.write(folder, first, last, known_until)
        transactions, chargebacks = manifest["transactions"], manifest["chargebacks"]
        reported = f"chargebacks reported until day {known_until}"
        self.say(f"  {transactions:,} transactions, {chargebacks:,} {reported}")
        return {**manifest, "folder": folder}

    def ingest(self, workspace: Workspace, manifest: dict[str, Any]) -> None:
        """Ingest what was written and check that every row is accounted for."""
        for source in ("transactions", "chargebacks"):
            folder = Path(manifest["folder"]) / source
            if not folder.exists():
                continue
            self.run("ingest", source, str(folder))
            report = workspace.ingest(source, folder)
            counts = report.before
            self.check(
                report.adds_up and report.now.rows == 0,
                f"{source}: {counts.rows:,} rows in = {counts.stored:,} stored + {counts.duplicates:,} "
                f"duplicates + {counts.refused:,} quarantined, and a second run adds nothing",
            )
            planted = Counter[str]()
            for name, reasons in manifest["planted_by_file"].items():
                if name.startswith(source):
                    for reason, n in reasons.items():
                        planted[PLANTED[reason]] += n
            found = {"duplicate": counts.duplicates, **counts.quarantined}
            words = ", ".join(f"{code} {n}" for code, n in found.items() if n) or "nothing"
            self.check(+Counter(found) == planted, f"{source}: {words} set aside, exactly what was planted")

    def blocked(self, workspace: Workspace) -> str:
        """Return the id of the highest score."""
        import polars as pl

        rows = workspace.wiring.lake.read(
            PREDICTIONS, ["prediction_id", "score"], where=pl.col("model") == "fraud"
        )
        return str(rows.sort("score", "prediction_id", descending=True)["prediction_id"][0])


def _first_day(folder: Path) -> int:
    """Return the instant at which the simulator's first day begins."""
    sys.modules.pop("simulator", None)
    with importable(folder.resolve()):
        import simulator

        return parse_instant(f"{simulator.FIRST_DAY}", assume_utc=True)


def main() -> None:
    """Run the demo in ``build/demo`` and exit with its verdict."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.cli.demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave everything running at the end, and print the addresses"
    )
    options = parser.parse_args()
    try:
        held = Demo(Path("build/demo"), keep=options.keep).walk()
    except HoldfastError as error:
        print(f"\n{error}", file=sys.stderr)
        held = False
    except (KeyboardInterrupt, typer.Abort):
        print("\ninterrupted; the project as far as it came is in build/demo", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
