"""Real data that lie beside the project, the projects that take them in, and the account of their rows."""

import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.table import Table

from holdfast.app.workspace import Workspace
from holdfast.events.report import IngestReport

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = Path(__file__).resolve().parent / "real"


def find_data(name: str) -> Path | None:
    """Return the path of a Parquet file of the data folder, or None where it is absent."""
    folder = Path(os.environ.get("HOLDFAST_TEST_DATA", ROOT.parent / "shared" / "data"))
    path = folder / f"{name}.parquet"
    return path if path.is_file() else None


def need_data(*names: str) -> list[Path]:
    """Return the paths of files that a proof needs; end with the reason if one is absent."""
    paths = [find_data(name) for name in names]
    if absent := [name for name, path in zip(names, paths, strict=True) if path is None]:
        raise SystemExit(
            f"not proved: {', '.join(absent)} is absent; put it into ../shared/data or set HOLDFAST_TEST_DATA"
        )
    return [path for path in paths if path is not None]


def copy_project(name: str, folder: Path) -> Path:
    """Copy the project of a data set into a folder and return where it lies."""
    return Path(shutil.copytree(PROJECTS / name, folder / name))


def load(path: Path) -> ModuleType:
    """Import a script of a project by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def take_in(folder: Path, sources: Iterable[str]) -> tuple[Workspace, dict[str, IngestReport]]:
    """Apply a project and ingest ``events/<source>.parquet`` into each source."""
    workspace = Workspace(folder)
    workspace.apply(by="proof")
    return workspace, {name: workspace.ingest(name, folder / f"events/{name}.parquet") for name in sources}


def account(title: str, reports: dict[str, IngestReport]) -> None:
    """Print rows in = stored + duplicates + quarantined by reason, checked source by source."""
    reasons = sorted({code for report in reports.values() for code in report.now.quarantined})
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for head in ("source", "rows in", "stored", "duplicates", *reasons, "adds up"):
        table.add_column(head, justify="left" if head == "source" else "right")
    for name, report in reports.items():
        now = report.now
        assert report.adds_up
        assert report.rows == now.stored + now.duplicates + sum(now.quarantined.values())
        cells = (report.rows, now.stored, now.duplicates, *(now.quarantined.get(code, 0) for code in reasons))
        table.add_row(name, *(f"{cell:,}" for cell in cells), "yes")
    Console(width=110).print(table, "")


def counted(prefix: str, reports: dict[str, IngestReport]) -> list[tuple[str, float, str]]:
    """Return the account as figures."""
    rows = []
    for name, report in reports.items():
        now = report.now
        rows.append((f"{prefix}_{name}_rows", report.rows, "rows"))
        rows.append((f"{prefix}_{name}_stored", now.stored, "rows"))
        rows.append((f"{prefix}_{name}_duplicates", now.duplicates, "rows"))
        rows += [(f"{prefix}_{name}_{code}", n, "rows") for code, n in now.quarantined.items()]
    return rows
