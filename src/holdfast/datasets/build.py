"""The verb of the datasets stage: a spine, its labels and its features become one named snapshot.

It comes after events were ingested and before a model is trained. The same inputs give the same snapshot,
bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from holdfast.datasets.forecast import BASELINE, SCALE, Forecast, about, at_horizons, scales, seasonal_naive
from holdfast.datasets.label import Label, Labels, attach_labels
from holdfast.datasets.ports import VersionedReader
from holdfast.datasets.profile import profile
from holdfast.datasets.snapshot import (
    LABEL,
    PART,
    ROW_PREFIX,
    WEIGHT,
    Recipe,
    Snapshot,
    check_trainable,
    seal,
)
from holdfast.datasets.spine import (
    HORIZON,
    KNOWN_AT,
    ROW_KEY,
    TARGET,
    Grid,
    T,
    event_spine,
    event_time_of,
    grid_spine,
)
from holdfast.datasets.split import PARTS, Boundaries, TimeSplit, fits, resolve
from holdfast.datasets.vocabulary import coded_columns, fit_vocabularies
from holdfast.events.source import ARRIVED, BASIS, Source
from holdfast.features.materialize import materialize, texts_as_known
from holdfast.features.view import Feature, FeaturePlan, FeatureSet
from holdfast.kernel.errors import ContractError, NotFoundError, did_you_mean
from holdfast.kernel.expr import Expr, to_text
from holdfast.kernel.ids import canonical_json, from_data
from holdfast.kernel.ports import NoProgress, Progress
from holdfast.kernel.schema import Schema
from holdfast.kernel.time import format_duration, format_instant


def build(
    model: str,
    plan: FeaturePlan,
    label: Label,
    spine: Source | Grid,
    sources: Mapping[str, Source],
    split: TimeSplit,
    lake: VersionedReader,
    *,
    project: str,
    as_of: int | None = None,
    versions: Mapping[str, int] | None = None,
    decisions: pl.DataFrame | None = None,
    keys: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    test_where: Expr | None = None,
    forecast: Forecast | None = None,
    season: int | None = None,
    progress: Progress | None = None,
) -> Snapshot:
    """Build the dataset of a model.

    Parameters
    ----------
    plan : features as declared; their vocabularies are fitted here, on the training part
    spine : the source whose events are the rows, or a grid
    sources : every source of the project, by name
    project : fingerprint of the compiled project
    as_of
        Microseconds; nothing that arrived later is used. None means the greatest arrival in the tables read.
    versions
        Version of each lake table to read; a table not named is read at its latest version when the build
        begins. With the recipe's own `tables` and `as_of` a snapshot is built again.
    decisions : recommendations served before, as ``_key`` and ``decision``, first attempt first
    keys : entity key columns the snapshot keeps; none means those of the grid, or of the plan's views
    keep : other spine columns the snapshot keeps; decimals become float64 in their own unit
    test_where
        Condition over what the features may read, as known at the row; rows of the test part where it is not
        true are left out.
    forecast
        Horizons at which each origin of a grid becomes a row, its label that of the step the row is about. An
        origin has rows once all of them have labels.
    season
        Microseconds; each row of a grid keeps the value of the label that many before, as known at its
        origin.

    Raises
    ------
    ContractError
        If the events do not suffice for a dataset (HF212), or a feature or label is not fit for training.
    NotFoundError
        If a table or version does not exist.

    Notes
    -----
    Versions are fixed before the first row is read, and only those are read.
    Laws (tests/laws/test_datasets.py): events that arrive after `as_of` and the order of rows in the lake
    change nothing; every mature row lands in exactly one part.
    """
    tell = NoProgress() if progress is None else progress
    tell.start(f"dataset for `{model}`", 4)
    try:
        tables = _versions(lake, _tables(plan, label, spine), versions or {})
        arrivals = {name: lake.read(name, [ARRIVED, BASIS], version=at) for name, at in tables.items()}
        limit = _latest(_of_the_past(arrivals, plan, label, spine)) if as_of is None else as_of
        origins = rows = _spine(spine, sources, lake, tables, limit)
        reach = label.horizon
        if forecast is not None and isinstance(spine, Grid):
            reach = forecast.reach(spine.every, label.horizon)
            rows = _at_horizons(origins, spine, forecast)
        tell.advance(1)

        outcomes = _outcomes(label, sources, lake, tables, limit)
        labels = _labels(rows, label, spine, sources, outcomes, limit, decisions, reach)
        labelled = _labelled(rows, labels, label, limit, reach)
        try:
            boundaries = resolve(split, labelled[T].to_numpy(), reach)
        except ContractError as error:
            last = _latest(_of_the_past(arrivals, plan, label, spine))
            if as_of is not None and as_of < last:
                all_rows = _spine(spine, sources, lake, tables, last)[T].to_numpy()
                if fits(split, all_rows[all_rows + reach <= last], reach):
                    raise _too_early(error, as_of, last) from error
            raise
        if isinstance(spine, Grid):
            source = sources[label.source]
            if season is not None:
                naive = seasonal_naive(labelled, label, source, outcomes, spine, season)
                labelled = labelled.with_columns(pl.Series(BASELINE, naive))
            if forecast is not None:
                since = origins.filter(pl.col(T) >= boundaries.start)
                moves = scales(
                    since, label, source, outcomes, spine, as_of=limit, train_end=boundaries.train_end
                )
                labelled = labelled.join(moves, on=spine.key, how="left", maintain_order="left")
        used = labelled.filter(pl.col(T) >= boundaries.start)
        earlier = labelled.height - used.height
        labelled = used if test_where is None else _tested(used, plan, test_where, boundaries, lake, tables)
        parts = boundaries.parts(labelled[T].to_numpy())
        train = parts == PARTS.index("train")
        tell.advance(1)

        known = labelled.filter(pl.Series(train))
        texts = texts_as_known(plan, coded_columns(plan), known.drop(LABEL), lake, versions=tables)
        fitted = replace(plan, vocabularies=fit_vocabularies(plan, known.with_columns(texts)))
        x = materialize(fitted, labelled.drop(LABEL), lake, versions=tables)
        tell.advance(1)

        own = (HORIZON, TARGET) if forecast is not None else ()
        kept = (*keep, *own)
        frame = _frame(labelled, fitted, x, parts, _keys(plan, spine) if keys is None else keys, kept)
        check_trainable(frame, fitted.names)
        counts: dict[str, int] = {
            "spine": rows.height,
            "immature": labels.count("immature"),
            "unlabelled": labels.count("unlabelled"),
            "censored": labels.count("censored"),
            "earlier": earlier,
            "untested": used.height - labelled.height,
            "late_labels": int(labels.late.sum()),
            **{part: int((parts == index).sum()) for index, part in enumerate(PARTS)},
        }
        recipe = Recipe(
            project=project,
            model=model,
            plan=fitted,
            label=label,
            boundaries=boundaries,
            tables=tables,
            as_of=limit,
            arrival_basis={name: _basis(frame, limit) for name, frame in arrivals.items()},
            counts=counts,
            test_where=test_where,
            grid=spine if isinstance(spine, Grid) else None,
            forecast=forecast,
        )
        y = frame[LABEL].to_numpy()
        summary = profile(fitted.names, fitted.categorical, x[train], y[train])
        # As it will be read again: to a declared float 1 and 1.0 are one number, to a hash of its text two.
        recipe = from_data(Recipe, json.loads(canonical_json(recipe)))
        snapshot = seal(recipe, summary, frame)
        tell.advance(1)
        return snapshot
    finally:
        tell.finish()


def _too_early(error: ContractError, as_of: int, last: int) -> ContractError:
    """Return the same error with the remedy for a time in the middle of what is stored."""
    found = error.problem
    return ContractError(
        found.message,
        code=found.code,
        at=found.at,
        has=found.has,
        hint=f"--as-of {format_instant(as_of)} leaves out what arrived later, up to {format_instant(last)}; "
        "with it the rows can be split: give a later time, or none",
    )


def _tables(plan: FeaturePlan, label: Label, spine: Source | Grid) -> tuple[str, ...]:
    """Return the names of the lake tables a build reads, the spine's first."""
    rows = spine.source if isinstance(spine, Grid) else spine.name
    return tuple(dict.fromkeys((rows, label.source, *(view.source for view in plan.views))))


