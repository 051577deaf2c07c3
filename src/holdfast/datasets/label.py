"""Labels: the outcome of a spine row, fixed at `t + horizon` by what had arrived by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.datasets.spine import KNOWN_AT, ROW_KEY, T, event_id_of, event_time_of
from holdfast.events.entity import Entity
from holdfast.events.source import ARRIVED, Source
from holdfast.features.view import Feature, FeaturePlan, FeatureSet, Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import ContractError, DefinitionError
from holdfast.kernel.expr import Expr
from holdfast.kernel.time import format_duration

Fate = Literal["labelled", "immature", "censored", "unlabelled"]
"""What became of a spine row; exactly one each."""

_FIXED = "_fixed"
_ROW = "_row"
_RANK = "_rank"
_VALUE = "_value"
_EVENTS = "_events"


@dataclass(frozen=True, slots=True)
class Label:
    """How an outcome is found.

    Exactly one of two forms: events of `source` that share `key` with the row (value `value`, or 1.0 for
    being there, `absent` where there is none), or `window`: an aggregate over ``[t, t + over)``.

    Attributes
    ----------
    key
        Column that joins outcome and row, under the same name in both. With `window` it names the entity of
        the aggregate; none there means the key of the grid.
    value : expression over the outcome's columns; none means 1.0
    horizon : microseconds after `t` at which the value is fixed
    absent
        Value where no outcome arrived, or where the aggregate of the window is missing; none leaves the row
        without label.
    censored_by : recommendation that prevents the outcome, so the row is left out
    """

    source: str
    horizon: int
    key: str | None = None
    value: Expr | None = None
    absent: float | None = None
    censored_by: str | None = None
    window: Measure | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """What was found for each row of a spine, in its order.

    Attributes
    ----------
    values : (n,) float64; null unless the row is labelled
    fates : (n,) `Fate` of each row
    late
        (n,) whether an outcome of a mature, uncensored row arrived after its label was fixed, so that it was
        not used.
    """

    values: pl.Series
    fates: pl.Series
    late: NDArray[np.bool_]

    def count(self, fate: Fate) -> int:
        """Return the number of rows of a fate."""
        return int((self.fates == fate).sum())


def attach_labels(
    spine: pl.DataFrame,
    label: Label,
    source: Source,
    outcomes: pl.DataFrame,
    *,
    as_of: int,
    decisions: pl.DataFrame | None = None,
    entity: Sequence[str] = (),
) -> Labels:
    """Find the label of each row of a spine, as known at `t + horizon`.

    A row is ``immature`` if ``t + horizon > as_of``; else ``censored`` if the recommendation served for it is
    `censored_by`; else ``unlabelled`` if there is neither an outcome nor a value for its absence; else
    ``labelled``.

    Parameters
    ----------
    spine : (n, ...) rows with ``_t``, ``_known_at``, ``_key`` and the columns that join the outcomes
    source : the label's source
    outcomes : rows of its lake table; those that arrived after `as_of` are not looked at
    as_of : microseconds
    decisions
        Recommendations served before, as ``_key`` and ``decision``; the first one of a key counts.
    entity : columns that name the entity of a window label whose `key` is none

    Notes
    -----
    Of several outcomes of one row the latest in total order (event time, arrival, id) decides, among those
    that had arrived by ``t + horizon``. O((n + m) log m).
    Law: an outcome that arrives after ``t + horizon`` never changes a label (tests/laws/test_datasets.py).
    """
    _check(label)
    known = outcomes.filter(pl.col(ARRIVED) <= as_of)
    if label.window is None:
        value, late = _keyed(spine, label, source, known)
    else:
        value, late = _windowed(spine, label, label.window, source, known, as_of, entity)
    mature = spine[T] + label.horizon <= as_of
    censored = _censored(spine, label, decisions) & mature
    found = value.is_not_null()
    fates = pl.select(
        pl.when(~mature)
        .then(pl.lit("immature"))
        .when(censored)
        .then(pl.lit("censored"))
        .when(~found)
        .then(pl.lit("unlabelled"))
        .otherwise(pl.lit("labelled"))
        .alias("fate")
    )["fate"]
    values = pl.select(pl.when(fates == "labelled").then(value).alias("label"))["label"]
    return Labels(values, fates, (late & mature & ~censored).to_numpy())


def _check(label: Label) -> None:
    if label.window is None:
        if label.key is None:
            raise DefinitionError(
                f"a label from `{label.source}` needs the key that joins outcome and row, or a window.",
                code="HF103",
            )
        return
    window = label.window.window
    if window.offset != 0:
        raise DefinitionError(
            "the window of a label begins at the prediction; found an offset of "
            f"{format_duration(window.offset)}.",
            code="HF105",
        )
    if label.horizon < window.over:
        raise DefinitionError(
            f"a label over {format_duration(window.over)} cannot be fixed after "
            f"{format_duration(label.horizon)}.",
            code="HF105",
            hint=f'the horizon is at least "{format_duration(window.over)}"',
        )


def _censored(spine: pl.DataFrame, label: Label, decisions: pl.DataFrame | None) -> pl.Series:
    if label.censored_by is None or decisions is None:
        return pl.repeat(False, spine.height, eager=True)
    first = decisions.select(ROW_KEY, "decision").unique(ROW_KEY, keep="first", maintain_order=True)
    prevented = first.filter(pl.col("decision") == label.censored_by)[ROW_KEY]
    return spine[ROW_KEY].is_in(prevented.implode())


def _keyed(
    spine: pl.DataFrame, label: Label, source: Source, outcomes: pl.DataFrame
) -> tuple[pl.Series, pl.Series]:
    """Return per row the deciding outcome's value (null where there is none) and whether one came late."""
    key = label.key
    assert key is not None
    if spine.schema[key] != outcomes.schema[key]:
        raise ContractError(
            f"the label joins `{key}`, which is {outcomes.schema[key]} in `{source.name}` and "
            f"{spine.schema[key]} in the rows.",
            code="HF202",
            at="label.key",
        )
    outcomes = outcomes.filter(pl.col(key).is_not_null())
    order = [event_time_of(source.schema), ARRIVED, event_id_of(source.schema)]
    ranked = outcomes.with_columns(_values(label, source, outcomes)).sort(order).with_row_index(_RANK)
    ranked, corrected = _corrected(ranked, source, key)
    # At each arrival, the rank of the outcome that would decide if the label were fixed right then.
    deciding = (
        ranked.join(corrected.select(key).unique(), on=key, how="anti")
        .select(key, pl.col(ARRIVED).alias(_FIXED), _RANK)
        .sort(key, _FIXED, _RANK)
        .with_columns(pl.col(_RANK).cum_max().over(key))
        .unique([key, _FIXED], keep="last", maintain_order=True)
    )
    deciding = pl.concat([deciding, corrected.select(deciding.columns)]).sort(_FIXED, key)
    rows = (
        spine.select(key, (pl.col(T) + label.horizon).alias(_FIXED)).with_row_index(_ROW).sort(_FIXED, _ROW)
    )
    last = deciding.group_by(key).agg(pl.col(_FIXED).max().alias("_last"))
    joined = (
        rows.join_asof(deciding, on=_FIXED, by=key, strategy="backward", check_sortedness=False)
        .join(ranked.select(_RANK, _VALUE), on=_RANK, how="left")
        .join(last, on=key, how="left")
        .sort(_ROW)
    )
    value = joined[_VALUE]
    if label.absent is not None:
        absent = pl.repeat(float(label.absent), value.len(), eager=True)
        value = value.zip_with(joined[_RANK].is_not_null(), absent)
    return value, (joined["_last"] > joined[_FIXED]).fill_null(False)


