"""Splits by time: train, validation and test, with a gap so that labels are mature before the test begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray

from holdfast.kernel.errors import ContractError
from holdfast.kernel.time import DAY, HOUR, MINUTE, SECOND, format_duration, format_instant

Part = Literal["train", "validation", "gap", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "gap", "test")

TEST_PERCENT = 20
"""Share of the span that is the test part, where no length is declared."""
VALIDATION_PERCENT = 10
"""Share of the span that is the validation part, where no length is declared."""


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Lengths, in microseconds, counted back from the end of the mature rows.

    Attributes
    ----------
    test, validation
        Length of each part; none means 20 % and 10 % of the span. A validation part of length 0 is none.
    gap : between validation and test, purged; none means the label's horizon
    train : length of the training part; rows before it are left out. None means all of them.
    every : the parts begin and end at multiples of it on the UTC epoch, so that a part can be whole days
    """

    test: int | None = None
    validation: int | None = None
    gap: int | None = None
    train: int | None = None
    every: int | None = None


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Half-open parts of a split in microseconds: ``[start, train_end)``, ``[train_end, validation_end)``...

    The gap follows, from `validation_end` to `test_start`, and the test part ends at `end`.
    """

    start: int
    train_end: int
    validation_end: int
    test_start: int
    end: int

    def part_of(self, t: int) -> Part:
        """Return the part of an instant inside ``[start, end)``."""
        if t < self.train_end:
            return "train"
        if t < self.validation_end:
            return "validation"
        return "gap" if t < self.test_start else "test"

    def parts(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return, for each instant inside ``[start, end)``, the position of its part in `PARTS`."""
        edges = np.array([self.train_end, self.validation_end, self.test_start], dtype=np.int64)
        return np.searchsorted(edges, t, side="right").astype(np.int64)

    def interval(self, part: Part) -> tuple[int, int]:
        """Return the half-open interval of a part."""
        match part:
            case "train":
                return self.start, self.train_end
            case "validation":
                return self.train_end, self.validation_end
            case "gap":
                return self.validation_end, self.test_start
            case "test":
                return self.test_start, self.end
        assert_never(part)


def resolve(split: TimeSplit, t: NDArray[np.int64], horizon: int) -> Boundaries:
    """Return where the parts lie for rows at these prediction times.

    With the default gap no label of the training or validation part is fixed after the test begins. Edges
    that `every` moves are moved so that this stays true: the end up to the next multiple, the others down.

    Parameters
    ----------
    t : (n,) prediction times of the labelled rows, in any order
    horizon : microseconds until a label is fixed

    Raises
    ------
    ContractError
        If the rows span too little time (HF212), or leave train, validation or test without a row.
    """
    if t.size == 0:
        raise ContractError("there are no labelled rows to split.", code="HF212", at="split")
    edges = _edges(split, t, horizon)
    start, end, gap, found = edges.start, edges.found.end, edges.gap, edges.found
    span = end - start
    if not edges.has_room:
        needed = _needed(split, gap)
        raise ContractError(
            f"the labelled rows span {_about(span - 1)}, from {format_instant(start)} to "
            f"{format_instant(end - 1)}; the split needs more than {_about(needed)}.",
            code="HF212",
            at="split",
            has=(
                f"test {_about(edges.test)}",
                f"gap {_about(gap)}{' (the horizon)' if split.gap is None else ''}",
                f"validation {_about(edges.validation)}",
                *(() if split.train is None else (f"train {_about(split.train)}",)),
            ),
            hint=_shorter(span, gap, needed, declared_gap=split.gap is not None),
        )
    part = edges.empty_part(t)
    if part is not None:
        low, high = found.interval(part)
        counts = edges.counts(t)
        raise ContractError(
            f"the {part} part, {format_instant(low)} to {format_instant(high)}, has no labelled rows.",
            code="HF212",
            at=f"split.{part}",
            has=tuple(f"{name} {int(counts[i])} rows" for i, name in enumerate(PARTS)),
            hint=_wider(split, t, horizon, found, part),
        )
    return found


