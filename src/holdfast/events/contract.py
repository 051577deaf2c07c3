"""The data contract of a schema: parsed raw rows, judged by its rule table.

Every way in (CSV, JSON lines, Parquet, requests) differs in parsing only. What it parsed is judged here, by
the same rules in the same order, so the same row has the same verdict, reason and stored values whichever way
it came. The first rule that fails is the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from holdfast.events.cells import all_missing, judge_column
from holdfast.events.identity import digest_rows
from holdfast.events.reason import Reason, explain
from holdfast.events.rule import Codes, RuleTable
from holdfast.kernel.errors import ContractError, did_you_mean


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of each row of a frame.

    Attributes
    ----------
    stored : (n,) rows in stored types and column order; a cell that broke a rule is null
    codes : (n,) code without its `HF`, 0 where the row is accepted
    places : (n,) position of the column that broke its rule; meaningless where the row is accepted
    """

    table: RuleTable
    raw: pl.DataFrame
    stored: pl.DataFrame
    codes: Codes
    places: NDArray[np.int32]

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """(n,) whether the row obeys every rule."""
        return np.equal(self.codes, 0)

    def reasons(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Reason]:
        """Return the reason of each of these refused rows."""
        out = []
        for row in rows:
            rule = self.table.rules[self.places[row]]
            code = int(self.codes[row])
            value = python_value(self.raw[rule.column], int(row)) if rule.column in self.raw.columns else None
            out.append(Reason(f"HF{code}", rule.column, explain(rule, code, value)))
        return out


def python_value(values: pl.Series, row: int) -> Any:
    """Return one value of a raw column; of a time that Python cannot say, its number of units."""
    try:
        return values[row]
    except (OverflowError, ValueError):
        return values.to_physical()[row]


def judge(
    table: RuleTable, raw: pl.DataFrame, *, not_text: Mapping[str, NDArray[np.bool_]] | None = None
) -> Verdict:
    """Judge parsed raw rows, one rule table for every way in.

    Parameters
    ----------
    raw : (n,) rows
        Columns hold text as it was written, or the typed values of a file that has types. Columns that the
        table does not know are ignored; absent ones are missing in every row. Empty text is missing.
    not_text
        By column, (n,) whether a text came from something that was not text, such as a JSON number.

    Notes
    -----
    Vectorised where a value is in a usual form; any other value is decided exactly, one by one.
    Law: equal verdicts for every format (tests/laws/test_rule_table.py).
    """
    n = raw.height
    codes = np.zeros(n, np.uint16)
    places = np.zeros(n, np.int32)
    stored: list[pl.Series] = []
    for place, rule in enumerate(table.rules):
        if rule.made:
            stored.append(pl.repeat(None, n, dtype=pl.String(), eager=True).alias(rule.column))
            continue
        if rule.column in raw.columns:
            alien = None if not_text is None else not_text.get(rule.column)
            cells, found = judge_column(rule, raw[rule.column], alien)
        else:
            cells, found = all_missing(rule, n)
        stored.append(cells.alias(rule.column))
        if found.any():
            first = (found != 0) & (codes == 0)
            codes[first] = found[first]
            places[first] = place
    rows = pl.DataFrame(stored)
    if table.made is not None:
        ids = pl.Series([digest.hex() for digest in digest_rows(rows, table.given)], dtype=pl.String())
        rows = rows.with_columns(ids.set(pl.Series(codes != 0), None).alias(table.made))
    return Verdict(table, raw, rows, codes, places)


def judge_one(table: RuleTable, row: Mapping[str, Any]) -> tuple[dict[str, Any], None] | tuple[None, Reason]:
    """Judge one row of Python values: its stored values, or the reason why not.

    Numbers may be int, float, Decimal or text; times are text or datetimes.
    """
    cells: dict[str, pl.Series] = {}
    alien: dict[str, NDArray[np.bool_]] = {}
    for rule in table.rules:
        if rule.made:
            continue
        value = row.get(rule.column)
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC)
        if isinstance(value, date):
            value = value.isoformat()
        elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            value, alien[rule.column] = str(value), np.ones(1, np.bool_)
        elif value is not None and not isinstance(value, (str, float, bool)):
            value, alien[rule.column] = repr(value), np.ones(1, np.bool_)
        cells[rule.column] = pl.Series([value], dtype=pl.String if isinstance(value, str) else None)
    verdict = judge(table, pl.DataFrame(cells), not_text=alien)
    if verdict.codes[0]:
        return None, verdict.reasons([0])[0]
    return verdict.stored.row(0, named=True), None


def check_columns(table: RuleTable, found: Sequence[str], *, name: str, may_omit: bool = False) -> None:
    """Refuse a file whose columns are not those of the table.

    Parameters
    ----------
    found : columns the file has
    name : the file, for the message
    may_omit : whether a row may leave a column out (JSON lines), so that absence is judged row by row

    Raises
    ------
    ContractError
        If a column is unknown, or a required one is absent (HF209).
    """
    unknown = [column for column in found if column not in table.given]
    absent = [r.column for r in table.rules if r.required and not r.made and r.column not in found]
    if not unknown and (may_omit or not absent):
        return
    facts, hints = [], []
    for column in unknown:
        if column == table.made:
            facts.append(f"column `{column}`, which is made of the content of the others")
            hints.append(f"drop it, or mark `{column}` hf.event_id() without content=True")
            continue
        facts.append(f"column `{column}`, which schema `{table.schema}` does not have")
        hints.append(did_you_mean(column, [each for each in table.given if each not in found]))
    message = f"{name} has {', and '.join(facts)}." if facts else ""
    if absent and not may_omit:
        listed = ", ".join(f"`{column}`" for column in absent)
        message += f"{' It' if message else name} lacks the required {listed}."
    raise ContractError(
        message,
        code="HF209",
        at=name,
        has=tuple(found),
        hint="; ".join(dict.fromkeys(filter(None, hints))) or f"expected {', '.join(table.given)}",
    )
