"""Corrections: an event may supersede an earlier one, from its own arrival on.

What was known before stays known before: offline, the earlier event is seen until the correction arrives.
Online, the earlier event is gone, so what it had entered is built anew from history.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.ports import History
from holdfast.features.kernels import FOREVER
from holdfast.kernel.schema import Schema

Ints = NDArray[np.int64]


def columns_of_corrections(schema: Schema) -> tuple[str, ...]:
    """Return the columns that say what supersedes what; none if nothing can."""
    if schema.supersedes is None or schema.event_id is None:
        return ()
    return schema.event_id.name, schema.supersedes.name


def seen_until(schema: Schema, frame: pl.DataFrame, seen_from: Ints) -> Ints:
    """Return until when each event is seen: until the first event that supersedes it is.

    Parameters
    ----------
    seen_from : (n,) from when on each event is seen

    Returns
    -------
    (n,), `FOREVER` where nothing supersedes an event; empty where that is so of all.
    """
    names = columns_of_corrections(schema)
    if not names:
        return np.empty(0, np.int64)
    own, target = names
    found = frame.select(own, target).with_columns(pl.Series("_from", seen_from))
    corrections = _corrections(found, own, target).group_by(target).agg(pl.col("_from").min().alias("_until"))
    if not corrections.height:
        return np.empty(0, np.int64)
    joined = found.join(corrections, left_on=own, right_on=target, how="left", maintain_order="left")
    return joined["_until"].fill_null(FOREVER).to_numpy()


def superseded(schema: Schema, *frames: pl.DataFrame) -> pl.Series:
    """Return the ids that events supersede; one that names itself supersedes nothing."""
    own, target = columns_of_corrections(schema)
    parts = [_corrections(frame, own, target)[target] for frame in frames]
    return pl.concat(parts).unique()


def _corrections(frame: pl.DataFrame, own: str, target: str) -> pl.DataFrame:
    return frame.filter(pl.col(target).is_not_null() & pl.col(target).ne_missing(pl.col(own)))


def without(schema: Schema, frame: pl.DataFrame, gone: pl.Series) -> pl.DataFrame:
    """Return the events whose ids are not among those superseded."""
    own, _ = columns_of_corrections(schema)
    return frame.filter(~pl.col(own).is_in(gone.implode()))


class Corrected:
    """New events of a source that may supersede earlier ones, or be superseded by what came before them.

    Parameters
    ----------
    frame : (n,) new events, each once
    history : the rows stored before them

    Attributes
    ----------
    fresh : the new events that nothing supersedes
    gone : rows stored before that a new event supersedes
    """

    def __init__(self, schema: Schema, frame: pl.DataFrame, history: History) -> None:
        own, target = columns_of_corrections(schema)
        self._schema, self._frame, self._history = schema, frame, history
        before = history(pl.col(target).is_not_null(), (own, target))
        now = superseded(schema, frame)
        self._all = pl.concat([superseded(schema, before), now]).unique()
        self.fresh = without(schema, frame, self._all)
        self.gone = history(pl.col(own).is_in(now.to_list()), None) if now.len() else frame.clear()

    def rows_of(self, keys: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return all rows of the entities that lost one, and the fresh rows of all others.

        Parameters
        ----------
        keys : the columns that identify an entity

        Returns
        -------
        The first holds the new ones among them, without what is superseded.
        """
        if not keys:
            past = self._history(pl.lit(True), None)
            return without(self._schema, _together(past, self._frame), self._all), self.fresh.clear()
        lost = self.gone.select(keys).drop_nulls().unique()
        where = pl.all_horizontal(pl.col(key).is_in(lost[key].to_list()) for key in keys)
        past = self._history(where, None)
        rows = _together(past, self._frame).join(lost, on=list(keys), how="semi")
        return (
            without(self._schema, rows, self._all),
            self.fresh.join(lost, on=list(keys), how="anti"),
        )

    def entities(self, keys: Sequence[str]) -> pl.DataFrame:
        """Return one of the lost rows of each entity that lost one."""
        return self.gone.unique(list(keys), keep="any") if keys else self.gone.head(1)


def _together(past: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([past.select(frame.columns), frame]) if past.height else frame
