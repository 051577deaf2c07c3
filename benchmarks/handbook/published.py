"""The published window features, row by row against ours, with every difference traced to its cause.

Nothing here excuses a difference: a cause is a rule that, from the raw rows alone, says which value it leads
to, and a row is explained only if that very value was published.

* *edge*: the published windows are ``(t - w, t]``, ours ``[t - w, t)``: an event at exactly ``t - w`` is only
  in ours; at exactly ``t - delay`` of a terminal window only in theirs, at ``t - delay - w`` only in ours.
* *tie*: of rows of one card at the same instant the published window holds those that came before the row in
  the order in which they were met; ours holds none of them. The order is read off the published counts, and
  then has to give every published value of the rows concerned.
* *rounding*: the published sum runs on over the card's whole history, each amount added as it enters and
  subtracted as it leaves, in floating point. Its errors stay; ours is exact. Repeating those very operations
  has to give the published average bit for bit.
"""

from dataclasses import dataclass

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

DAY = 86_400_000_000
DELAY = 7 * DAY
WINDOWS = (1, 7, 30)
CAUSES = ("edge", "tie", "rounding")


@dataclass(frozen=True)
class Column:
    """One published feature beside ours: which rows differ, and which of these no cause explains."""

    name: str
    differ: NDArray[np.bool_]
    causes: dict[str, NDArray[np.bool_]]
    largest: float

    @property
    def unexplained(self) -> NDArray[np.bool_]:
        return self.differ & ~np.logical_or.reduce(list(self.causes.values()))


def compare(ours: pl.DataFrame, transformed: pl.DataFrame) -> list[Column]:
    """Return the comparison of each of the twelve features, over the same rows in the order of `transformed`.

    Parameters
    ----------
    ours : features by name, with ``_key``
    transformed : the published table
    """
    keyed = transformed.with_columns(
        pl.col("tx_datetime").to_physical().alias("_t"),
        pl.col("transaction_id").cast(pl.String).alias("_key"),
    )
    rows = keyed.join(ours, on="_key", how="left", maintain_order="left", validate="1:1")
    return [*_of_cards(rows), *_of_terminals(rows)]


# --- cards --------------------------------------------------------------------------------------------


def _of_cards(rows: pl.DataFrame) -> list[Column]:
    """Compare counts and averages of the card."""
    met = rows.with_row_index("_place").sort("customer_id", "_t", "customer_id_nb_tx_30day_window", "_place")
    card, t = (met[name].to_numpy().astype(np.int64) for name in ("customer_id", "_t"))
    amount = met["tx_amount"].to_numpy()
    cents = np.rint(amount * 100).astype(np.int64)
    back = np.argsort(met["_place"].to_numpy())
    found = []
    for days in WINDOWS:
        w = days * DAY
        at_edge = window_sums(card, t, np.ones_like(t), -w, -w + 1)[0]
        at_edge_cents = window_sums(card, t, cents, -w, -w + 1)[1]
        earlier_ties, tied_cents = ties_before(card, t, cents)
        our_count = window_sums(card, t, cents, -w, 0)[0]
        our_cents = window_sums(card, t, cents, -w, 0)[1]
        mine, theirs = _pair(met, f"customer_id_nb_tx_{days}d", f"customer_id_nb_tx_{days}day_window")
        _agree(mine, our_count + 1)
        count = our_count + 1
        found.append(
            _column(
                f"customer_id_nb_tx_{days}day_window",
                mine,
                theirs,
                {
                    "edge": (at_edge > 0) & (count - at_edge + earlier_ties == theirs),
                    "tie": (earlier_ties > 0) & (count - at_edge + earlier_ties == theirs),
                },
                back,
            )
        )
        mine, theirs = _pair(
            met, f"customer_id_avg_amount_{days}d", f"customer_id_avg_amount_{days}day_window"
        )
        _agree(np.rint(mine * count * 100), our_cents + cents)
        their_count, their_sum = running_sums(card, t, amount, w)
        replayed = their_sum / their_count
        exact = (our_cents + cents - at_edge_cents + tied_cents) / (count - at_edge + earlier_ties) / 100
        same_rows = np.abs(exact - replayed) <= 1e-9 * np.maximum(1, np.abs(exact))
        predicted = (replayed == theirs) & same_rows & (their_count == count - at_edge + earlier_ties)
        found.append(
            _column(
                f"customer_id_avg_amount_{days}day_window",
                mine,
                theirs,
                {
                    "edge": predicted & (at_edge > 0),
                    "tie": predicted & (earlier_ties > 0),
                    "rounding": predicted & (at_edge == 0) & (earlier_ties == 0),
                },
                back,
            )
        )
    return found


