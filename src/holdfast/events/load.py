"""Loads that were handed over: judged elsewhere, compared with what came in since, numbered here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import polars as pl

from holdfast.events.contract import RuleTable, empty_table
from holdfast.events.duplicates import CLASH, NEW, Memory
from holdfast.events.handover import Offer
from holdfast.events.live import as_json
from holdfast.events.logged import stored_columns
from holdfast.events.ports import Batch, Lake, Staging
from holdfast.events.refusals import QUARANTINE_SCHEMA
from holdfast.events.source import BATCH, ORIGIN, Source
from holdfast.kernel.errors import ConflictError


def take(
    offer: Offer,
    number: int,
    source: Source,
    table: RuleTable,
    *,
    handed: Staging,
    staging: Staging,
    lake: Lake,
    now_us: int,
) -> Batch:
    """Return an offer as the batch of that number, its rows staged.

    The lake holds every earlier batch of the source.

    Raises
    ------
    ConflictError
        If the rows were judged by another definition of the source (HF404).
    NotFoundError
        If the rows are gone.
    """
    batch, nothing = offer.batch, empty_table(source.schema)
    good = handed.read(batch.staged) if batch.staged else nothing
    if good.schema != nothing.schema:
        raise ConflictError(
            f"rows of `{batch.source}` were judged by another definition than the worker runs.",
            code="HF404",
            hint="start the worker again, so that it runs the new definition",
        )
    refused = handed.read(batch.refused) if batch.refused else pl.DataFrame(schema=QUARANTINE_SCHEMA)
    counts = Counter(batch.counts)
    if source.schema.event_id is not None and good.height:
        memory = Memory(source, lake, among=pl.col(BATCH) > offer.seen)
        fate = memory.compare(good.select(source.schema.names))
        clash = good.filter(pl.Series(fate.kind == CLASH))
        if clash.height:
            refused = pl.concat([refused, _clashes(source, clash, fate.messages, now_us)])
            counts["HF210"] += clash.height
        again = int((fate.kind != NEW).sum())
        if again:
            good = good.filter(pl.Series(fate.kind == NEW))
            counts["stored"] -= again
            counts["duplicates"] += again - clash.height
    numbered = pl.lit(number, pl.Int64).alias(BATCH)
    good = good.with_columns(numbered).select(*stored_columns(table))
    refused = refused.with_columns(numbered).select(*QUARANTINE_SCHEMA)
    return replace(
        batch,
        number=number,
        staged=staging.write(good) if good.height else "",
        refused=staging.write(refused) if refused.height else "",
        counts=dict(counts),
    )


def _clashes(source: Source, rows: pl.DataFrame, messages: list[str], now_us: int) -> pl.DataFrame:
    assert source.schema.event_id is not None
    column = source.schema.event_id.name
    raw = rows.select(source.schema.names).to_dicts()
    found = [
        (source.name, "HF210", message, column, origin, as_json(row), now_us, 0)
        for message, origin, row in zip(messages, rows[ORIGIN], raw, strict=True)
    ]
    return pl.DataFrame(found, schema=QUARANTINE_SCHEMA, orient="row")
