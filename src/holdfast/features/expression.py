"""Binds a feature plan to a compiled program: spine columns and measures in, the model's columns out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.features.view import FeaturePlan, measure_type
from holdfast.kernel.errors import ContractError, DefinitionError, Problem
from holdfast.kernel.expr import Expr
from holdfast.kernel.program import Columns, Program, lower
from holdfast.kernel.schema import Column, ColumnType, Schema


@dataclass(frozen=True, slots=True, eq=False)
class CompiledPlan:
    """A feature plan that can be evaluated, for a batch of spine rows or for one.

    Attributes
    ----------
    columns : names of the spine's columns that the features read
    measures : names of the views' measures that the features read
    """

    plan: FeaturePlan
    program: Program
    columns: tuple[str, ...]
    measures: tuple[str, ...]

    def evaluate(
        self, spine: pl.DataFrame, measures: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return the features of each row of the spine.

        Parameters
        ----------
        spine : (n,) rows in the lake's types, with at least `columns`
        measures : (n,) float64 by name, NaN where missing, with at least `measures`

        Returns
        -------
        (n, k) float64, C-ordered, in the order of ``plan.names``; categorical features are codes.

        Raises
        ------
        ContractError
            If a column or measure is absent, or has another type or length.
        """
        _require(self.columns, spine.columns, "column")
        _require(self.measures, measures, "measure")
        values: dict[str, pl.Series | NDArray[np.float64]] = {name: spine[name] for name in self.columns}
        values |= {name: measures[name] for name in self.measures}
        return self.program.run(self.program.encode(values, spine.height))

    def evaluate_row(self, row: Mapping[str, Any], measures: Mapping[str, float]) -> NDArray[np.float64]:
        """Return the (k,) features of one row of stored values, by the same machine code.

        Raises
        ------
        ContractError
            If a column or measure is absent or has another type.
        """
        _require(self.columns, row, "column")
        _require(self.measures, measures, "measure")
        return self.program.run_row({**row, **measures} if self.measures else row)


def compile_plan(plan: FeaturePlan) -> CompiledPlan:
    """Lower the features of a plan to one program.

    Raises
    ------
    DefinitionError
        If an expression has problems, or a measure has the name of a spine column or of another measure and
        a feature reads it. Problems stand at ``features.<set>.<feature>``.
    """
    types: dict[str, Column | ColumnType] = {column.name: column for column in plan.schema.columns}
    measures: set[str] = set()
    ambiguous: set[str] = set()
    for view in plan.views:
        for measure in view.measures:
            if measure.name in types:
                ambiguous.add(measure.name)
            measures.add(measure.name)
            types[measure.name] = measure_type(measure, plan.sources[view.source])
    set_name = plan.features.name
    pairs = [(feature.name, feature.expr) for feature in plan.features.features]
    try:
        program = lower(pairs, types, plan.vocabularies, measures)
    except DefinitionError as error:
        raise DefinitionError(
            Problem(p.code, p.message, f"features.{set_name}.{p.at}", p.place, p.has, p.hint, p.severity)
            for p in error.problems
        ) from None
    names = [column.name for column in program.inputs]
    problems = [
        Problem(
            "HF101",
            f"`{name}` names a measure and another column or measure that the features can read.",
            at=f"features.{set_name}",
            hint="rename the measure",
        )
        for name in names
        if name in ambiguous
    ]
    if problems:
        raise DefinitionError(problems)
    return CompiledPlan(
        plan,
        program,
        columns=tuple(name for name in names if name not in measures),
        measures=tuple(name for name in names if name in measures),
    )


def filter_mask(expr: Expr, schema: Schema, frame: pl.DataFrame) -> NDArray[np.bool_]:
    """Return the rows where an expression over the events' own columns is true: not missing, not zero.

    Parameters
    ----------
    frame : (n,) rows in the lake's types

    Returns
    -------
    (n,) bool

    Raises
    ------
    DefinitionError
        If the expression has problems over this schema.
    ContractError
        If a column is absent or has another type.
    """
    program = lower([("where", expr)], {column.name: column for column in schema.columns})
    names = [column.name for column in program.inputs]
    _require(names, frame.columns, "column")
    columns: Columns = {name: frame[name] for name in names}
    value = program.run(program.encode(columns, frame.height))[:, 0]
    mask: NDArray[np.bool_] = (value != 0.0) & ~np.isnan(value)
    return mask


def _require(names: tuple[str, ...] | list[str], given: Any, what: str) -> None:
    """Raise unless all names are given."""
    absent = [name for name in names if name not in given]
    if absent:
        raise ContractError(
            f"{what} `{absent[0]}` is needed and absent.", code="HF209", has=tuple(sorted(map(str, given)))
        )
