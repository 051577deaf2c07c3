"""Loads that were logged: their staged rows, appended to the lake once."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from holdfast.events.batch import Batch
from holdfast.events.ports import QUARANTINE, BatchLog, Lake, Staging
from holdfast.events.rule import RuleTable
from holdfast.events.source import ARRIVED, BASIS, BATCH, ORIGIN
from holdfast.kernel.errors import NotFoundError, UnavailableError

APP = "applier"
"""Name under which the applier's batches are recorded in the tables of the lake."""


def stored_columns(table: RuleTable) -> tuple[str, ...]:
    """Return the columns of a source's lake table, in order."""
    return (*table.columns, ARRIVED, BASIS, BATCH, ORIGIN)


def apply_logged(*, lake: Lake, log: BatchLog, staging: Staging) -> int:
    """Apply every batch that was logged and not applied; return how many. The lease must be held.

    Raises
    ------
    UnavailableError
        If the staged rows of such a batch are gone, or it is one that only a worker can apply.
    """
    applied: dict[str, int] = {}
    staged = staging.list_names()
    count = 0
    logged = log.read()
    for batch in logged.batches:
        if batch.number <= logged.settled:
            continue
        if batch.journal is not None:
            raise UnavailableError(
                f"batch {batch.number} was received live and its worker ended before it was in the lake.",
                code="HF600",
                at=batch.input,
                hint="start the worker once: it first brings the lake up to date",
            )
        tables = [
            (table, name)
            for table, name in ((QUARANTINE, batch.refused), (batch.source, batch.staged))
            if name
        ]
        for table, _ in tables:
            if table not in applied:
                applied[table] = lake.applied(table, app=APP) or 0
        if all(applied[table] >= batch.number for table, _ in tables):
            continue
        apply_batch(batch, lake=lake, staging=staging)
        count += 1
    for name in staged:
        staging.remove(name)
    return count


def apply_batch(batch: Batch, *, lake: Lake, staging: Staging) -> None:
    """Append the staged rows of a logged batch: quarantine first, then the source's table.

    Raises
    ------
    UnavailableError
        If its staged rows are gone (HF600).
    """
    try:
        refused = staging.read(batch.refused) if batch.refused else None
        accepted = staging.read(batch.staged) if batch.staged else None
    except NotFoundError as error:
        raise UnavailableError(
            f"batch {batch.number} of `{batch.source}` was logged and not applied, and its staged rows "
            f"{batch.first} to {batch.last} are gone.",
            code="HF600",
            hint="restore the staging folder, or the whole state from a backup",
        ) from error
    append_batch(batch, accepted, refused, lake=lake, staging=staging)


def append_batch(
    batch: Batch,
    accepted: pl.DataFrame | None,
    refused: pl.DataFrame | None,
    *,
    lake: Lake,
    staging: Staging,
    faults: Callable[[str], None] = lambda step: None,
) -> None:
    """Append the rows of a logged batch, as they were staged; the lake may keep the staged files."""
    if refused is not None and refused.height:
        staged = staging.path(batch.refused)
        lake.append(QUARANTINE, refused, app=APP, batch=batch.number, staged=staged)
    faults("refused")
    if accepted is not None and accepted.height:
        staged = staging.path(batch.staged)
        lake.append(batch.source, accepted, app=APP, batch=batch.number, staged=staged)
    faults("stored")
