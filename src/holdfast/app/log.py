"""The log of a process: lines on standard error, with the time once, whoever shows them."""

from __future__ import annotations

import logging
import os
import sys

SUPERVISED = "HOLDFAST_SUPERVISED"
"""Set by `holdfast up` for its children: it writes time and name before each of their lines itself."""


def configure_log(name: str, *, shown_by: str = "") -> None:
    """Log to standard error, one line an event.

    Parameters
    ----------
    shown_by : name that a supervisor puts before the lines; by default this process's own
    """
    own = "" if (shown_by or name) == name else f"{name} "
    supervised = bool(os.environ.get(SUPERVISED))
    head = own if supervised else f"%(asctime)s {name} "
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format=f"{head}%(levelname)s %(message)s", force=True
    )
    for noisy in ("alembic", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
