"""Batches: the numbered units of work of an applier, and what a log of them comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

JOURNAL = "journal:"
"""What the input of a live batch begins with."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One numbered unit of work of the applier: one range of one input.

    Attributes
    ----------
    number : 1, 2, 3 ... without gaps within a shard
    source : name of the source of loaded rows; empty for what was received live
    input : digest of the input file, or ``journal:`` and the id of a journal
    first, last
        Half-open range within the input, ``[first, last)``: rows of a file, byte positions of a journal.
    staged : name of the staged file that holds the accepted rows until it is applied; empty if there are none
    refused : the same for the quarantined rows
    counts
        Of a file: ``stored``, ``duplicates`` and by code ``HF...`` rows; together they are ``last - first``.
        Of a journal: its frames by kind, ``events``, ``predictions``, ``feedback`` and ``rejected``.
    """

    number: int
    source: str
    input: str
    first: int
    last: int
    staged: str
    counts: dict[str, int]
    refused: str = ""

    @property
    def journal(self) -> str | None:
        """Id of the journal that was read, or None for rows of a file."""
        return self.input.removeprefix(JOURNAL) if self.input.startswith(JOURNAL) else None


@dataclass(frozen=True, slots=True)
class Load:
    """How far one file was loaded into one source, all its batches together."""

    source: str
    input: str
    last: int
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Logged:
    """What a batch log holds: a summary of the batches up to one, and those after it.

    Attributes
    ----------
    through : batches up to this one are summarised in `loads` and `consumed`, and not listed
    loads, consumed : how far files were loaded, and journals read, as of `through`
    batches : those after it, in order
    settled : every batch up to this one is wholly in the lake
    """

    through: int = 0
    loads: tuple[Load, ...] = ()
    consumed: dict[str, int] = field(default_factory=dict)
    batches: tuple[Batch, ...] = ()
    settled: int = 0

    @property
    def number(self) -> int:
        """Number of the last batch; 0 before the first."""
        return self.batches[-1].number if self.batches else self.through

    def positions(self) -> dict[str, int]:
        """Return, by journal, the position behind what was logged."""
        out = dict(self.consumed)
        for batch in self.batches:
            if batch.journal is not None:
                out[batch.journal] = batch.last
        return out

    def loaded(self) -> dict[tuple[str, str], Load]:
        """Return, by source and input, how far files were logged."""
        out = {(load.source, load.input): load for load in self.loads}
        for batch in self.batches:
            if batch.journal is None:
                key = (batch.source, batch.input)
                before = out[key].counts if key in out else {}
                counts = {
                    name: before.get(name, 0) + batch.counts.get(name, 0)
                    for name in [*before, *(name for name in batch.counts if name not in before)]
                }
                out[key] = Load(*key, batch.last, counts)
        return out
