"""Windows: half-open intervals of event time before a prediction, with their hop and bounds."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.kernel.time import DAY, HOUR, MINUTE, floor_to

ALWAYS = 2**61
"""Longer than all of time: the length and the hop of a window over the whole past, in two tiles at most."""


def default_hop(over: int) -> int:
    """Return the hop of a window of that length: 5 min below 12 h, 1 h below 12 d, else 1 d."""
    if over < 12 * HOUR:
        return 5 * MINUTE
    return HOUR if over < 12 * DAY else DAY


@dataclass(frozen=True, slots=True)
class Window:
    """``[floor(t - offset - over, hop), t or floor(t - offset, hop))``, all in microseconds.

    Attributes
    ----------
    over : length, > 0
    offset
        How far before the prediction the window ends; 0 ends exactly at `t`, and -1 has `t` itself inside, as
        what is known ahead may begin then.
    hop : floor of the edges on the UTC epoch, of the end only with an offset above 0; 0 is exact
    """

    over: int
    offset: int = 0
    hop: int = 0

    def bounds(self, t: int) -> tuple[int, int]:
        """Return ``(lo, hi)``: an event is inside when ``lo <= event_time < hi``."""
        low = floor_to(t - self.offset - self.over, self.hop)
        return low, t - self.offset if self.offset <= 0 else floor_to(t - self.offset, self.hop)