def _corrected(ranked: pl.DataFrame, source: Source, key: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the outcomes, and of keys with a superseded one which decides from each instant on.

    Returns
    -------
    The second is empty where no outcome is superseded; its rank is null while none is left.
    """
    none = ranked.select(key, pl.col(ARRIVED).alias(_FIXED), _RANK).clear()
    if source.schema.supersedes is None:
        return ranked, none
    from holdfast.features.corrections import seen_until
    from holdfast.features.kernels import FOREVER

    until = seen_until(source.schema, ranked, ranked[ARRIVED].to_numpy())
    if not until.size:
        return ranked, none
    timed = ranked.select(key, ARRIVED, _RANK, pl.Series("_until", until))
    gone = timed.filter(pl.col("_until") < FOREVER).select(key).unique()
    rows: list[tuple[object, int, int | None]] = []
    for (name,), part in timed.join(gone, on=key, how="semi").partition_by(key, as_dict=True).items():
        spans = part.select(ARRIVED, "_until", _RANK).rows()
        for instant in sorted({at for start, end, _ in spans for at in (start, end)} - {FOREVER}):
            alive = [rank for start, end, rank in spans if start <= instant < end]
            rows.append((name, instant, max(alive, default=None)))
    return ranked, pl.DataFrame(rows, schema=none.schema, orient="row")


def _values(label: Label, source: Source, outcomes: pl.DataFrame) -> pl.Series:
    """Return the value of each outcome, null where it is missing."""
    if label.value is None:
        return pl.repeat(1.0, outcomes.height, eager=True).alias(_VALUE)
    # Only here, so that to declare a label loads no compiled kernels.
    from holdfast.features.expression import compile_plan

    wanted = FeatureSet("label", source.name, (Feature(_VALUE, label.value),))
    found = compile_plan(FeaturePlan(wanted, source.schema, (), {})).evaluate(outcomes, {})
    return pl.Series(_VALUE, np.ascontiguousarray(found[:, 0]), nan_to_null=True)


def _windowed(
    spine: pl.DataFrame,
    label: Label,
    measure: Measure,
    source: Source,
    outcomes: pl.DataFrame,
    as_of: int,
    entity: Sequence[str],
) -> tuple[pl.Series, pl.Series]:
    """Return per row the aggregate over ``[t, t + over)``, null where missing, and whether any came late."""
    at, over = pl.col(T), measure.window.over

    def known(instant: pl.Expr) -> dict[str, NDArray[np.float64]]:
        rows = spine.with_columns((at + over).alias(T), instant.alias(KNOWN_AT))
        return _before(rows, label, measure, source, outcomes, entity)

    fixed = known(at + label.horizon)
    late = known(pl.lit(as_of, pl.Int64))[_EVENTS] > fixed[_EVENTS]
    found = pl.Series(_VALUE, fixed[_VALUE], nan_to_null=True)
    return (found if label.absent is None else found.fill_null(float(label.absent))), pl.Series(late)


def window_values(
    spine: pl.DataFrame, label: Label, source: Source, outcomes: pl.DataFrame, entity: Sequence[str]
) -> NDArray[np.float64]:
    """Return a window label's aggregate over ``[t - over, t)`` of each row, as known at ``_known_at``.

    Parameters
    ----------
    entity : columns that name the entity of a label whose `key` is none
    """
    assert label.window is not None
    found = _before(spine, label, label.window, source, outcomes, entity)[_VALUE]
    return found if label.absent is None else np.where(np.isnan(found), float(label.absent), found)


def _before(
    spine: pl.DataFrame,
    label: Label,
    measure: Measure,
    source: Source,
    outcomes: pl.DataFrame,
    entity: Sequence[str],
) -> dict[str, NDArray[np.float64]]:
    """Return the aggregate of a window label before each row's time, and the number of events in it."""
    from holdfast.features.materialize import measures_as_known

    columns = tuple(entity) if label.key is None else (label.key,)
    if not columns:
        raise DefinitionError(
            f"a label over a window of `{label.source}` needs the key of its rows.",
            code="HF103",
            at="label.key",
        )
    over = Window(measure.window.over, 0, 0)
    value = replace(measure, name=_VALUE, window=over)
    events = Measure(_EVENTS, "count", over, None, measure.where)
    view = View("label", source.name, Entity("row", columns), (value, events))
    rows = spine.select(*dict.fromkeys(columns), T, KNOWN_AT)
    return measures_as_known((view,), {source.name: source.schema}, rows, {source.name: outcomes})
