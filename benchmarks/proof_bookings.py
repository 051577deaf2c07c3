"""Proof: a real, dirty table through the whole loop, every row accounted for, its leaks told.

Run with `python -m benchmarks.proof_bookings`.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from rich.console import Console

from benchmarks.figures import report
from benchmarks.leaky_bookings import LEAKS, make_leaky
from benchmarks.real_data import account, counted, load, take_in
from holdfast.app.examples import create

KNOWN = "2017-03-01T00:00:00Z"
UNTIL = "2017-05-15"


def prove(folder: Path) -> None:
    """Take the bookings in, train, predict what came later, and measure; then do it with the leaks."""
    honest, leaky = folder / "bookings", folder / "leaky"
    create("bookings", honest)
    with patch.object(sys, "argv", ["prepare.py", "--out", str(honest / "events")]):
        load(honest / "prepare.py").main()
    shutil.copytree(honest, leaky)
    make_leaky(leaky)

    workspace, reports = take_in(honest, ("bookings", "outcomes"))
    account("hotel bookings", reports)
    told = workspace.train("cancellation", seed=7, by="ines", as_of=KNOWN)
    assert told.version is not None, told.message
    assert told.run.suspicions == (), told.run.suspicions
    workspace.approve("cancellation", 1, by="rui", reason="gates green")
    workspace.deploy("cancellation", 1, by="rui")
    predicted = workspace.predict("cancellation", since=KNOWN[:10], until=UNTIL)
    measured = workspace.performance("cancellation", since=KNOWN[:10], until=UNTIL)
    explained = workspace.why(predicted.highest_id or "")
    assert explained.is_equal

    leaking, _ = take_in(leaky, ("bookings", "outcomes"))
    wrong = leaking.train("cancellation", seed=7, by="ines", as_of=KNOWN)
    console = Console(width=110)
    console.print("what the leakage probe says of features that read columns corrected afterwards")
    for found in wrong.run.suspicions:
        console.print(f"  {found.feature}: {found.evidence}", soft_wrap=True, highlight=False)
    flagged = {found.feature for found in wrong.run.suspicions}
    for name in LEAKS:
        if name not in flagged:
            console.print(
                f"  {name}: not told; alone it has AUC {wrong.run.alone[name]:.3f}", highlight=False
            )
    console.print()
    assert flagged == {"reservation_status", "assigned_room_type", "required_car_parking_spaces"}
    report(
        "proof",
        [
            *counted("bookings", reports),
            ("bookings_auc", told.run.metrics["auc"].value or 0.0),
            ("bookings_average_precision", told.run.metrics["average_precision"].value or 0.0),
            ("bookings_base_rate", told.run.baseline["average_precision"] or 0.0),
            ("bookings_predicted", predicted.predicted, "rows"),
            ("bookings_measured_auc", measured.metrics["auc"].value or 0.0),
            ("bookings_measured_average_precision", measured.metrics["average_precision"].value or 0.0),
            ("bookings_leaky_auc", wrong.run.metrics["auc"].value or 0.0),
            ("bookings_leaks_told", len(flagged)),
            ("bookings_leaks_not_told", len(set(LEAKS) - flagged)),
            ("bookings_honest_features_accused", len(told.run.suspicions) + len(flagged - set(LEAKS))),
        ],
        title="bookings: trained as of March 2017, measured on what came later",
    )


def main() -> None:
    """Run the proof."""
    with tempfile.TemporaryDirectory() as folder:
        prove(Path(folder))


if __name__ == "__main__":
    main()
