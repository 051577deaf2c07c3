"""Reading online state: the measures of one request from the blobs of its entities.

Compiled once for the views of a model; a request then costs its keys, one look-up for each view and one call
of a kernel, whose arithmetic and lowering are those of the offline ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.events.ports import Blob
from holdfast.features import online_kernels as kernels
from holdfast.features.keys import NO_KEY, TOO_LONG, encoder_of, head_of
from holdfast.features.ports import OnlineSnapshot
from holdfast.features.tile import StatePlan
from holdfast.features.view import View
from holdfast.kernel.errors import ContractError

Floats = NDArray[np.float64]
Flags = NDArray[np.uint8]


class Reading(NamedTuple):
    """Measures of one request.

    Attributes
    ----------
    values : (k,) in the order of `OnlineRow.names`; missing is NaN
    inexact : 0 if every value is exact, else all flags together
    flags
        (k,) of each value, 0 where it is exact: 1 later events could not be told from earlier ones, or an
        exact window is longer than what is kept; 2 the window begins before what is kept; 4 it holds 2^31
        events or more; 8 the entity's key is longer than state holds.
    """

    values: Floats
    inexact: int
    flags: Flags


class OnlineRow:
    """Reads the measures of views for one request; compiled once, for use by any number of threads.

    Parameters
    ----------
    plan : of the state that is read
    views : whose measures are wanted, in this order

    Attributes
    ----------
    names : of the measures: those of the first view, then those of the next
    columns : the columns of a request that name its entities

    Raises
    ------
    NotFoundError
        If the state does not hold one of the views.
    """

    def __init__(self, plan: StatePlan, views: Sequence[View]) -> None:
        layouts = [plan.layout(view) for view in views]
        keys = list(dict.fromkeys(view.entity.key for view in views))
        self.names = tuple(measure.name for view in views for measure in view.measures)
        self.columns = tuple(dict.fromkeys(name for key in keys for name in key))
        encoders = {
            key: encoder_of(key, plan.schemas[next(v for v in views if v.entity.key == key).source])
            for key in keys
        }
        self._encoders = tuple(encoders.values())
        self._heads = tuple(
            (head_of(layout.ordinal), keys.index(layout.view.entity.key)) for layout in layouts
        )
        self._absent = tuple(layout.empty_blob for layout in layouts)
        program, at = [len(layouts)], 0
        self._spans: list[tuple[int, int]] = []
        for layout in layouts:
            program += layout.reader(at)
            self._spans.append((at, at + len(layout.view.measures)))
            at += len(layout.view.measures)
        self._program = np.array(program, np.int64)
        self._empties = np.array([value for layout in layouts for value in layout.empties], np.float64)
        self._no_flags = np.zeros(at, np.uint8)
        self._described = ", ".join(view.version for view in views)

    def keys(self, row: Mapping[str, Any]) -> list[bytes]:
        """Return the key of each view's blob.

        Parameters
        ----------
        row : stored values by name, with at least `columns`; a missing one is None
        """
        bodies = [encode(row) for encode in self._encoders]
        if NO_KEY in bodies or TOO_LONG in bodies:
            rare = (NO_KEY, TOO_LONG)
            return [bodies[n] if bodies[n] in rare else head + bodies[n] for head, n in self._heads]
        return [head + bodies[n] for head, n in self._heads]

    def measure(self, blobs: Sequence[Blob], t: int) -> Reading:
        """Return the measures at an instant from the blob of each view, an empty one where there is none.

        Raises
        ------
        ContractError
            If a blob is not one of this plan (HF404).
        """
        values = self._empties.copy()
        flags = self._no_flags.copy()
        joined = np.frombuffer(b"".join([blob or none for blob, none in zip(blobs, self._absent)]), np.int64)  # noqa: B905
        inexact = kernels.read_blobs(self._program, joined, t, values, flags)
        if inexact < 0:
            raise not_of_plan(self._described)
        return Reading(values, inexact, flags)

    def read(self, snapshot: OnlineSnapshot, row: Mapping[str, Any], t: int) -> Reading:
        """Return the measures of a request at an instant, as one snapshot of the state has them.

        Parameters
        ----------
        row : stored values by name, with at least `columns`; a missing one is None
        t : microseconds UTC; events at or after it are not seen
        """
        keys = self.keys(row)
        found = self.measure(snapshot.get(keys), t)
        return self._without(keys, found) if TOO_LONG in keys else found

    def _without(self, keys: Sequence[bytes], found: Reading) -> Reading:
        """Return a reading in which the measures of entities with too long a key are missing, and marked."""
        for key, (first, last) in zip(keys, self._spans, strict=True):
            if key == TOO_LONG:
                found.values[first:last] = np.nan
                found.flags[first:last] = kernels.KEYLESS
        return Reading(found.values, found.inexact | kernels.KEYLESS, found.flags)


def read_measures(plan: StatePlan, blobs: Sequence[Blob], t: int) -> Reading:
    """Return all measures of all views of a plan at an instant, from the blob of each view of one request."""
    return OnlineRow(plan, plan.views).measure(blobs, t)


def not_of_plan(what: str) -> ContractError:
    """Return the error of a blob that is of another plan, or damaged."""
    return ContractError(
        f"a state blob of `{what}` is not what this plan reads.",
        code="HF404",
        at=what,
        hint="holdfast materialize builds the state anew",
    )
