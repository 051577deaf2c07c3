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
from holdfast.app.workspace import Workspace

KNOWN = "2017-03-01T00:00:00Z"
UNTIL = "2017-05-15"


def prove(folder: Path) -> None:
    """Take the bookings in, train, predict what came later, and measure; then do it with the leaks."""
    honest, leaky, declared = folder / "bookings", folder / "leaky", folder / "declared"
    create("bookings", honest)
    with patch.object(sys, "argv", ["prepare.py", "--out", str(honest / "events")]):
        load(honest / "prepare.py").main()
    shutil.copytree(honest, leaky)
    shutil.copytree(honest, declared)
    make_leaky(leaky, marked=False)
    make_leaky(declared, marked=True)

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
    refused = {p.at.rpartition(".")[2] for p in Workspace(declared).validate() if p.severity == "error"}
    console = Console(width=110)
    console.print("what validate refuses where the columns are marked known_later")
    console.print(f"  {', '.join(sorted(refused))}", highlight=False)
    console.print("what the leakage probe says of the same columns without a mark")
    for found in wrong.run.suspicions:
        console.print(f"  {found.feature}: {found.evidence}", soft_wrap=True, highlight=False)
    flagged = {found.feature for found in wrong.run.suspicions}
    for name in LEAKS:
        if name not in flagged:
            console.print(
                f"  {name}: not told; alone it has AUC {wrong.run.alone[name]:.3f}", highlight=False
            )
    console.print()
    assert refused == {"country", "assigned_room_type", "required_car_parking_spaces"}
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
            ("bookings_leaks_refused_by_validate", len(refused)),
            ("bookings_leaks_told_by_probe", len(flagged)),
            ("bookings_leaks_neither_refused_nor_told", len(set(LEAKS) - flagged - refused)),
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
