"""A hypothesis strategy for definitions that mean nothing: texts of ``project.py`` with nonsense in them."""

from __future__ import annotations

from hypothesis import strategies as st

_DURATIONS = (
    '"1h"', '"0s"', '"7d"', '"-1d"', '"1 day"', '"999999d"', f'"{"9" * 5_000}d"', '"1e9d"', '"nan"', '""',
    "None", "0", "1.5", "True", "[]", '"0.0000001s"', '"1d1d"', "timedelta(days=-1)", "float('nan')",
    "10**30",
)  # fmt: skip
_NUMBERS = (
    "0.5", "1.5", "-1", "0", "float('nan')", "float('inf')", "10**400", "None", '"0.9"', "True", "[]",
    "1e-320", "hf.champion()",
)  # fmt: skip
_NAMES = (
    '"shop"', '""', '"a b"', '"1st"', '"_x"', '"x" * 5000', '"\\0"', '"../up"', "None", "7", '"payments"',
    '"äöü"', '"class"', '"a.b"', '"a`b"',
)  # fmt: skip
_TYPES = (
    "str",
    "int",
    "float",
    "bool",
    "Decimal",
    "datetime",
    "list[str]",
    "dict",
    "object",
    "str | int",
    "int | None",
    "'Later'",
    "None",
)
_BOUNDS = (
    "", "ge=0, le=10", "ge=10, le=0", "ge=float('nan')", "scale=2", "scale=-1", "scale=40", 'ge="a"',
    "one_of=[]", 'one_of=["a", "a"]', "max_length=-1", "max_length=0", "le=10**30", "scale=2, le=10**12",
    "one_of=5", "known_later=True", 'known_later="7d"',
)  # fmt: skip
_TERMS = (
    "x.amount", "x.amount / 0", "x.amount ** 2", "x.nothing", "x.channel == 'onlin'",
    "x.channel == 'online'", "x.channel + 1", "x.amount == None", "x.at.hour(tz='Mars/Olympus')",
    "hf.where(x.amount > 1, 1, 'a')", "1 < x.amount < 2", "not x.amount", "x.amount.log().exp().log()",
    "x.amount.isin([])", "x.channel.isin(['online', 'of'])", "x.tx_id", "float('nan')", "None", "x",
    "[x.amount]", "x.amount.sum(over='1h')", "x.spent", "deep(x.amount, 3000)", "x['amount']", "x.at",
    "x.amount and x.amount", "len(x)", "x.amount.clip(5, 1)", "abs(x.amount)", "x.amount @ 2", "sum(x)",
    "x.amount.nothing()",
)  # fmt: skip
_MEASURES = (
    "amount.sum",
    "count",
    "channel.mean",
    "amount.std",
    "nothing.sum",
    "amount.median",
    "at.max",
    "flag.sum",
)

_TEXT = """
from datetime import datetime, timedelta
from decimal import Decimal

import holdfast as hf


def deep(term, n):
    for _ in range(n):
        term = term + 1
    return term


class Payment(hf.Event):
    tx_id: str = hf.event_id()
    at: datetime = hf.event_time()
    card_id: str
    amount: Decimal = hf.field(scale=2, ge=0, le=100)
    channel: str = hf.field(one_of=["online", "shop"])
    flag: {type} = hf.field({bounds})


class Dispute(hf.Event):
    tx_id: str = hf.event_id()
    at: datetime = hf.event_time()


project = hf.Project({name}, people={{"lead": ["ana"]}})
payments = project.source({source}, Payment, lateness={lateness}, known_after={known})
disputes = project.source("disputes", Dispute, known_after="0s")
card = hf.Entity("card", key={key})


@project.view(payments, entity=card)
def spending(tx):
    return {{"spent": tx.{measure}(over={over}, offset={offset}, hop={hop})}}


@project.features(Payment, spending)
def features(x):
    return {{"plain": x.amount, "odd": {term}}}


@project.model(features,
               label=hf.Label(disputes, key="tx_id", horizon={horizon}, absent={absent},
                              censored_by={censored}),
               split=hf.TimeSplit(test={test}, validation="1d"), params={{"a": {number}}})
def fraud(data, params, run):
    raise AssertionError("nothing is trained here")


project.release(fraud, gates=[hf.metric({metric}) >= {limit}],
                approval=hf.Approval(role={role}),
                decision=hf.Bands(block={high}, review={middle}, allow={low}),
                holdout=hf.Holdout({holdout}), fallback=[hf.previous(), hf.constant({number})])
"""

_PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "type": ("float", _TYPES),
    "bounds": ("scale=2", _BOUNDS),
    "name": ('"shop"', _NAMES),
    "source": ('"payments"', _NAMES),
    "lateness": ('"10m"', _DURATIONS),
    "known": ('"0s"', _DURATIONS),
    "key": (
        '"card_id"',
        ('"card"', "[]", '["card_id", "card_id"]', "None", "5", '"at"', '["card_id", "nothing"]'),
    ),
    "measure": ("amount.sum", _MEASURES),
    "over": ('"1d"', _DURATIONS),
    "offset": ('"0s"', _DURATIONS),
    "hop": ("None", _DURATIONS),
    "term": ("x.spent", _TERMS),
    "horizon": ('"7d"', _DURATIONS),
    "absent": ("0", _NUMBERS),
    "censored": ('"block"', ('"allow"', '"deny"', "None", "5", '""')),
    "test": ('"8d"', _DURATIONS),
    "number": ("0.5", _NUMBERS),
    "metric": (
        '"auc"',
        ('"acu"', '""', "None", '"precision@0/day"', '"rmse"', '"calibration_slope"', '"x" * 4000'),
    ),
    "limit": ("0.5", _NUMBERS),
    "role": ('"lead"', ('"boss"', '""', "None", "5")),
    "high": ("0.9", _NUMBERS),
    "middle": ("0.5", _NUMBERS),
    "low": ("0.0", _NUMBERS),
    "holdout": ("0.01", _NUMBERS),
}


@st.composite
def definitions(draw: st.DrawFn) -> str:
    """Draw the text of a ``project.py`` in which up to four parts make no sense, or none."""
    parts = {name: usual for name, (usual, _) in _PARTS.items()}
    for name in draw(st.lists(st.sampled_from(sorted(_PARTS)), max_size=4, unique=True)):
        parts[name] = draw(st.sampled_from(_PARTS[name][1]))
    return _TEXT.format(**parts)