class _Edges(NamedTuple):
    """Where a split of some rows has its edges, whether or not that suffices.

    Attributes
    ----------
    start : the first row
    test, validation, gap : lengths, in microseconds
    has_room : whether training has any time
    """

    found: Boundaries
    start: int
    test: int
    validation: int
    gap: int
    has_room: bool

    def counts(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many rows each part has."""
        return np.bincount(self.found.parts(t[t >= self.found.start]), minlength=len(PARTS))

    def empty_part(self, t: NDArray[np.int64]) -> Part | None:
        """Return the first part that needs rows and has none."""
        for part, rows in zip(PARTS, self.counts(t), strict=True):
            if not rows and part != "gap" and not (part == "validation" and not self.validation):
                return part
        return None


def _edges(split: TimeSplit, t: NDArray[np.int64], horizon: int) -> _Edges:
    start, end = int(t.min()), int(t.max()) + 1
    if split.every is not None:
        end = -(-end // split.every) * split.every
    span = end - start
    test = span * TEST_PERCENT // 100 if split.test is None else split.test
    validation = span * VALIDATION_PERCENT // 100 if split.validation is None else split.validation
    gap = horizon if split.gap is None else split.gap
    test_start = _down(end - test, split.every)
    validation_end = _down(test_start - gap, split.every)
    train_end = _down(validation_end - validation, split.every)
    train_start = start if split.train is None else _down(train_end - split.train, split.every)
    has_room = start < train_end and train_start >= start - (split.every or 0)
    found = Boundaries(train_start, train_end, validation_end, test_start, end)
    return _Edges(found, start, test, validation, gap, has_room)


def _down(instant: int, every: int | None) -> int:
    """Return the latest multiple of `every` at or before the instant."""
    return instant if every is None else instant // every * every


def _needed(split: TimeSplit, gap: int) -> int:
    """Return the span that leaves nothing for training; anything longer leaves something."""
    fixed, percent = gap + (split.train or 0), 0
    for length, share in ((split.test, TEST_PERCENT), (split.validation, VALIDATION_PERCENT)):
        if length is None:
            percent += share
        else:
            fixed += length
    return -(-fixed * 100 // (100 - percent))


def _shorter(span: int, gap: int, needed: int, *, declared_gap: bool) -> str:
    """Say what would fit, from the facts."""
    more = f"load at least {_about(needed - span + 1)} more history"
    rest = span - gap
    if rest > 10 * SECOND:
        test, validation = (_round(rest * share // 100) for share in (TEST_PERCENT, VALIDATION_PERCENT))
        return f"{more}, or declare test={_text(test)} and validation={_text(validation)}"
    what = "gap" if declared_gap else "label's horizon"
    return f"{more}, or shorten the {what} of {_about(gap)}"


def fits(split: TimeSplit, t: NDArray[np.int64], horizon: int) -> bool:
    """Whether rows at these prediction times can be split so."""
    if t.size == 0:
        return False
    edges = _edges(split, t, horizon)
    return edges.has_room and edges.empty_part(t) is None


def _wider(split: TimeSplit, t: NDArray[np.int64], horizon: int, found: Boundaries, part: Part) -> str:
    """Say up to when the rows can be split, else how long the empty part would have to be to reach a row."""
    low, high = found.interval(part)
    before = t[t < low]
    if part == "train" or before.size == 0:
        return "load more history"
    nearest = int(before.max())
    after = t[t >= low]
    if after.size < before.size and fits(split, before, horizon):
        return (
            f"{after.size} of {t.size} rows come after {_about(int(after.min()) - nearest)} without any; "
            f"leave them out: --as-of {format_instant(nearest + horizon)}"
        )
    length = _text(_wide(high - nearest))
    return f"the nearest row before it is at {format_instant(nearest)}: declare {part}={length}"


def _round(us: int) -> int:
    """Round down to a unit a person would write."""
    return max(us // _unit(us) * _unit(us), 1)


def _wide(us: int) -> int:
    """Round up to a unit a person would write."""
    return -(-us // _unit(us)) * _unit(us)


def _unit(us: int) -> int:
    return next((unit for unit in (DAY, HOUR, MINUTE, SECOND) if us >= 2 * unit), 1)


def _about(us: int) -> str:
    """Return a duration to the second, for people; shorter ones exactly."""
    return format_duration(us if us < MINUTE else -(-us // SECOND) * SECOND)


def _text(us: int) -> str:
    return f'"{format_duration(us)}"'
