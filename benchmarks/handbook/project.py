"""Card fraud as the Fraud Detection Handbook's published data has it: simulated, five months, 1.47M rows.

Two models over the same rows and the same split: `published` has the handbook's fifteen features, said in
windows that end strictly before the row; `own` has features of ours. `every_row` is there for the comparison
of the features with the published ones, over all rows, and is never trained.
"""

from datetime import datetime
from decimal import Decimal

import holdfast as hf


class Transaction(hf.Event):
    tx_id: int = hf.event_id()
    at: datetime = hf.event_time()
    card_id: int
    terminal_id: int
    amount: Decimal = hf.field(scale=2, ge=0, le=100_000)


class FraudReport(hf.Event):  # event time: the transaction's; arrival: when the fraud became known
    tx_id: int = hf.event_id()
    at: datetime = hf.event_time()
    reported_at: datetime = hf.arrival_time()
    card_id: int
    terminal_id: int


project = hf.Project("handbook", owner="benchmarks")
transactions = project.source("transactions", Transaction, known_after="0s")
reports = project.source("reports", FraudReport)
card = hf.Entity("card", key="card_id")
terminal = hf.Entity("terminal", key="terminal_id")

DELAY = "7d"


# --- as published -------------------------------------------------------------------------------------


@project.view(transactions, entity=card)
def card_windows(tx):
    counts = {f"card_count_{w}": tx.count(over=w, hop="0s") for w in ("1d", "7d", "30d")}
    sums = {f"card_sum_{w}": tx.amount.sum(over=w, hop="0s") for w in ("1d", "7d", "30d")}
    return counts | sums


@project.view(transactions, entity=terminal)
def terminal_windows(tx):
    return {f"terminal_count_{w}": tx.count(over=w, offset=DELAY, hop="0s") for w in ("1d", "7d", "30d")}


@project.view(reports, entity=terminal)
def terminal_reports(report):
    return {f"terminal_fraud_{w}": report.count(over=w, offset=DELAY, hop="0s") for w in ("1d", "7d", "30d")}


@project.view(reports, entity=card)
def card_known(report):  # whole days, the last one a week before the row's day
    return {f"known_{n}d": report.count(over=f"{n}d", offset=DELAY, hop="1d") for n in range(7, 14)}


def not_known(x):
    """Whether no fraud of the card since the training week began is known on the row's day.

    The parts are whole weeks from Wednesday on, so the day of the week tells how many days ago that was.
    """
    known = x.known_7d
    for weekday, days in ((3, 8), (4, 9), (5, 10), (6, 11), (0, 12), (1, 13)):
        known = hf.where(x.at.weekday() == weekday, x[f"known_{days}d"], known)
    return known == 0


@project.features(Transaction, card_windows, terminal_windows, terminal_reports, card_known)
def published_features(x):  # the published windows hold the row itself where ours end before it
    features = {"amount": x.amount, "weekend": x.at.weekday() >= 5, "night": x.at.hour() <= 6}
    for w in ("1d", "7d", "30d"):
        count, total = x[f"card_count_{w}"], x[f"card_sum_{w}"]
        features[f"customer_id_nb_tx_{w}"] = count + 1
        features[f"customer_id_avg_amount_{w}"] = (total.fill(0) + x.amount) / (count + 1)
    for w in ("1d", "7d", "30d"):
        frauds, count = x[f"terminal_fraud_{w}"], x[f"terminal_count_{w}"]
        features[f"terminal_id_nb_tx_{w}"] = count
        features[f"terminal_id_risk_{w}"] = (frauds / count).fill(0)
    return features


LABEL = hf.Label(reports, key="tx_id", horizon=DELAY, absent=0)
WEEKS = hf.TimeSplit(train="7d", validation="0s", gap="7d", test="7d", every="1d")


@project.model(published_features, label=LABEL)
def every_row(data, params, run):
    raise NotImplementedError("its dataset is compared with the published features; it is not trained")


