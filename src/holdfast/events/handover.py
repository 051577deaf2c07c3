"""Handing batch loads to the worker: how `ingest` has rows committed while another holds the shard."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from holdfast.events.batch import Batch
from holdfast.events.ports import Staging


@dataclass(frozen=True, slots=True)
class Offer:
    """Judged and staged rows that wait for a number.

    Attributes
    ----------
    batch : with number 0; its files lie in the staging of the hand-over
    seen : last batch of the source's table that the rows were compared with
    """

    batch: Batch
    seen: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an offer.

    Attributes
    ----------
    number : of the batch; 0 where it was refused
    counts : what became of the rows, as the batch records it
    code, message, hint : why it was refused; empty if it was not
    """

    number: int
    counts: dict[str, int] = field(default_factory=dict)
    code: str = ""
    message: str = ""
    hint: str = ""


class HandOver(Protocol):
    """A place where processes without the shard's lease leave loads for the one that holds it.

    An offer is seen whole or not at all, and oldest first. It is answered once; if the worker dies after it
    logged the rows and before it answered, the next one finds the offer again and answers from the batch log.
    """

    @property
    def staging(self) -> Staging:
        """Where the rows of offers lie. The worker removes them when it answers."""
        ...

    def is_served(self) -> bool:
        """Whether a worker answers offers."""
        ...

    def submit(self, offer: Offer) -> Outcome | None:
        """Leave an offer and wait for its outcome; None, and the offer withdrawn, if no worker is left."""
        ...

    def serve(self) -> AbstractContextManager[None]:
        """Be the worker that answers; the lease of the batch log is held."""
        ...

    def offers(self) -> list[tuple[str, Offer]]:
        """Return what waits for an answer, by name, oldest first."""
        ...

    def answer(self, name: str, outcome: Outcome) -> None:
        """Say what became of an offer; its staged rows are removed."""
        ...
