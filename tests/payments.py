"""The definition of a small shop as text, for tests that add their own views and features to it."""

PAYMENTS = """
from datetime import datetime
from decimal import Decimal

import holdfast as hf


class Payment(hf.Event):
    tx_id: str = hf.event_id()
    at: datetime = hf.event_time()
    card_id: str
    amount: Decimal = hf.field(scale=2, ge=0, le=100_000)


project = hf.Project("shop")
payments = project.source("payments", Payment, known_after="0s")
card = hf.Entity("card", key="card_id")
"""
