"""Decision policies: from a score to a recommendation, versioned with the model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Bands:
    """Recommendations and their lowest scores, highest first: ``(("block", 0.9), ("allow", 0.0))``."""

    bands: tuple[tuple[str, float], ...]

    def decide(self, score: float) -> str:
        """Return the recommendation of the highest band whose floor the score reaches.

        A score below every floor, or a missing one, gets the lowest band.
        """
        for name, floor in self.bands:
            if score >= floor:
                return name
        return self.bands[-1][0]

    def in_order(self, names: Collection[str]) -> list[str]:
        """Return recommendations in the order of the bands; those of other bands stand behind, by name."""
        own = [name for name, _ in self.bands]
        return [*(name for name in own if name in names), *sorted(set(names) - set(own))]

    def acts(self, scores: NDArray[np.float64], act_on: Collection[str] | None = None) -> NDArray[np.bool_]:
        """Return (n,) whether each score's recommendation counts as acting.

        Parameters
        ----------
        act_on : recommendations that do; none means every band but the lowest
        """
        lowest = len(self.bands) - 1
        acting = [
            name in act_on if act_on is not None else at < lowest for at, (name, _) in enumerate(self.bands)
        ]
        band = np.full(len(scores), lowest)
        for at in range(lowest - 1, -1, -1):
            band[scores >= self.bands[at][1]] = at
        acted: NDArray[np.bool_] = np.array(acting, dtype=np.bool_)[band]
        return acted
