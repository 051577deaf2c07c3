"""Online state as pure functions: the state that views need, and events into blobs.

What the applier computes before it commits; `holdfast.features.online_row` reads what it has made, and where
blobs lie is the business of `holdfast.features.ports.OnlineStore`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.ports import Blob, History
from holdfast.events.source import ARRIVED
from holdfast.features import aggregate
from holdfast.features import online_kernels as kernels
from holdfast.features.aggregate import AGGREGATES
from holdfast.features.corrections import Corrected, columns_of_corrections
from holdfast.features.grouping import grouped, int64_of, key_codes
from holdfast.features.keys import NO_KEY, TOO_LONG, encoder_of, head_of
from holdfast.features.lane import (
    LaneKey,
    check_measure,
    lane_mask,
    row_values,
    stored_values,
    ties_of,
)
from holdfast.features.online_row import OnlineRow, Reading, not_of_plan, read_measures
from holdfast.features.tile import RING, RING_CAP, SLACK, VERSION, Lane, StatePlan, ViewLayout, plan_of
from holdfast.features.view import View
from holdfast.kernel.errors import ContractError
from holdfast.kernel.ids import canonical_json, from_data
from holdfast.kernel.schema import FIXED_POINT_LIMIT, Schema

__all__ = [
    "OnlineRow",
    "Reading",
    "apply_events",
    "compile_state",
    "dump_plan",
    "fold",
    "load_plan",
    "read_measures",
]

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Get = Callable[[Sequence[bytes]], Sequence[Blob]]
"""Looks up the blobs of keys; an empty one where there is none."""

FEW = 1000
"""Up to so many events, entities are told apart one event after the other."""

_WORD = 8


def compile_state(
    views: Sequence[View],
    schemas: Mapping[str, Schema],
    *,
    ring: int = RING,
    most: int = RING_CAP,
    slack: int = SLACK,
    exact: int = aggregate.EXACT_DISTINCT,
) -> StatePlan:
    """Return the plan of the state that these views need together.

    Parameters
    ----------
    views : of all live models and the current definition; equal ones are kept once
    schemas : of the views' sources
    ring : events of an entity that are always kept as they are
    most : events that are kept as they are at most, where an exact window or `slack` reaches further
    slack : how much older than the newest event, in microseconds, all events after it are kept as they are
    exact : up to how many different values are kept as they are, a power of two

    Raises
    ------
    DefinitionError
        If a column cannot be aggregated so (HF104, HF106), or there are more than 255 views.
    """
    unique = {view.fingerprint: view for view in views}
    for view in unique.values():
        for measure in view.measures:
            check_measure(measure, schemas[view.source])
    return plan_of(unique, schemas, ring=ring, most=most, slack=slack, exact=exact)


def dump_plan(plan: StatePlan) -> bytes:
    """Return the plan as canonical JSON, as a generation of state keeps it."""
    return canonical_json(plan)


def load_plan(text: bytes, state: str | None = None) -> StatePlan:
    """Return the plan that a generation of state was made by.

    Parameters
    ----------
    state : fingerprint that the generation stands under

    Raises
    ------
    ContractError
        If it is no plan, or gave that state under another format of blobs (HF404).
    """
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ContractError(f"a stored state plan cannot be read: {error}.", code="HF200") from None
    plan = from_data(StatePlan, found)
    if state is not None and plan.fingerprint != state:
        raise ContractError(
            f"the online state was written in another format than version {VERSION}.",
            code="HF404",
            hint="holdfast materialize builds the state anew",
        )
    return plan


def fold(
    plan: StatePlan,
    source: str,
    frame: pl.DataFrame,
    get: Get | None = None,
    history: History | None = None,
) -> dict[bytes, Blob]:
    """Return the new blobs of all entities that events of one source touch.

    Parameters
    ----------
    source : one that no view reads changes nothing
    frame
        (n,) events of the source in any order, as the lake stores them; each event once. `_arrived` lets a
        time in the future not move what is kept; without it event times are believed.
    get : the blobs before; none means that there were no events before
    history
        The rows of the source that the blobs were made of, for a source whose events may supersede earlier
        ones: an entity that loses one is built anew from them. None means that there were none.

    Returns
    -------
    Blobs by key, to be stored together; those of one view share memory.

    Raises
    ------
    ContractError
        If a summed value is beyond the fixed-point limit (HF213), a time is missing (HF201), or a blob is
        not one of this plan.

    Notes
    -----
    Events without a key, or with one longer than state holds, are left out; a request with such a key is
    answered as an entity without events, or marked.
    Laws (tests/laws/test_online.py): however events are ordered and cut into calls, blobs are the same bytes;
    what `OnlineRow` reads of them equals the oracle, bit for bit, or is marked.
    """
    if not frame.height or source not in plan.schemas:
        return {}
    schema = plan.schemas[source]
    layouts = [layout for layout in plan.layouts if layout.view.source == source]
    if not columns_of_corrections(schema):
        events = _Events(schema, frame)
        return {key: blob for each in layouts for key, blob in _fold_view(each, events, get).items()}
    found = Corrected(schema, frame, history or (lambda where, columns: frame.clear()))
    fresh = _Events(schema, found.fresh)
    puts: dict[bytes, Blob] = {}
    for layout in layouts:
        if not found.gone.height:
            puts.update(_fold_view(layout, fresh, get))
            continue
        again, others = found.rows_of(layout.view.entity.key)
        lost = _Events(schema, found.entities(layout.view.entity.key))
        puts.update(dict.fromkeys(_keys_of(layout, lost), layout.empty_blob))
        puts.update(_fold_view(layout, _Events(schema, again), None))
        puts.update(_fold_view(layout, _Events(schema, others), get))
    return puts


def apply_events(plan: StatePlan, ordinal: int, blob: Blob, events: pl.DataFrame) -> bytes:
    """Return the blob of one entity after more of its events.

    Parameters
    ----------
    ordinal : of the view, from 1
    blob : before; empty if there were no events
    events : (m,) events of this entity in any order, as the lake stores them
    """
    if not events.height:
        return bytes(blob)
    layout = plan.layouts[ordinal - 1]
    found = _Events(plan.schemas[layout.view.source], events)
    blobs, _ = _applied(layout, found, np.zeros(events.height, np.int64), [blob])
    return blobs.tobytes()


class _Events:
    """Events of one source as the kernels take them; what several views need is made once."""

    def __init__(self, schema: Schema, frame: pl.DataFrame) -> None:
        assert schema.event_time is not None, f"schema `{schema.name}` has no event time"
        self.schema = schema
        self.frame = frame
        self.time = int64_of(frame[schema.event_time.name])
        self.arrived = int64_of(frame[ARRIVED]) if ARRIVED in frame.columns else self.time
        self.horizon = np.minimum(self.time, self.arrived)
        self._ties: Ints | None = None
        self._values: dict[tuple[str, bool], Ints] = {}
        self._masks: dict[LaneKey, Bools] = {}
        self._keys: dict[tuple[str, ...], tuple[Ints, list[bytes]]] = {}

    def ties(self) -> Ints:
        """Return what orders events of the same event time and arrival."""
        if self._ties is None:
            self._ties = ties_of(self.schema, self.frame)
        return self._ties

    def values(self, name: str, whole: bool) -> Ints:
        """Return a column as int64, as it is aggregated, or `whole`, with its missing values."""
        if (name, whole) not in self._values:
            made = row_values if whole else stored_values
            self._values[name, whole] = made(self.frame[name], self.schema.get(name))
        return self._values[name, whole]

    def mask(self, lane: Lane) -> Bools:
        """Return which events take part in a lane."""
        if lane.key not in self._masks:
            mask = lane_mask(lane.key, self.schema, self.frame)
            self._masks[lane.key] = np.ones(self.frame.height, np.bool_) if mask is None else mask
        return self._masks[lane.key]

    def entities(self, columns: tuple[str, ...]) -> tuple[Ints, list[bytes]]:
        """Return the number of each event's entity, -1 where it has none, and the keys of the entities."""
        if not columns:
            return np.zeros(self.frame.height, np.int64), [encoder_of((), self.schema)({})]
        if columns not in self._keys:
            few = self.frame.height <= FEW
            self._keys[columns] = self._entities_of_few(columns) if few else self._entities_of_many(columns)
        return self._keys[columns]

    def _entities_of_few(self, columns: tuple[str, ...]) -> tuple[Ints, list[bytes]]:
        found: dict[bytes, int] = {NO_KEY: -1, TOO_LONG: -1}
        bodies = self._bodies(columns, self.frame)
        codes = [found.setdefault(body, len(found) - 2) for body in bodies]
        return np.array(codes, np.int64), list(found)[2:]

    def _entities_of_many(self, columns: tuple[str, ...]) -> tuple[Ints, list[bytes]]:
        codes, _, groups = key_codes(columns, self.frame, self.frame)
        keyed = np.flatnonzero(codes >= 0)
        somewhere = np.empty(groups, np.int64)
        somewhere[codes[keyed]] = keyed
        bodies = self._bodies(columns, self.frame.select(columns)[somewhere])
        if TOO_LONG in bodies:
            fits = np.array([body != TOO_LONG for body in bodies])
            number = np.append(np.where(fits, np.cumsum(fits) - 1, -1), -1)  # the last is that of code -1
            codes, bodies = number[codes], [body for body in bodies if body != TOO_LONG]
        return codes, bodies

    def _bodies(self, columns: tuple[str, ...], frame: pl.DataFrame) -> list[bytes]:
        encode = encoder_of(columns, self.schema)
        found = [frame[name].to_list() for name in columns]
        return [encode(dict(zip(columns, row, strict=True))) for row in zip(*found, strict=True)]


