"""A definition with a mistake in almost every line: `holdfast validate` reports all of them at once."""

from datetime import datetime
from decimal import Decimal

import holdfast as hf


class Payment(hf.Event):
    payment_id: str = hf.event_id()
    at: datetime = hf.event_time()
    card_id: str
    shop_id: str
    amount: Decimal = hf.field(scale=6, ge=0, le=100_000)  # HF106 where it is summed
    weight: float  # HF104 where it is summed
    country: str | None
    settled: bool = hf.field(known_later=True)


class Refund(hf.Event):
    payment_id: str = hf.event_id()
    at: datetime = hf.event_time()
    card_id: str
    amount: Decimal = hf.field(scale=2)
    reason: str
    told_at: datetime  # HF109: it is not marked as the arrival time


class Shapeless(hf.Event):
    at: datetime
    tags: list[str]
    price: Decimal = hf.field(ge=10, le=1)
    _hidden: int
    code: int = 7
    paid: bool = hf.field(known_later="7d")


project = hf.Project("broken", owner="nobody", people={"lead": "ana"})
payments = project.source("payments", Payment, lateness="ten minutes", known_after="0s")
refunds = project.source("refunds", Refund)
shapeless = project.source("shapeless", Shapeless, known_after="0s")
project.source("payments", Payment)

card = hf.Entity("card", key="card_id")
shop = hf.Entity("shop", key="shopid")
other = hf.Entity("card", key="shop_id")
payment = hf.Entity("payment", key="payment_id")


@project.view(payments, entity=card)
def sums(p):
    return {
        "spent_1h": p.amount.sum(over="1h"),
        "weight_1h": p.weight.sum(over="1h"),
        "spent_1d": p.amont.mean(over="1d"),
        "small_1d": p.count(over="1d", where=p.ammount < 5),
        "reasons": p.country.mean(over="1d"),
        "later": p.count(over="1h", after=True),
        "never": p.count(over="0s"),
        "long_ago": p.count(over="1 day"),
        "coarse": p.count(over="1h", hop="2h"),
        "plain": p.amount,
    }


@project.view(payments, entity=shop)
def of_shop(p):
    return {"shop_1d": p.count(over="1d")}


@project.view(payments, entity=other)
def misnamed(p):
    return {"misnamed_1d": p.count(over="1d"), "misnamed_1d": p.count(over="7d")}  # noqa: F601


@project.view(payments, entity=card)
def wrong_method(p):
    return {"spent_7d": p.amount.summ(over="7d")}


@project.view(payments, entity=card)
def wrong_call(p):
    return {"all_7d": p.counts(over="7d")}


@project.view(payments, entity=card)
def combined(p):
    return {"ratio": p.amount.sum(over="1d") / p.count(over="1d")}


@project.view(refunds, entity=payment)
def outcome_itself(r):
    return {"refunded": r.count(over="30d")}


@project.features(payments, sums, outcome_itself)
def choose(x):
    return {
        "amount": x.amount,
        "abroad": x.contry,
        "id": x.payment_id == "p-1",
        "settled": x.settled,
        "a": x.b + 1,
        "b": x.c * 2,
        "c": x.a - 3,
        "hour": x.amount.hour(),
        "words": ["no", "expression"],
        "spent_1h": x.spent_1h,
        **sums.all,
    }


@project.features(payments)
def with_if(x):
    return {"large": 1 if x.amount > 100 else 0}


@project.features(payments)
def with_chain(x):
    return {"middle": 10 < x.amount < 100}


@project.features(payments)
def with_in(x):
    return {"iberia": x.country in ("PT", "ES")}


@project.features(payments)
def with_and(x):
    return {"both": x.amount > 10 and x.weight > 1}


@project.features(payments)
def with_typo(x):
    return {"hour": x.at.hours()}


@project.features(refunds)
def same_row(x):
    return {"amount": x.amount}


@project.model(
    choose,
    label=hf.Label(refunds, key="payment_ident", horizon="7d", absent=0, censored_by="blok"),
    params={"depth": [1, 2], "rate": 0.1},
    search={"depht": hf.Int(9, 3), "rate": 0.5},
    split=hf.TimeSplit(test="a week"),
    cost=hf.Cost(false_alarm=5, missed="amout", act_on=["stop"]),
)
def refund(data, params, run):
    return None


@project.model(same_row, label=hf.Label(refunds, key="payment_id", value=refunds.amount, horizon="7d"))
def size(data, params, run):
    return None


@project.model(choose, label=hf.Label(refunds))
def vague(data, params, run):
    return None


@project.model(choose, label=hf.Label(refunds, key="payment_id", horizon="7d", absent=0))
def leaky(data, params, run):
    return None


@project.model(choose, label=hf.Label(payments.amount.sum(over="7d"), key="card_id"))
def backwards(data, params, run):
    return None


def rules(f):
    return f.amount > f.limit


project.release(
    refund,
    gates=[hf.metric("avg_precision") >= hf.champion(), hf.metric("cost") <= hf.champion(), hf.errors() <= 1],
    approval=hf.Approval(role="leed"),
    decision=hf.Bands(block=0.5, review=0.5, allow=0.1),
    holdout=hf.Holdout(1.5),
    rollout=hf.Canary([10, 5, 200], hold="half an hour", unit=card),
    guards=[hf.metric("auc") >= 0.9, hf.p99() <= 20],
    fallback=[hf.rules(rules), hf.constant("zero"), "previous"],
)
project.release(size, approval=hf.Approval(role="nobody"))
project.release("sizes", gates=[hf.metric("auc") >= 0.5])