# --- terminals ----------------------------------------------------------------------------------------


def _of_terminals(rows: pl.DataFrame) -> list[Column]:
    """Compare counts and shares of fraud of the terminal; rows tied with the row lie beyond the delay."""
    met = rows.with_row_index("_place").sort("terminal_id", "_t", "_place")
    terminal, t, fraud = (met[name].to_numpy().astype(np.int64) for name in ("terminal_id", "_t", "tx_fraud"))
    back = np.argsort(met["_place"].to_numpy())
    found = []
    for days in WINDOWS:
        low, high = -DELAY - days * DAY, -DELAY
        our_count, our_frauds = window_sums(terminal, t, fraud, low, high)
        left, left_frauds = window_sums(terminal, t, fraud, low, low + 1)
        entered, entered_frauds = window_sums(terminal, t, fraud, high, high + 1)
        count, frauds = our_count - left + entered, our_frauds - left_frauds + entered_frauds
        moved = (left > 0) | (entered > 0)
        share = np.divide(frauds, count, out=np.zeros(len(t)), where=count > 0)
        for ours, name, predicted in (
            (f"terminal_id_nb_tx_{days}d", f"terminal_id_nb_tx_{days}day_window", count),
            (f"terminal_id_risk_{days}d", f"terminal_id_risk_{days}day_window", share),
        ):
            mine, theirs = _pair(met, ours, name)
            found.append(_column(name, mine, theirs, {"edge": moved & (predicted == theirs)}, back))
    return found


# --- arithmetic ---------------------------------------------------------------------------------------


def _pair(rows: pl.DataFrame, ours: str, theirs: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rows[ours].to_numpy(), rows[theirs].cast(pl.Float64).to_numpy()


def _agree(ours: NDArray[np.float64], plain: NDArray[np.float64]) -> None:
    """Check ours against the plain windows the causes start from; else a cause would prove nothing."""
    wrong = int((ours != plain).sum())
    if wrong:
        raise SystemExit(f"{wrong} rows of ours are not what the windows strictly before them hold")


def _column(
    name: str,
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    causes: dict[str, NDArray[np.bool_]],
    back: NDArray[np.int64],
) -> Column:
    differ = ours != theirs
    return Column(
        name,
        differ[back],
        {cause: (differ & holds)[back] for cause, holds in causes.items()},
        float(np.abs(ours - theirs)[differ].max(initial=0.0)),
    )


@numba.njit(cache=True)
def window_sums(key, t, value, low, high):
    """Count of rows and sum of values in ``[t + low, t + high)`` of the same key; rows by key and time."""
    n = len(key)
    count, total = np.zeros(n, np.int64), np.zeros(n, np.int64)
    start = begin = end = 0
    inside = np.int64(0)
    for i in range(n):
        if i == 0 or key[i] != key[i - 1]:
            start = begin = end = i
            inside = np.int64(0)
        while end < n and key[end] == key[start] and t[end] < t[i] + high:
            inside += value[end]
            end += 1
        while begin < end and t[begin] < t[i] + low:
            inside -= value[begin]
            begin += 1
        count[i], total[i] = end - begin, inside
    return count, total


@numba.njit(cache=True)
def ties_before(key, t, value):
    """Count and sum of the earlier rows of the same key and instant."""
    n = len(key)
    count, total = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for i in range(1, n):
        if key[i] == key[i - 1] and t[i] == t[i - 1]:
            count[i], total[i] = count[i - 1] + 1, total[i - 1] + value[i - 1]
    return count, total


@numba.njit(cache=True)
def running_sums(key, t, value, w):
    """Count and running sum over ``(t - w, t]``: what leaves is subtracted, then what enters is added."""
    n = len(key)
    count, total = np.zeros(n, np.int64), np.zeros(n)
    begin, running = 0, 0.0
    for i in range(n):
        if i == 0 or key[i] != key[i - 1]:
            begin, running = i, 0.0
        while t[begin] <= t[i] - w:
            running -= value[begin]
            begin += 1
        running += value[i]
        count[i], total[i] = i - begin + 1, running
    return count, total
