"""The bookings example with the mistake that its data invite: columns that were corrected afterwards."""

from pathlib import Path

import polars as pl

LEAKS = ("reservation_status", "country", "assigned_room_type", "required_car_parking_spaces")


def make_leaky(folder: Path, *, marked: bool) -> None:
    """Let the example in a folder read every column that leaks; its events are there already.

    Parameters
    ----------
    marked
        Whether columns keep their mark ``known_later``, so that `validate` refuses what reads them; without
        it the definition is that of somebody who does not know his data. The outcome, copied into the
        bookings, has no mark either way.
    """
    path = folder / "project.py"
    text = path.read_text(encoding="utf-8")
    changes = {
        "    total_of_special": "    reservation_status: str\n    total_of_special",
        '        "meal": x.meal,': "".join(f'        "{name}": x.{name},\n' for name in LEAKS)
        + '        "meal": x.meal,',
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    if not marked:
        assert ", known_later=True" in text
        text = text.replace(", known_later=True", "")
    path.write_text(text, encoding="utf-8")
    events = folder / "events"
    status = pl.read_parquet(events / "outcomes.parquet").select("booking_id", reservation_status="status")
    bookings = pl.read_parquet(events / "bookings.parquet")
    bookings.join(status.unique("booking_id"), on="booking_id", maintain_order="left").write_parquet(
        events / "bookings.parquet"
    )