def _versions(lake: VersionedReader, names: Sequence[str], wanted: Mapping[str, int]) -> dict[str, int]:
    found = {}
    for name in names:
        version = wanted.get(name, lake.version(name))
        if version is None:
            raise ContractError(
                f"the lake has no table `{name}`, which the dataset reads.",
                code="HF212",
                at=name,
                hint=f"ingest events of `{name}` first",
            )
        found[name] = version
    return found


def _of_the_past(
    arrivals: Mapping[str, pl.DataFrame], plan: FeaturePlan, label: Label, spine: Source | Grid
) -> dict[str, pl.DataFrame]:
    """Return the tables that say how far the past is known: a plan for next year says nothing of today."""
    ahead = {view.source for view in plan.views if view.looks_ahead}
    ahead -= {view.source for view in plan.views if not view.looks_ahead}
    ahead -= {label.source, spine.source if isinstance(spine, Grid) else spine.name}
    return {name: frame for name, frame in arrivals.items() if name not in ahead}


def _latest(arrivals: Mapping[str, pl.DataFrame]) -> int:
    latest = [int(top) for frame in arrivals.values() if (top := frame[ARRIVED].max()) is not None]  # type: ignore[arg-type]
    if not latest:
        raise ContractError(
            "the tables the dataset reads hold no events.",
            code="HF212",
            has=tuple(f"{name} 0 rows" for name in arrivals),
            hint=f"ingest events of `{next(iter(arrivals))}` first",
        )
    return max(latest)


