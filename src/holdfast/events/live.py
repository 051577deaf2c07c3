"""Received events as rows: what the frames of a journal say, typed, checked again, and told apart.

A process judged each event before it answered. Here it is checked once more against the definition that the
applier runs, so that a process with another one can put nothing into the lake that does not belong there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.identity import digest_rows
from holdfast.events.journal import Frame, decode_payload
from holdfast.events.ports import EventId
from holdfast.events.reason import Reason, explain
from holdfast.events.rule import (
    BOUNDS,
    FINITE,
    FIRST_INSTANT,
    INT64_MAX,
    INT64_MIN,
    LAST_INSTANT,
    LENGTH,
    MISSING,
    ONE_OF,
    TIME,
    TYPE,
    Rule,
    RuleTable,
    stored_type,
)
from holdfast.events.source import ARRIVED, BASIS, BATCH, ORIGIN
from holdfast.kernel.errors import ContractError
from holdfast.kernel.schema import Schema
from holdfast.kernel.time import DAY, format_instant, instant_of

REFUSED = 3
"""Fate of a received event that no longer obeys its contract; the others are those of duplicates."""


@dataclass(slots=True)
class Received:
    """Events of one source, in the order of their batches and frames.

    Attributes
    ----------
    slots : batch of each event, and its place among the events of that batch
    values : payload of each event; empty where it cannot be read
    reasons : by event, why it cannot be stored
    """

    slots: list[tuple[int, int]] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)
    values: list[dict[str, Any]] = field(default_factory=list)
    reasons: dict[int, Reason] = field(default_factory=dict)

    def add(self, frame: Frame, slot: tuple[int, int], origin: str) -> None:
        """Add the event of a frame."""
        try:
            values = decode_payload(frame.payload)
        except ContractError as error:
            self.reasons[len(self.slots)] = Reason(error.code, "", error.problem.message)
            values = {"payload": frame.payload.hex()}
        self.slots.append(slot)
        self.origins.append(origin)
        self.arrived.append(frame.arrived_us)
        self.values.append(values)

    def raw(self, row: int, table: RuleTable | None) -> str:
        """Return what was received, as JSON text; of an unknown source as it was journalled."""
        return as_json(self.values[row]) if table is None else as_sent(table, self.values[row])

    def rows(self, table: RuleTable) -> pl.DataFrame:
        """Return (n,) events as the lake stores them; what has the wrong type is null and gets a reason."""
        cells = [self._cells(rule) for rule in table.rules]
        return pl.DataFrame(
            [
                *cells,
                pl.Series(ARRIVED, self.arrived, dtype=pl.Int64),
                pl.repeat("measured", len(self.slots), dtype=pl.String, eager=True).alias(BASIS),
                pl.Series(BATCH, [number for number, _ in self.slots], dtype=pl.Int64),
                pl.Series(ORIGIN, self.origins, dtype=pl.String),
            ]
        )

    def _cells(self, rule: Rule) -> pl.Series:
        name = rule.column
        cells = [values.get(name) for values in self.values]
        kind = stored_type(rule)
        fits, convert = _FITS[kind]
        usual = set(map(type, cells)) - {type(None)}
        if not usual <= fits or not _in_range(cells, kind):
            for row, cell in enumerate(cells):
                if cell is not None and not (type(cell) in fits and _in_range([cell], kind)):
                    self.reasons.setdefault(row, Reason(f"HF{TYPE}", name, _mistyped(rule, cell)))
                    cells[row] = None
        if convert is not None:
            cells = [None if cell is None else convert(cell) for cell in cells]
        if kind == TIME:
            return pl.Series(name, cells, dtype=pl.Int64).cast(TIME)
        return pl.Series(name, cells, dtype=kind)


_FITS: dict[pl.DataType, tuple[set[type], Callable[[Any], Any] | None]] = {
    pl.Int64(): ({int}, None),
    TIME: ({int}, None),
    pl.Float64(): ({int, float}, float),
    pl.Boolean(): ({bool}, None),
    pl.String(): ({str}, None),
}


def _in_range(cells: Sequence[Any], kind: pl.DataType) -> bool:
    if kind not in (pl.Int64(), TIME):
        return True
    low, high = (FIRST_INSTANT, LAST_INSTANT) if kind == TIME else (INT64_MIN, INT64_MAX)
    present = [cell for cell in cells if cell is not None]
    return not present or (low <= min(present) and max(present) <= high)


def _mistyped(rule: Rule, cell: Any) -> str:
    return f"the stored value of `{rule.column}` must be {stored_type(rule)}, found {str(cell)[:80]!r}."


def check(table: RuleTable, rows: pl.DataFrame, reasons: dict[int, Reason]) -> None:
    """Add the reason of each stored row that breaks a rule; the first rule it breaks counts."""
    for rule in table.rules:
        cells = rows[rule.column]
        for code, wrong in _broken(rule, cells):
            for row in np.flatnonzero(wrong).tolist():
                if row not in reasons:
                    message = explain(rule, code, _shown(rule, cells[row]))
                    reasons[row] = Reason(f"HF{code}", rule.column, message)


def _broken(rule: Rule, cells: pl.Series) -> list[tuple[int, NDArray[np.bool_]]]:
    found: list[tuple[int, pl.Series]] = []
    if rule.required and cells.null_count():
        found.append((MISSING, cells.is_null()))
    if rule.low is not None and rule.high is not None and cells.dtype == pl.Int64:
        found.append((BOUNDS, ~cells.is_between(rule.low, rule.high)))
    if cells.dtype == pl.Float64:
        found.append((FINITE, ~cells.is_finite()))
        if rule.low_float is not None:
            found.append((BOUNDS, cells < rule.low_float))
        if rule.high_float is not None:
            found.append((BOUNDS, cells > rule.high_float))
    if rule.one_of is not None:
        found.append((ONE_OF, ~cells.is_in(list(rule.one_of))))
    if rule.max_length is not None:
        found.append((LENGTH, cells.str.len_chars() > rule.max_length))
    return [(code, wrong.fill_null(False).to_numpy()) for code, wrong in found]


def _shown(rule: Rule, value: Any) -> Any:
    """Return a stored value as a person would write it."""
    if rule.scale and isinstance(value, int):
        return f"{Decimal(value).scaleb(-rule.scale):f}"
    return value


def as_sent(table: RuleTable, stored: Mapping[str, Any]) -> str:
    """Return stored values as the JSON text of a row that could be sent: times with their zone, decimals.

    A value that the column cannot hold stays as it is, and what is made of the others is left out.
    """
    rules = {rule.column: rule for rule in table.rules}
    return as_json(
        {
            name: _sent(rules[name], value) if name in rules else value
            for name, value in stored.items()
            if name != table.made
        }
    )


def _sent(rule: Rule, value: Any) -> Any:
    if isinstance(value, datetime):
        return format_instant(instant_of(value))
    if type(value) is not int:
        return value
    if rule.type == "time" and FIRST_INSTANT <= value <= LAST_INSTANT:
        return format_instant(value)
    return value if not rule.scale else msgspec.Raw(_shown(rule, value).encode())


def as_json(value: Any) -> str:
    """Return the JSON text of a payload."""
    return msgspec.json.encode(value, enc_hook=str).decode()


# ----------------------------------------------------------------------------------------------- identity

_ENCODER = msgspec.msgpack.Encoder()


def event_ids(source: str, schema: Schema, rows: pl.DataFrame) -> list[EventId]:
    """Return what duplicates of each stored row are found by."""
    assert schema.event_id is not None
    ids = rows[schema.event_id.name].to_list()
    if schema.event_time is None:
        days = [0] * rows.height
    else:
        days = (rows[schema.event_time.name].to_physical() // DAY).to_list()
    return [
        EventId(day, hashlib.blake2b(_ENCODER.encode((source, each)), digest_size=16).digest())
        for day, each in zip(days, ids, strict=True)
    ]


def content_digests(schema: Schema, rows: pl.DataFrame) -> list[bytes]:
    """Return 16 bytes for each stored row, equal for equal content.

    Missing values do not count, so a column that is added later changes nothing.
    """
    assert schema.event_id is not None
    return digest_rows(rows, [name for name in schema.names if name != schema.event_id.name])


def digests_by_id(
    source: str, schema: Schema, rows: pl.DataFrame, since_day: int | None = None
) -> Mapping[EventId, bytes]:
    """Return the content digest of each stored row from a day on, by what duplicates are found by."""
    if schema.event_id is None or not rows.height:
        return {}
    if since_day is not None and schema.event_time is not None:
        rows = rows.filter(pl.col(schema.event_time.name).to_physical() // DAY >= since_day)
    return dict(zip(event_ids(source, schema, rows), content_digests(schema, rows), strict=True))
