"""Frames that are no events: records with a table of their own, and what was refused at the door."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from holdfast.events.batch import Batch
from holdfast.events.journal import EVENT, FEEDBACK, REJECTED, Frame, decode_payload
from holdfast.events.live import as_json
from holdfast.kernel.errors import ContractError, HoldfastError

Refusal = tuple[Any, ...]
"""A row of the quarantine table."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Where frames of one kind go: a table of the lake, and what makes its rows of their payloads."""

    table: str
    encode: Callable[[Sequence[bytes]], pl.DataFrame]


def records(
    batch: Batch, frames: Sequence[Frame], recorders: Mapping[int, Recorder]
) -> tuple[dict[str, pl.DataFrame], list[Refusal]]:
    """Return the records of a batch by table, and the frames that nobody could read."""
    tables: dict[str, list[pl.DataFrame]] = {}
    refused: list[Refusal] = []
    for kind in sorted({frame.kind for frame in frames} - {EVENT, FEEDBACK, REJECTED}):
        some = [frame for frame in frames if frame.kind == kind]
        recorder = recorders.get(kind)
        if recorder is None:
            reason = f"no table takes frames of kind {kind}."
            refused += [_refusal(batch, frame, "HF214", reason) for frame in some]
            continue
        rows = _encoded(recorder, some)
        parts = [rows] if rows is not None else []
        if rows is None:
            for frame in some:
                one = _encoded(recorder, [frame])
                if one is None:
                    refused.append(_refusal(batch, frame, "HF214", "the record cannot be read."))
                else:
                    parts.append(one)
        if parts:
            tables.setdefault(recorder.table, []).extend(parts)
    return {table: pl.concat(parts) for table, parts in tables.items()}, refused


def rejections(batch: Batch, frames: Sequence[Frame]) -> list[Refusal]:
    """Return the quarantine rows of what broke its contract when it was received."""
    out = []
    for frame in frames:
        if frame.kind != REJECTED:
            continue
        try:
            values = decode_payload(frame.payload)
        except ContractError:
            out.append(_refusal(batch, frame, "HF214", "what was rejected cannot be read."))
            continue
        raw = values.get("raw")
        out.append(
            _refusal(
                batch,
                frame,
                str(values.get("code") or "HF214"),
                str(values.get("reason") or "it was rejected when it was received."),
                str(values.get("column") or "") or None,
                raw if isinstance(raw, str) else as_json(values),
            )
        )
    return out


def _encoded(recorder: Recorder, frames: Sequence[Frame]) -> pl.DataFrame | None:
    """Return the records of frames, or None where one of them cannot be read."""
    try:
        return recorder.encode([frame.payload for frame in frames])
    except ContractError as error:
        if error.code == "HF304":
            raise
        return None
    except HoldfastError:
        raise
    except Exception:
        # Whatever a strange payload makes the encoder stumble over; the applier has to go on.
        return None


def _refusal(
    batch: Batch, frame: Frame, code: str, reason: str, column: str | None = None, raw: str | None = None
) -> Refusal:
    if raw is None:
        try:
            raw = as_json(decode_payload(frame.payload))
        except ContractError:
            raw = as_json(frame.payload.hex())
    origin = f"{batch.input}/{frame.position}"
    return (frame.source, code, reason, column, origin, raw, frame.arrived_us, batch.number)
