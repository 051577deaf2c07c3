"""The online state of views, as data: what is kept, at which levels of tiles, in which words of a blob.

A view's state of one entity is a blob: its most recent events as they are (the ring), and for every hop the
sums of the older ones by tile (the levels). This module says what stands where; the kernels that read and
write blobs are told by arrays of integers made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from holdfast.features.aggregate import AGGREGATES, AggregateName
from holdfast.features.keys import MAX_VIEWS
from holdfast.features.online_kernels import HEADER, LEVEL_HEADER
from holdfast.features.view import Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import DefinitionError, NotFoundError
from holdfast.kernel.expr import Expr
from holdfast.kernel.ids import digest, fingerprint
from holdfast.kernel.schema import Schema
from holdfast.kernel.time import SECOND

Ints = NDArray[np.int64]

VERSION = 1
"""Format of a blob; another one is another state, built anew."""

RING = 64
"""Events of an entity that are always kept as they are."""
RING_CAP = 1024
"""Most events that are kept as they are because an exact window may need them."""
SLACK = 10 * SECOND
"""How much older than the newest event a request may be and still find all later events as they are."""

_BITS = 60  # of a mask word
_AGGREGATES = ("count", "sum", "mean", "std", "min", "max")
_NOWHERE = (-1,) * 6
_SLOTS = 17  # of an entry of a window, behind what the lane is, its fields in a tile, and those it needs


@dataclass(frozen=True, slots=True)
class Lane:
    """What is aggregated: the values of a column, or all events (None), where a filter is true.

    Attributes
    ----------
    bit : which bit of an event's masks says that it takes part; -1 if every event does
    value : which of an event's values, or -1 if they are only counted
    scale : decimal places of the values
    is_float : whether values are bits of floats, ordered as the floats are
    """

    column: str | None
    where: Expr | None
    bit: int
    value: int
    scale: int = 0
    is_float: bool = False

    def takes(self, measure: Measure) -> bool:
        """Whether the measure aggregates this."""
        return (self.column, self.where) == (measure.column, measure.where)

    @property
    def mask_word(self) -> int:
        """Word of an event that holds the bit, or -1."""
        return -1 if self.bit < 0 else 1 + self.bit // _BITS

    @property
    def mask_shift(self) -> int:
        """Place of the bit in its word."""
        return max(self.bit, 0) % _BITS


@dataclass(frozen=True, slots=True)
class TileLane:
    """Which words of a tile hold n, S, Q high, Q low, least and most of a lane; -1 where not kept."""

    lane: int
    fields: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """Tiles of one hop.

    Attributes
    ----------
    keep : greatest offset + over of its windows, so how far back from the newest event tiles are kept
    width : words of a tile; the first is its index, the floor of event time / hop
    """

    hop: int
    keep: int
    width: int
    lanes: tuple[TileLane, ...]


@dataclass(frozen=True, eq=False)
class ViewLayout:
    """Where everything stands in the blobs of one view.

    Attributes
    ----------
    ordinal : first byte of its keys
    columns : the columns whose values an event of the ring holds, in order
    mask_words : how many words of an event hold mask bits
    raw : how far back from the newest event events are kept as they are, up to `most` of them
    """

    view: View
    ordinal: int
    lanes: tuple[Lane, ...]
    columns: tuple[str, ...]
    mask_words: int
    levels: tuple[Level, ...]
    raw: int
    ring: int
    most: int

    @property
    def record_width(self) -> int:
        """Words of one event of the ring: its time, its masks, its values."""
        return 1 + self.mask_words + len(self.columns)

    @cached_property
    def format_word(self) -> int:
        """First word of every blob: the version in its lowest byte, 31 bits that tell layouts apart above."""
        parts = (self.view.fingerprint.encode(), self._writer(0).tobytes())
        return int(digest(parts)[:8], 16) >> 1 << 32 | VERSION

    @cached_property
    def writer(self) -> Ints:
        """What `apply_groups` is told."""
        return self._writer(self.format_word)

    def _writer(self, format_word: int) -> Ints:
        words = [format_word, self.record_width, self.ring, self.most, self.raw, len(self.levels)]
        for level in self.levels:
            words += [level.hop, level.keep, level.width, len(level.lanes)]
            for kept in level.lanes:
                lane = self.lanes[kept.lane]
                words += [lane.mask_word, lane.mask_shift, self._value_word(lane), *kept.fields]
        return _sealed(words)

    def reader(self, first_register: int) -> list[int]:
        """Return what `read_blobs` is told about this view, whose measures begin at a register."""
        hops = [level.hop for level in self.levels]
        words = [self.format_word, self.record_width, len(self.levels)]
        for level in self.levels:
            words += [level.hop, level.width]
        windows: dict[Window, list[list[int]]] = {}
        for register, measure in enumerate(self.view.measures, first_register):
            entries = windows.setdefault(measure.window, [])
            self._enter(entries, measure, hops, register)
        words.append(len(windows))
        for window, entries in windows.items():
            level_at = hops.index(window.hop) if window.hop else -1
            words += [window.over, window.offset, window.hop, level_at, len(entries)]
            for entry in entries:
                words += entry
        return words

    def _enter(self, entries: list[list[int]], measure: Measure, hops: list[int], register: int) -> None:
        """Let an entry of the window write the measure, or a new one if the place is taken."""
        number = next(n for n, lane in enumerate(self.lanes) if lane.takes(measure))
        lane = self.lanes[number]
        fields: tuple[int, ...] = _NOWHERE
        if measure.window.hop:
            level = self.levels[hops.index(measure.window.hop)]
            fields = next(kept.fields for kept in level.lanes if kept.lane == number)
        head = [
            lane.mask_word, lane.mask_shift, self._value_word(lane), lane.scale, int(lane.is_float), *fields,
        ]  # fmt: skip
        needs = (n if wanted else -1 for n, wanted in enumerate(_needs({measure.aggregate})))
        slot = _AGGREGATES.index(measure.aggregate)
        entry = next((e for e in entries if e[: len(head)] == head and e[_SLOTS + slot] < 0), None)
        if entry is None:
            entry = [*head, *_NOWHERE, *_NOWHERE]
            entries.append(entry)
        for place, need in enumerate(needs, len(head)):
            entry[place] = max(entry[place], need)
        entry[_SLOTS + slot] = register

    def _value_word(self, lane: Lane) -> int:
        return -1 if lane.value < 0 else 1 + self.mask_words + lane.value

    @cached_property
    def empty_blob(self) -> bytes:
        """The blob of an entity without events; never stored."""
        lowest = -(2**63)
        words = [self.format_word, lowest, lowest, 0, *[lowest, 0] * len(self.levels)]
        assert len(words) == HEADER + LEVEL_HEADER * len(self.levels)
        return np.array(words, np.int64).tobytes()

    @property
    def empties(self) -> list[float]:
        """Value of each measure over an empty window; NaN where it is missing."""
        found = (AGGREGATES[measure.aggregate].empty for measure in self.view.measures)
        return [float("nan") if value is None else value for value in found]


@dataclass(frozen=True)
class StatePlan:
    """All views whose state is kept together, as data; `holdfast.features.online.compile_state` makes it.

    Attributes
    ----------
    views : in the order of their fingerprints; the first has ordinal 1
    schemas : of the views' sources
    ring, most, slack : see `RING`, `RING_CAP` and `SLACK`
    """

    views: tuple[View, ...]
    schemas: dict[str, Schema]
    ring: int = RING
    most: int = RING_CAP
    slack: int = SLACK

    @cached_property
    def fingerprint(self) -> str:
        """Content hash: states of equal fingerprints hold the same bytes after the same events."""
        parts = ([view.fingerprint for view in self.views], self.schemas, self.ring, self.most, self.slack)
        return fingerprint((VERSION, *parts))

    @cached_property
    def layouts(self) -> tuple[ViewLayout, ...]:
        """Layout of each view, in order."""
        return tuple(
            layout_of(
                view, self.schemas[view.source], ordinal, ring=self.ring, most=self.most, slack=self.slack
            )
            for ordinal, view in enumerate(self.views, 1)
        )

    def layout(self, view: View) -> ViewLayout:
        """Return the layout of a view.

        Raises
        ------
        NotFoundError
            If the state does not hold the view.
        """
        found = next((layout for layout in self.layouts if layout.view == view), None)
        if found is None:
            raise NotFoundError(
                f"online state holds no view `{view.version}`.",
                at=view.name,
                has=[each.version for each in self.views],
                hint="holdfast materialize builds state for the views of all live models",
            )
        return found


def plan_of(
    views: Mapping[str, View], schemas: Mapping[str, Schema], *, ring: int, most: int, slack: int
) -> StatePlan:
    """Return the plan of views by fingerprint.

    Raises
    ------
    DefinitionError
        If there are more than 255 views.
    """
    if len(views) > MAX_VIEWS:
        raise DefinitionError(
            f"online state holds at most {MAX_VIEWS} views; found {len(views)}.",
            hint="archive models that no longer serve",
        )
    ordered = tuple(views[name] for name in sorted(views))
    used = {name: schemas[name] for name in sorted({view.source for view in ordered})}
    return StatePlan(ordered, used, ring, max(ring, most), slack)


def layout_of(view: View, schema: Schema, ordinal: int, *, ring: int, most: int, slack: int) -> ViewLayout:
    """Return where everything stands in the blobs of a view."""
    columns = tuple(dict.fromkeys(m.column for m in view.measures if m.column and m.aggregate != "count"))
    lanes: list[Lane] = []
    masked = 0
    for name, where in dict.fromkeys((m.column, m.where) for m in view.measures):
        column = None if name is None else schema.get(name)
        every = column is None and where is None
        lanes.append(
            Lane(
                name,
                where,
                bit=-1 if every else masked,
                value=columns.index(name) if name in columns else -1,
                scale=column.scale or 0 if column is not None and column.is_fixed_point else 0,
                is_float=column is not None and column.type == "float" and column.scale is None,
            )
        )
        masked += not every
    exact = [m.window.offset + m.window.over for m in view.measures if not m.window.hop]
    levels = tuple(
        _level(hop, view, lanes) for hop in sorted({m.window.hop for m in view.measures if m.window.hop})
    )
    return ViewLayout(
        view,
        ordinal,
        tuple(lanes),
        columns,
        mask_words=-(-masked // _BITS),
        levels=levels,
        raw=max(exact, default=0) + slack,
        ring=ring,
        most=most,
    )


def _level(hop: int, view: View, lanes: list[Lane]) -> Level:
    mine = [measure for measure in view.measures if measure.window.hop == hop]
    kept, width = [], 1
    for number, lane in enumerate(lanes):
        asked = {measure.aggregate for measure in mine if lane.takes(measure)}
        if not asked:
            continue
        fields = []
        for wanted in _needs(asked):
            fields.append(width if wanted else -1)
            width += wanted
        kept.append(TileLane(number, tuple(fields)))
    keep = max(measure.window.offset + measure.window.over for measure in mine)
    return Level(hop, keep, width, tuple(kept))


def _needs(asked: set[AggregateName]) -> tuple[bool, ...]:
    """Return which of n, S, Q high, Q low, least and most the aggregates are lowered from."""
    squares = "std" in asked
    sums = squares or "sum" in asked or "mean" in asked
    return True, sums, squares, squares, "min" in asked, "max" in asked


def _sealed(words: list[int]) -> Ints:
    array = np.array(words, np.int64)
    array.setflags(write=False)
    return array
