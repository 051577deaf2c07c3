"""Snapshots: immutable, content-addressed datasets with the recipe that made them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.datasets.forecast import Forecast
from holdfast.datasets.label import Label
from holdfast.datasets.profile import Profile
from holdfast.datasets.spine import Grid
from holdfast.datasets.split import Boundaries
from holdfast.features.view import FeaturePlan
from holdfast.kernel.errors import ContractError, DeterminismError
from holdfast.kernel.expr import Expr
from holdfast.kernel.ids import digest, fingerprint, short, to_data

LABEL = "_label"
PART = "_part"
WEIGHT = "_weight"
ROW_PREFIX = "row."
"""Before the name of a spine column that a snapshot keeps."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines a snapshot's content.

    Attributes
    ----------
    project : fingerprint of the compiled project
    plan : the feature plan, with the vocabularies fitted on the training part
    tables : version of each lake table that was read
    as_of : microseconds; nothing that arrived later was used
    arrival_basis : number of rows by basis, per source read
    counts
        Rows by fate: ``spine`` is the sum of ``immature``, ``unlabelled``, ``censored``, ``earlier`` (before
        the training part), ``untested`` (test rows where `test_where` is not true) and the parts ``train``,
        ``validation``, ``gap``, ``test``; ``late_labels`` are those whose outcome came too late.
    test_where : condition of the rows a model is tested on; none means all of the test part
    grid, forecast : what the rows are, where they are not events, and the horizons each origin has rows for
    """

    project: str
    model: str
    plan: FeaturePlan
    label: Label
    boundaries: Boundaries
    tables: dict[str, int]
    as_of: int
    arrival_basis: dict[str, dict[str, int]]
    counts: dict[str, int]
    test_where: Expr | None = None
    grid: Grid | None = None
    forecast: Forecast | None = None

    @property
    def learnt_until(self) -> int:
        """End of what the learnt parts are about, microseconds; of a forecast, of its targets."""
        ahead = 0
        if self.forecast is not None and self.grid is not None:
            ahead = self.forecast.reach(self.grid.every, 0)
        return self.boundaries.validation_end + ahead


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A dataset and its name.

    Attributes
    ----------
    id : ``d-`` and the hash of recipe and content
    content : digest of the rows' bytes
    profile : per-column profile of the training part, the baseline of monitoring
    frame
        (n, ...) rows: ``_key``, ``_t``, ``_known_at``, entity keys and other spine columns under their
        names prefixed by ``row.``, features by name (float64), ``_label``, ``_weight``, ``_part``; rows of a
        forecast also ``_scale``, and with a seasonal baseline ``_baseline``.
    """

    id: str
    content: str
    recipe: Recipe
    profile: Profile
    frame: pl.DataFrame

    def describe(self) -> dict[str, Any]:
        """Return the sizes and dates a person asks for first."""
        return {"id": self.id, "rows": self.frame.height, "as_of": self.recipe.as_of, **self.recipe.counts}


def content_of(frame: pl.DataFrame) -> str:
    """Return the digest of the canonical bytes of every column, whatever the order of the columns.

    Float64 enters as its bits, every NaN as the same one; int64 and booleans as little-endian numbers; texts
    as their lengths and UTF-8 bytes; nulls are told from values. The order of rows counts.

    Raises
    ------
    ContractError
        If a column has another type.
    """
    return digest(part for name in sorted(frame.columns) for part in _bytes(name, frame[name]))


def snapshot_id(recipe: Recipe, content: str) -> str:
    """Return the name of a snapshot: ``d-`` and the hash of recipe and content."""
    stored = to_data(recipe)
    for name in ("test_where", "grid", "forecast"):
        if stored[name] is None:
            del stored[name]  # datasets built before there were such things keep their names
    return f"d-{fingerprint({'recipe': stored, 'content': content})}"


def seal(recipe: Recipe, profile: Profile, frame: pl.DataFrame) -> Snapshot:
    """Return the snapshot of these rows under the name of their content."""
    content = content_of(frame)
    return Snapshot(snapshot_id(recipe, content), content, recipe, profile, frame)


def verify(snapshot: Snapshot) -> None:
    """Check that the rows have the recorded content, and recipe and content the recorded name.

    Raises
    ------
    DeterminismError
        If they do not (HF500).
    """
    content = content_of(snapshot.frame)
    if content != snapshot.content:
        raise DeterminismError(
            f"the rows of dataset `{snapshot.id}` have content {short(content)}, "
            f"recorded is {short(snapshot.content)}.",
            hint="its rows were altered after it was built; build it again from its recipe",
        )
    named = snapshot_id(snapshot.recipe, content)
    if named != snapshot.id:
        raise DeterminismError(
            f"the recipe and content of dataset `{snapshot.id}` have the name `{named}`.",
            hint="its recipe was altered after it was built; build it again",
        )


def check_trainable(frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Check what a training function may rely on: float64 features without infinities, and finite labels.

    Parameters
    ----------
    names : the features

    Raises
    ------
    ContractError
        At the first column that breaks this (HF202 for a type, HF206 for a value), with the first such row.
    """
    for name in (*names, LABEL, WEIGHT):
        column = frame[name]
        if column.dtype != pl.Float64 or column.null_count():
            raise ContractError(
                f"column `{name}` must be float64 without nulls; found {column.dtype} with "
                f"{column.null_count()} nulls.",
                code="HF202",
                at=name,
            )
        values = column.to_numpy()
        bad = np.isinf(values) if name in names else ~np.isfinite(values)
        if bad.any():
            row = int(bad.argmax())
            raise ContractError(
                f"column `{name}` must hold {'finite or missing' if name in names else 'finite'} values; "
                f"found {float(values[row])!r} in {int(bad.sum())} rows.",
                code="HF206",
                at=f"{name}[{row}]",
                hint=f"the first is row {frame['_key'][row]!r}" if "_key" in frame.columns else "",
            )


def _bytes(name: str, column: pl.Series) -> Iterator[bytes | memoryview]:
    """Yield the canonical bytes of one column: head, validity, values."""
    yield f"{name}\0{column.dtype}\0{column.len()}\0".encode()
    if column.null_count():
        yield b"nulls"
        yield np.packbits(column.is_null().to_numpy(), bitorder="little").tobytes()
    match column.dtype:
        case pl.Float64:
            values: NDArray[Any] = column.fill_null(0.0).to_numpy()
            yield _buffer(np.where(np.isnan(values), np.nan, values).astype("<f8"))
        case pl.Int64:
            yield _buffer(column.fill_null(0).to_numpy().astype("<i8"))
        case pl.Boolean:
            yield _buffer(column.fill_null(False).to_numpy().astype("u1"))
        case pl.String:
            texts = column.fill_null("")
            yield _buffer(texts.str.len_bytes().to_numpy().astype("<i8"))
            yield texts.str.join("").item().encode()
        case _:
            raise ContractError(
                f"column `{name}` of a dataset is {column.dtype}.",
                code="HF202",
                at=name,
                has=("Float64", "Int64", "Boolean", "String"),
            )


def _buffer(values: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(values).data.cast("B") if values.size else memoryview(b"")