def _source(sources: Mapping[str, Source], name: str) -> Source:
    if name not in sources:
        raise NotFoundError(
            f"there is no source `{name}`.", has=tuple(sorted(sources)), hint=did_you_mean(name, sources)
        )
    return sources[name]


def _spine(
    spine: Source | Grid,
    sources: Mapping[str, Source],
    lake: VersionedReader,
    tables: Mapping[str, int],
    as_of: int,
) -> pl.DataFrame:
    """Return the rows known at `as_of`, by time and key."""
    known = pl.col(ARRIVED) <= as_of
    if isinstance(spine, Grid):
        source = _source(sources, spine.source)
        when = event_time_of(source.schema)
        seen = lake.read(source.name, [*spine.key, when, ARRIVED], where=known, version=tables[source.name])
        first = seen[when].to_physical().min()
        rows = grid_spine(spine, source, seen, 0 if first is None else int(first), as_of + 1)  # type: ignore[arg-type]
        name = spine.source
    else:
        columns = [*spine.schema.names, ARRIVED]
        rows = event_spine(spine, lake.read(spine.name, columns, where=known, version=tables[spine.name]))
        name = spine.name
    if rows.height == 0:
        raise ContractError(
            f"no row to train on was known at {format_instant(as_of)}.",
            code="HF212",
            at=name,
            has=(f"`{name}` at version {tables[name]}",),
        )
    repeated = int(rows.select(T, ROW_KEY).is_duplicated().sum())
    if repeated:
        raise ContractError(
            f"{repeated} rows of `{name}` share time and id with another, so they have no order.",
            code="HF210",
            at=name,
        )
    return rows.sort(T, ROW_KEY)


def _at_horizons(origins: pl.DataFrame, grid: Grid, forecast: Forecast) -> pl.DataFrame:
    """Return the rows of a forecast: origins as far apart as declared, each at every horizon."""
    chosen = origins
    if forecast.origins is not None:
        chosen = origins.filter(pl.col(T) % forecast.origins == 0)
    return at_horizons(chosen, grid.every, forecast.horizons).sort(T, ROW_KEY)


def _outcomes(
    label: Label,
    sources: Mapping[str, Source],
    lake: VersionedReader,
    tables: Mapping[str, int],
    as_of: int,
) -> pl.DataFrame:
    source = _source(sources, label.source)
    columns = [*source.schema.names, ARRIVED]
    return lake.read(source.name, columns, where=pl.col(ARRIVED) <= as_of, version=tables[source.name])


def _labels(
    rows: pl.DataFrame,
    label: Label,
    spine: Source | Grid,
    sources: Mapping[str, Source],
    outcomes: pl.DataFrame,
    as_of: int,
    decisions: pl.DataFrame | None,
    reach: int,
) -> Labels:
    source = sources[label.source]
    if not isinstance(spine, Grid):
        return attach_labels(rows, label, source, outcomes, as_of=as_of, decisions=decisions)
    found = attach_labels(
        about(rows), label, source, outcomes, as_of=as_of, decisions=decisions, entity=spine.key
    )
    # An origin with some of its horizons only would make the near ones count for more than the far ones.
    early = rows[T] + reach > as_of
    return Labels(
        found.values.set(early, None),
        found.fates.set(early, "immature"),
        found.late & ~early.to_numpy(),
    )


