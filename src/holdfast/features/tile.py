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

from holdfast.features import aggregate
from holdfast.features.aggregate import AGGREGATES, AggregateName
from holdfast.features.keys import MAX_VIEWS
from holdfast.features.lane import LaneKey, is_plain_float, lane_of, reads_values
from holdfast.features.online_kernels import HEADER, LEVEL_HEADER
from holdfast.features.view import Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import DefinitionError, NotFoundError
from holdfast.kernel.ids import digest, fingerprint
from holdfast.kernel.schema import Schema
from holdfast.kernel.time import SECOND

Ints = NDArray[np.int64]

VERSION = 2
"""Format of a blob; another one is another state, built anew."""

RING = 64
"""Events of an entity that are always kept as they are."""
RING_CAP = 1024
"""Most events that are kept as they are because an exact window may need them."""
SLACK = 10 * SECOND
"""How much older than the newest event a request may be and still find all later events as they are."""

_BITS = 60  # of a mask word
_AGGREGATES = tuple(AGGREGATES)
_WIDTHS = (1, 1, 1, 1, 1, 1, 4, 4, 1)
"""Words of n, S, Q high, Q low, least, most, first and last (time, arrival, tie, value), size of the set."""
_PLACES = (0, 1, 2, 3, 4, 5, 6, 10, 14)
"""Where `read_blobs` collects them."""
_SET = 8
_NOWHERE = (-1,) * len(_WIDTHS)
_NO_SLOTS = (-1,) * len(_AGGREGATES)
_SLOTS = 5 + 2 * len(_WIDTHS)  # of an entry of a window, behind what the lane is, its fields, and its needs


@dataclass(frozen=True, slots=True)
class Lane:
    """What is aggregated, and where an event of the ring says so.

    Attributes
    ----------
    bit : which bit of an event's masks says that it takes part; -1 if every event does
    value : which of an event's values, -1 if they are only counted, -2 if it is the event's time
    scale : decimal places of the values
    is_float : whether values are bits of floats, ordered as the floats are
    """

    key: LaneKey
    bit: int
    value: int
    scale: int = 0
    is_float: bool = False

    def takes(self, measure: Measure) -> bool:
        """Whether the measure aggregates this."""
        return self.key == lane_of(measure)

    def mask_word(self, lead: int) -> int:
        """Word of an event that holds the bit, or -1."""
        return -1 if self.bit < 0 else lead + self.bit // _BITS

    @property
    def mask_shift(self) -> int:
        """Place of the bit in its word."""
        return max(self.bit, 0) % _BITS


@dataclass(frozen=True, slots=True)
class TileLane:
    """Where in a tile n, S, Q high, Q low, least, most, first, last and set begin; -1 where not kept."""

    lane: int
    fields: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """Tiles of one hop.

    Attributes
    ----------
    keep : greatest offset + over of its windows, so how far back from the newest event tiles are kept
    width
        Words of a tile; the first is its index, the floor of event time / hop, the last `sets` are the sizes
        of its sets of different values, which stand behind all tiles of the level.
    """

    hop: int
    keep: int
    width: int
    sets: int
    lanes: tuple[TileLane, ...]


