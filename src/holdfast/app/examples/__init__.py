"""Project templates: folders that ``holdfast init`` copies."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from holdfast.kernel.errors import ConflictError, UnavailableError, UsageError, did_you_mean

TEMPLATES = {
    "fraud": "card fraud: transactions in, block / review / allow out, with a simulator of its data",
    "bookings": "hotel cancellations: 119,390 real bookings, repeated rows and columns that leak included",
    "demand": "28 days of demand per shop and item, in batch, promotions known ahead; with a simulator",
    "blank": "one source, one view, one model: the smallest project that validates",
}

FIRST = {
    "fraud": ("python simulator.py --days 60 --out events",),
    "bookings": ("python prepare.py",),
    "demand": ("python simulator.py --days 730 --out events",),
}
"""Commands that make the events of a template."""

THEN = {
    "fraud": (
        "holdfast ingest transactions events/transactions",
        "holdfast ingest chargebacks events/chargebacks",
        "holdfast train fraud",
    ),
    "bookings": (
        "holdfast ingest bookings events/bookings.parquet",
        "holdfast ingest outcomes events/outcomes.parquet",
        "holdfast train cancellation",
    ),
    "demand": (
        "holdfast ingest sales events/sales.parquet",
        "holdfast ingest promotions events/promotions.parquet",
        "holdfast train demand",
    ),
}
"""Commands that bring them in and train, once the definition is applied."""

NOTICES = {
    "bookings": (
        "hotel_bookings.parquet: Antonio, Almeida, Nunes (2019), doi:10.1016/j.dib.2018.11.126, CC BY 4.0;",
        "  ATTRIBUTION.md says what was changed and must go where the data go",
    )
}
"""What must be said of data that others made."""


def create(template: str, folder: Path) -> list[str]:
    """Copy a template into a new folder and return what to say about it.

    Raises
    ------
    UsageError
        If there is no such template.
    ConflictError
        If the folder exists and holds anything.
    """
    if template not in TEMPLATES:
        raise UsageError(
            f"there is no template `{template}`.",
            has=tuple(TEMPLATES),
            hint=did_you_mean(template, TEMPLATES),
        )
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConflictError(
                f"{str(folder)!r} exists and is not an empty folder.",
                code="HF700",
                hint="choose a new folder",
            )
        folder.mkdir(parents=True, exist_ok=True)
        made = _copy(files(__package__).joinpath(template), folder)
    except OSError as error:
        raise UnavailableError(f"{str(folder)!r} cannot be made: {error.strerror or error}.") from error
    lines = [f"made {folder}: {', '.join(made)}", f"  {TEMPLATES[template]}", "", "next:", f"  cd {folder}"]
    lines[1:1] = [f"  {line}" for line in NOTICES.get(template, ())]
    lines += [f"  {command}" for command in FIRST.get(template, ())]
    lines += ["  holdfast validate", "  holdfast plan", "  holdfast apply"]
    return lines + [f"  {command}" for command in THEN.get(template, ())]


def _copy(root: Traversable, folder: Path) -> list[str]:
    """Write the files of a template into a folder and return their names."""
    made = []
    for item in sorted(root.iterdir(), key=lambda i: i.name):
        if item.is_file() and not item.name.endswith((".pyc", "__init__.py")):
            name = item.name.replace("dot-", ".", 1) if item.name.startswith("dot-") else item.name
            (folder / name).write_bytes(item.read_bytes())
            made.append(name)
    return made
