"""How many connections a process takes; known to its parent too, which loads nothing that answers."""

from __future__ import annotations

from typing import Final

MOST_CONNECTIONS: Final = 1_000
"""Open connections of one process; a request on a further one is answered with 503."""
ROOM_TO_REFUSE: Final = 100
"""Connections beyond the greatest number that are still told why; others are closed at once."""
