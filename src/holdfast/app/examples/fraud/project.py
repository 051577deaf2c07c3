"""Card fraud in real time: transactions in, block / review / allow out; chargebacks come days later."""

from datetime import datetime
from decimal import Decimal

import holdfast as hf


class Transaction(hf.Event):
    tx_id: str = hf.event_id(max_length=40)
    at: datetime = hf.event_time()
    card_id: str = hf.field(max_length=40)
    terminal_id: str = hf.field(max_length=40)
    device_id: str | None = hf.field(max_length=40, doc="missing when the card was present")
    channel: str = hf.field(one_of=["present", "online"])
    amount: Decimal = hf.field(scale=2, ge=0, le=100_000, doc="euros")
    country: str | None = hf.field(max_length=2)


class Chargeback(hf.Event):  # event time: the transaction's; arrival: when the report came in
    tx_id: str = hf.event_id(max_length=40)
    at: datetime = hf.event_time()
    reported_at: datetime = hf.arrival_time()
    card_id: str
    terminal_id: str


project = hf.Project(
    "fraud",
    owner="risk",
    people={"risk-lead": ["ana", "ben"]},
    objectives=hf.Objectives(p99="20ms", rps=500, freshness="1s"),
)
transactions = project.source("transactions", Transaction, lateness="10m", known_after="0s")
chargebacks = project.source("chargebacks", Chargeback)

card = hf.Entity("card", key="card_id")
terminal = hf.Entity("terminal", key="terminal_id")
device = hf.Entity("device", key=["card_id", "device_id"])
abroad = hf.Entity("card_country", key=["card_id", "country"])
merchant = hf.Entity("card_terminal", key=["card_id", "terminal_id"])


@project.view(transactions, entity=card)
def card_activity(tx):
    return {
        "card_count_10m": tx.count(over="10m", hop="0s"),
        "card_count_1h": tx.count(over="1h"),
        "card_count_24h": tx.count(over="24h"),
        "card_small_1h": tx.count(over="1h", where=tx.amount < 5),
        "card_online_24h": tx.count(over="24h", where=tx.channel == "online"),
        "card_spend_24h": tx.amount.sum(over="24h"),
        "card_max_7d": tx.amount.max(over="7d"),
        "card_mean_30d": tx.amount.mean(over="30d"),
        "card_std_30d": tx.amount.std(over="30d"),
        "card_count_30d": tx.count(over="30d"),
    }


@project.view(transactions, entity=device)
def device_history(tx):
    return {"device_count_30d": tx.count(over="30d"), "device_count_1h": tx.count(over="1h")}


@project.view(transactions, entity=abroad)
def country_history(tx):
    return {"country_count_30d": tx.count(over="30d")}


@project.view(transactions, entity=merchant)
def merchant_history(tx):
    return {"merchant_count_30d": tx.count(over="30d")}


@project.view(transactions, entity=terminal)
def terminal_activity(tx):
    return {
        "terminal_count_24h": tx.count(over="24h"),
        "terminal_mean_7d": tx.amount.mean(over="7d"),
        "terminal_count_7d": tx.count(over="7d"),
    }


@project.view(chargebacks, entity=terminal)
def terminal_risk(cb):
    return {
        "terminal_fraud_3d": cb.count(over="3d"),
        "terminal_fraud_7d": cb.count(over="7d"),
        "terminal_fraud_30d": cb.count(over="30d"),
    }


@project.view(chargebacks, entity=card)
def card_risk(cb):
    return {"card_fraud_30d": cb.count(over="30d")}


@project.features(
    Transaction,
    card_activity,
    device_history,
    country_history,
    merchant_history,
    terminal_activity,
    terminal_risk,
    card_risk,
)
def create_features(x):  # columns in, columns out; the only place features are made
    return {
        "amount": x.amount,
        "amount_vs_mean": x.amount / x.card_mean_30d,
        "amount_z": (x.amount - x.card_mean_30d) / x.card_std_30d,
        "amount_vs_terminal": x.amount / x.terminal_mean_7d,
        "terminal_fraud_rate": x.terminal_fraud_7d / x.terminal_count_7d,
        "hour": x.at.hour(),
        "night": x.at.hour() < 6,
        "online": x.channel == "online",
        "country": x.country,  # categorical: coded by a vocabulary fitted on the training split
        **card_activity.all,
        **device_history.all,
        **country_history.all,
        **merchant_history.all,
        **terminal_activity.all,
        **terminal_risk.all,
        **card_risk.all,
    }


@project.model(
    create_features,
    label=hf.Label(chargebacks, key="tx_id", horizon="7d", absent=0, censored_by="block"),
    params={
        "n_estimators": 400,
        "num_leaves": 31,
        "learning_rate": 0.04,
        "min_child_samples": 40,
        "subsample": 0.8,
        "subsample_freq": 1,
        "colsample_bytree": 0.7,
    },
    split=hf.TimeSplit(test="8d", validation="5d"),
    cost=hf.Cost(false_alarm=5.0, missed="amount"),
)
def fraud(data, params, run):
    from lightgbm import LGBMClassifier, early_stopping, log_evaluation

    model = LGBMClassifier(
        **params, random_state=run.seed, deterministic=True, force_row_wise=True, n_jobs=2, verbose=-1
    )
    return model.fit(
        data.train.x,
        data.train.y,
        sample_weight=data.train.weight,
        eval_X=data.validation.x,
        eval_y=data.validation.y,
        eval_metric="average_precision",
        feature_name=data.names,
        categorical_feature=data.categorical,
        callbacks=[early_stopping(60, first_metric_only=True, verbose=False), log_evaluation(0)],
    )


def velocity_rules(f):  # captured as an expression over features: data, not code
    return hf.where((f.card_count_1h > 20) | (f.amount > 5_000), 0.95, 0.05)


project.release(
    fraud,
    gates=[
        hf.metric("average_precision") >= 0.50,
        hf.metric("auc") >= 0.85,
        hf.metric("average_precision") >= hf.champion() - 0.01,
    ],
    approval=hf.Approval(role="risk-lead", not_author=True),
    decision=hf.Bands(block=0.90, review=0.50, allow=0.0),
    holdout=hf.Holdout(0.01),
    fallback=[hf.previous(), hf.rules(velocity_rules), hf.constant(0.5)],
)