def _keys_of(layout: ViewLayout, events: _Events) -> list[bytes]:
    head = head_of(layout.ordinal)
    return [head + body for body in events.entities(layout.view.entity.key)[1]]


def _fold_view(layout: ViewLayout, events: _Events, get: Get | None) -> dict[bytes, Blob]:
    if not events.frame.height:
        return {}
    codes, bodies = events.entities(layout.view.entity.key)
    if not bodies:
        return {}
    keys = _keys_of(layout, events)
    before: Sequence[Blob] = [b""] * len(keys) if get is None else get(keys)
    blobs, start = _applied(layout, events, codes, before)
    whole, ends = blobs.data.cast("B"), (start * _WORD).tolist()
    return {key: whole[ends[n] : ends[n + 1]] for n, key in enumerate(keys)}


def _applied(layout: ViewLayout, events: _Events, codes: Ints, before: Sequence[Blob]) -> tuple[Ints, Ints]:
    """Return the blobs of all groups after their events, and where each begins."""
    words = _words(layout, events, codes)
    groups = grouped(codes, len(before), *words)
    records = np.empty((groups.order.size, layout.record_width), np.int64)
    for place, column in enumerate(words):
        records[:, place] = column[groups.order]
    sizes = np.array([len(blob) for blob in before], np.int64)
    blob_start = np.zeros(sizes.size + 1, np.int64)
    np.cumsum(sizes // _WORD, out=blob_start[1:])
    if (sizes % _WORD).any():
        raise not_of_plan(layout.view.version)
    verdict, blobs, start = kernels.apply_groups(
        layout.writer,
        _joined(before),
        blob_start,
        records.ravel(),
        events.horizon[groups.order],
        groups.start,
    )
    if verdict == kernels.BROKEN:
        raise not_of_plan(layout.view.version)
    return blobs, start


def _words(layout: ViewLayout, events: _Events, codes: Ints) -> list[Ints]:
    """Return what a record holds: the time, what orders events of one time, the mask words, the values."""
    masks = [np.zeros(events.time.size, np.int64) for _ in range(layout.mask_words)]
    values = [events.values(name, whole) for name, whole in layout.columns]
    order = [events.arrived, events.ties()] if layout.ordered else []
    for lane in layout.lanes:
        if lane.bit < 0:
            continue
        inside = events.mask(lane)
        masks[lane.mask_word(0)] |= inside.astype(np.int64) << lane.mask_shift
        if lane.value >= 0 and _is_summed(layout, lane):
            here = values[lane.value][inside & (codes >= 0)]
            if here.size and not -FIXED_POINT_LIMIT <= here.min() <= here.max() <= FIXED_POINT_LIMIT:
                raise ContractError(
                    f"summed values stay within |value| x 10^scale <= {FIXED_POINT_LIMIT:,}; "
                    f"`{lane.key.column}` exceeds it.",
                    code="HF213",
                    at=f"{layout.view.source}.{lane.key.column}",
                    hint=f"declare bounds of `{lane.key.column}`, or a smaller scale",
                )
    return [events.time, *order, *masks, *values]


def _is_summed(layout: ViewLayout, lane: Lane) -> bool:
    mine = (measure for measure in layout.view.measures if lane.takes(measure))
    return any(AGGREGATES[measure.aggregate].fixed_point for measure in mine)


def _joined(blobs: Sequence[Blob]) -> Ints:
    return np.frombuffer(b"".join(blobs), np.int64)
