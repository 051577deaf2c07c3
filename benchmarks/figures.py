"""Figures of one benchmark or proof: a table, and one flat JSON object of named numbers per target.

Every number that the documentation states comes from such a file. A script ends with one call::

    report("bench", [("window_events_per_s", 11.8e6, "events/s"), ("window_p99_us", 7.8, "us")])
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).resolve().parent.parent / "build" / "figures"


class Figure(NamedTuple):
    """One named number; the unit is for the table, so the name says it too: `..._per_s`, `..._us`."""

    name: str
    value: float
    unit: str = ""


def report(
    target: str,
    rows: Iterable[Figure | tuple[str, float] | tuple[str, float, str]],
    *,
    title: str | None = None,
    folder: Path = FOLDER,
) -> Path:
    """Print the figures as a table and merge them into `<folder>/<target>.json`, whose path is returned.

    Parameters
    ----------
    target
        The make target that runs the script: `bench` or `proof`.
    rows
        (name, value, unit); a later figure of the same name replaces the earlier one.
    title
        Heading of the table.
    folder
        Where the file lies; made if it is missing.

    Raises
    ------
    ValueError
        If a value is NaN or infinite, or a name is given twice.
    """
    figures = [Figure(*row) for row in rows]
    path = record(target, figures, folder=folder)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for figure in figures:
        table.add_row(figure.name, shown(figure.value), figure.unit)
    Console(width=100).print(table, "")
    return path


def record(
    target: str, rows: Iterable[Figure | tuple[str, float] | tuple[str, float, str]], *, folder: Path = FOLDER
) -> Path:
    """Merge the figures into `<folder>/<target>.json`, as `report` does, without a table."""
    figures = [Figure(*row) for row in rows]
    _check(figures)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known |= {figure.name: figure.value for figure in figures}
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    return path


def _check(figures: list[Figure]) -> None:
    names = [figure.name for figure in figures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"figures named twice: {', '.join(twice)}")
    for figure in figures:
        if not math.isfinite(figure.value):
            raise ValueError(f"`{figure.name}` must be finite, found {figure.value!r}")


def shown(value: float) -> str:
    """Return a value as tables show it."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def peak_memory() -> int:
    """Return the greatest number of bytes that this process has held; what its parent held does not count."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
