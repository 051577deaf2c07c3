"""Proof: a year of a shop's lines, dirt and all; every row accounted for, and cancellations tied to sales.

Run with `python -m benchmarks.proof_retail`.
"""

import tempfile
from pathlib import Path

import polars as pl

from benchmarks.figures import report
from benchmarks.real_data import account, copy_project, counted, load, need_data, take_in

SOURCES = ("sales", "cancellations")


def prove(folder: Path, path: Path) -> None:
    """Take all lines in, count, and take them in again."""
    home = copy_project("retail", folder)
    script = load(home / "prepare.py")
    lines = pl.read_parquet(path)
    script.prepare(lines, home / "events")
    workspace, reports = take_in(home, SOURCES)
    account("online retail", reports)

    assert sum(each.rows for each in reports.values()) == lines.height
    copies = lines.height - lines.n_unique()
    refused_copies = {}
    for name, done in reports.items():
        given = pl.read_parquet(home / f"events/{name}.parquet")
        stored = workspace.wiring.lake.read(name)
        assert stored.height == done.now.stored == stored["line_id"].n_unique()
        assert given.n_unique() - done.now.stored >= 0
        refused_copies[name] = given.height - given.n_unique() - done.now.duplicates
    assert sum(each.now.duplicates for each in reports.values()) + sum(refused_copies.values()) == copies
    again = {name: workspace.ingest(name, home / f"events/{name}.parquet") for name in SOURCES}
    assert all(each.now.rows == 0 for each in again.values())

    # Of those stored, so that no cancellation is tied twice.
    ties = script.tie(*(workspace.wiring.lake.read(name) for name in SOURCES))
    assert sum(ties.values()) == reports["cancellations"].now.stored
    report(
        "proof",
        [
            *counted("retail", reports),
            ("retail_equal_rows_quarantined", sum(refused_copies.values()), "rows"),
            *((f"retail_cancels_{kind.replace(', ', '_').replace(' ', '_')}", n, "rows")
              for kind, n in sorted(ties.items())),
        ],
        title="online retail: what cancellations cancel",
    )  # fmt: skip


def main() -> None:
    """Run the proof."""
    (path,) = need_data("online_retail_i")
    with tempfile.TemporaryDirectory() as folder:
        prove(Path(folder), path)


if __name__ == "__main__":
    main()
