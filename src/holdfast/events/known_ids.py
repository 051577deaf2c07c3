"""Ids of events by day, as sorted 64-bit hashes: what says quickly that an id was not seen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


@dataclass(slots=True)
class KnownIds:
    """Hashes of ids, 8 bytes each, day by day.

    The hashes of a day lie in sorted runs, each more than twice as long as the next: so adding and finding
    take a logarithm, whatever the order in which days and ids come.

    Attributes
    ----------
    days : runs by day, the day least recently used first
    size : number of hashes
    forgotten : days that were known once and are not any more
    """

    days: OrderedDict[int, list[Hashes]] = field(default_factory=OrderedDict)
    size: int = 0
    forgotten: set[int] = field(default_factory=set)

    def add(self, day: int, hashes: Hashes) -> None:
        """Add hashes of a day, which counts as known from now on, if there are none too."""
        runs = self.days.setdefault(day, [])
        self.days.move_to_end(day)
        self.forgotten.discard(day)
        if not len(hashes):
            return
        run = np.sort(hashes)
        while runs and len(runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate((runs.pop(), run)), kind="stable")  # merges what is sorted
        runs.append(run)
        self.size += len(hashes)

    def holds(self, day: int, hashes: Hashes) -> NDArray[np.bool_]:
        """Return which of these hashes a known day has."""
        self.days.move_to_end(day)
        found = np.zeros(len(hashes), np.bool_)
        runs = self.days[day]
        inorder = np.sort(hashes) if runs else hashes
        for run in runs:
            at = np.searchsorted(run, inorder)
            at[at == len(run)] = 0
            held = run[at] == inorder
            if held.any():
                found |= np.isin(hashes, inorder[held])
        return found

    def unknown(self, days: Iterable[int]) -> list[int]:
        """Return the days that are not known, or not any more."""
        return [day for day in days if day not in self.days]

    def forget(self, limit: int) -> None:
        """Keep at most so many hashes, and the day used last."""
        while self.size > limit and len(self.days) > 1:
            day, runs = self.days.popitem(last=False)
            self.size -= sum(map(len, runs))
            self.forgotten.add(day)