@dataclass(frozen=True, eq=False)
class ViewLayout:
    """Where everything stands in the blobs of one view.

    Attributes
    ----------
    ordinal : first byte of its keys
    columns
        The columns whose values an event of the ring holds, in order, and whether missing ones count.
    ordered : whether an event holds its arrival time and id too, as what depends on the order needs them
    exact : up to how many different values are kept as they are
    mask_words : how many words of an event hold mask bits
    raw : how far back from the newest event events are kept as they are, up to `most` of them
    """

    view: View
    ordinal: int
    lanes: tuple[Lane, ...]
    columns: tuple[tuple[str, bool], ...]
    ordered: bool
    mask_words: int
    levels: tuple[Level, ...]
    raw: int
    ring: int
    most: int
    exact: int

    @property
    def record_width(self) -> int:
        """Words of one event of the ring: time, arrival and tie where ordered, masks, values."""
        return self.lead + self.mask_words + len(self.columns)

    @property
    def lead(self) -> int:
        """Words of an event before its masks."""
        return 3 if self.ordered else 1

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
        words = [format_word, self.record_width, self.ring, self.most, self.raw, self.exact, len(self.levels)]
        for level in self.levels:
            words += [level.hop, level.keep, level.width, len(level.lanes), level.sets]
            for kept in level.lanes:
                lane = self.lanes[kept.lane]
                words += [lane.mask_word(self.lead), lane.mask_shift, self._value_word(lane), *kept.fields]
        return _sealed(words)

    def reader(self, first_register: int) -> list[int]:
        """Return what `read_blobs` is told about this view, whose measures begin at a register."""
        hops = [level.hop for level in self.levels]
        words = [self.format_word, self.record_width, self.exact, len(self.levels)]
        for level in self.levels:
            words += [level.hop, level.width, level.sets]
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
            lane.mask_word(self.lead), lane.mask_shift, self._value_word(lane),
            lane.scale, int(lane.is_float), *fields,
        ]  # fmt: skip
        needs = (n if wanted else -1 for n, wanted in zip(_PLACES, _needs({measure.aggregate}), strict=True))
        slot = _AGGREGATES.index(measure.aggregate)
        entry = next((e for e in entries if e[: len(head)] == head and e[_SLOTS + slot] < 0), None)
        if entry is None:
            entry = [*head, *_NOWHERE, *_NO_SLOTS]
            entries.append(entry)
        for place, need in enumerate(needs, len(head)):
            entry[place] = max(entry[place], need)
        entry[_SLOTS + slot] = register

    def _value_word(self, lane: Lane) -> int:
        if lane.value < 0:
            return -1 if lane.value == -1 else 0
        return self.lead + self.mask_words + lane.value

    @cached_property
    def empty_blob(self) -> bytes:
        """The blob of an entity without events; never stored."""
        lowest = -(2**63)
        words = [self.format_word, lowest, lowest, 0, *[lowest, 0, 0] * len(self.levels)]
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
    exact : up to how many different values are kept as they are, a power of two
    """

    views: tuple[View, ...]
    schemas: dict[str, Schema]
    ring: int = RING
    most: int = RING_CAP
    slack: int = SLACK
    exact: int = aggregate.EXACT_DISTINCT

    @cached_property
    def fingerprint(self) -> str:
        """Content hash: states of equal fingerprints hold the same bytes after the same events."""
        numbers = (self.ring, self.most, self.slack, self.exact)
        return fingerprint((VERSION, [view.fingerprint for view in self.views], self.schemas, *numbers))

    @cached_property
    def layouts(self) -> tuple[ViewLayout, ...]:
        """Layout of each view, in order."""
        return tuple(
            layout_of(
                view,
                self.schemas[view.source],
                ordinal,
                ring=self.ring,
                most=self.most,
                slack=self.slack,
                exact=self.exact,
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
    views: Mapping[str, View], schemas: Mapping[str, Schema], *, ring: int, most: int, slack: int, exact: int
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
    return StatePlan(ordered, used, ring, max(ring, most), slack, exact)


def layout_of(
    view: View, schema: Schema, ordinal: int, *, ring: int, most: int, slack: int, exact: int
) -> ViewLayout:
    """Return where everything stands in the blobs of a view."""
    read = (lane_of(measure) for measure in view.measures if reads_values(measure))
    columns = tuple(dict.fromkeys((key.column, key.kind == "rows") for key in read if key.column))
    lanes: list[Lane] = []
    masked = 0
    for key in dict.fromkeys(lane_of(measure) for measure in view.measures):
        column = None if key.column is None else schema.get(key.column)
        every = key.kind != "values" and key.where is None
        held = (key.column, key.kind == "rows")
        lanes.append(
            Lane(
                key,
                bit=-1 if every else masked,
                value=-2 if key.kind == "times" else columns.index(held) if held in columns else -1,
                scale=column.scale or 0 if column is not None and column.is_fixed_point else 0,
                is_float=column is not None and is_plain_float(column),
            )
        )
        masked += not every
    beyond = [m.window.offset + m.window.over for m in view.measures if not m.window.hop]
    levels = tuple(
        _level(hop, view, lanes) for hop in sorted({m.window.hop for m in view.measures if m.window.hop})
    )
    return ViewLayout(
        view,
        ordinal,
        tuple(lanes),
        columns,
        ordered=any(AGGREGATES[measure.aggregate].order_sensitive for measure in view.measures),
        mask_words=-(-masked // _BITS),
        levels=levels,
        raw=max(beyond, default=0) + slack,
        ring=ring,
        most=most,
        exact=exact,
    )


def _level(hop: int, view: View, lanes: list[Lane]) -> Level:
    mine = [measure for measure in view.measures if measure.window.hop == hop]
    asked = {
        number: _needs({measure.aggregate for measure in mine if lane.takes(measure)})
        for number, lane in enumerate(lanes)
    }
    sets = sum(wanted[_SET] for wanted in asked.values())
    at, kept = 1, []
    set_at = 1 + sum(
        words for wanted in asked.values() for words, w in zip(_WIDTHS[:_SET], wanted, strict=False) if w
    )
    width = set_at + sets
    for number, wanted in asked.items():
        fields = []
        for words, one in zip(_WIDTHS[:_SET], wanted, strict=False):
            fields.append(at if one else -1)
            at += words * one
        fields.append(set_at if wanted[_SET] else -1)
        set_at += wanted[_SET]
        if any(wanted):
            kept.append(TileLane(number, tuple(fields)))
    keep = max(measure.window.offset + measure.window.over for measure in mine)
    return Level(hop, keep, width, sets, tuple(kept))


def _needs(asked: set[AggregateName]) -> tuple[bool, ...]:
    """Return which of n, S, Q high, Q low, least, most, first, last and the set are needed for aggregates."""
    squares = not asked.isdisjoint(("std", "var"))
    sums = squares or not asked.isdisjoint(("sum", "mean"))
    most = not asked.isdisjoint(("max", "time_since_last"))
    last = not asked.isdisjoint(("last", "as_of"))
    return (
        bool(asked), sums, squares, squares, "min" in asked, most, "first" in asked, last,
        "distinct" in asked,
    )  # fmt: skip


def _sealed(words: list[int]) -> Ints:
    array = np.array(words, np.int64)
    array.setflags(write=False)
    return array