def _labelled(rows: pl.DataFrame, labels: Labels, label: Label, as_of: int, reach: int) -> pl.DataFrame:
    """Return the rows with a label, in their order, with it."""
    found = rows.with_columns(labels.values.alias(LABEL)).filter(labels.fates == "labelled")
    if found.height == 0:
        first = int(rows[T][0]) + reach
        mature = rows.height - labels.count("immature")
        raise ContractError(
            f"none of {rows.height} rows has a label known at {format_instant(as_of)}.",
            code="HF212",
            at="label",
            has=tuple(f"{name} {labels.count(name)}" for name in ("immature", "censored", "unlabelled")),
            hint=(
                f"outcomes of `{label.source}` join no row; an `absent` value labels rows without outcome"
                if mature
                else f"labels are fixed after {format_duration(reach)}: the first one at "
                f"{format_instant(first)}"
            ),
        )
    return found


def _tested(
    rows: pl.DataFrame,
    plan: FeaturePlan,
    condition: Expr,
    boundaries: Boundaries,
    lake: VersionedReader,
    tables: Mapping[str, int],
) -> pl.DataFrame:
    """Return the rows without those of the test part where the condition is false or missing."""
    reads = set(condition.columns())
    views = tuple(view for view in plan.views if reads & {measure.name for measure in view.measures})
    wanted = FeatureSet(
        plan.features.name, plan.features.spine, (Feature("test_where", condition),), plan.features.views
    )
    sources = {view.source: plan.sources[view.source] for view in views}
    in_test = pl.col(T) >= boundaries.test_start
    test = rows.filter(in_test)
    found = materialize(
        FeaturePlan(wanted, plan.schema, views, sources), test.drop(LABEL), lake, versions=tables
    )
    kept = test.filter(pl.Series(found[:, 0] > 0))  # missing is NaN, which is not above 0
    if kept.height == 0:
        raise ContractError(
            f"`test_where` is true for none of {test.height} rows of the test part.",
            code="HF212",
            at="test_where",
            has=(to_text(condition),),
        )
    return pl.concat([rows.filter(~in_test), kept])


def _keys(plan: FeaturePlan, spine: Source | Grid) -> tuple[str, ...]:
    own = spine.key if isinstance(spine, Grid) else ()
    return tuple(dict.fromkeys((*own, *(column for view in plan.views for column in view.entity.key))))


def _frame(
    rows: pl.DataFrame,
    plan: FeaturePlan,
    x: np.ndarray,
    parts: np.ndarray,
    keys: Sequence[str],
    keep: Sequence[str],
) -> pl.DataFrame:
    kept = dict.fromkeys((*keys, *(name for name in keep if name not in keys)))
    return rows.select(
        ROW_KEY,
        T,
        KNOWN_AT,
        *(_plain(plan.schema, name, key=name in keys).alias(f"{ROW_PREFIX}{name}") for name in kept),
        *(pl.Series(name, np.ascontiguousarray(x[:, index])) for index, name in enumerate(plan.names)),
        *(name for name in (BASELINE, SCALE) if name in rows.columns),
        pl.col(LABEL),
        pl.lit(1.0).alias(WEIGHT),
        pl.Series(PART, np.array(PARTS, dtype=object)[parts], dtype=pl.String),
    )


def _plain(schema: Schema, name: str, *, key: bool) -> pl.Expr:
    """Return a spine column as a snapshot keeps it: fixed point in its own unit, by one division."""
    column = schema.get(name)
    if column.is_fixed_point and not key:
        return pl.col(name).cast(pl.Float64) / float(10 ** (column.scale or 0))
    return pl.col(name).to_physical()


def _basis(arrivals: pl.DataFrame, as_of: int) -> dict[str, int]:
    """Return the number of rows known by then, by the basis of their arrival time."""
    counted = arrivals.filter(pl.col(ARRIVED) <= as_of).group_by(BASIS).len("n").sort(BASIS)
    return dict(zip(counted[BASIS].to_list(), counted["n"].to_list(), strict=True))
