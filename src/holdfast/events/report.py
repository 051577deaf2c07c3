"""What an ingestion did: the count of every row, by file, and the same in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from holdfast.events.source import Basis


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of rows.

    Attributes
    ----------
    quarantined : rows by the code of their reason
    """

    stored: int = 0
    duplicates: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)

    @property
    def refused(self) -> int:
        """Number of quarantined rows, all reasons together."""
        return sum(self.quarantined.values())

    @property
    def rows(self) -> int:
        """Number of rows, all together."""
        return self.stored + self.duplicates + self.refused

    def __add__(self, other: Counts) -> Counts:
        together = Counter(self.quarantined) + Counter(other.quarantined)
        return Counts(
            self.stored + other.stored, self.duplicates + other.duplicates, dict(sorted(together.items()))
        )

    def as_batch(self) -> dict[str, int]:
        """Return the counts as a batch records them."""
        return {"stored": self.stored, "duplicates": self.duplicates, **self.quarantined}

    @staticmethod
    def of_batch(counts: Mapping[str, int]) -> Counts:
        """Return the counts of a recorded batch."""
        refused = {code: n for code, n in counts.items() if code.startswith("HF")}
        return Counts(counts.get("stored", 0), counts.get("duplicates", 0), refused)


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of the rows of one file.

    Attributes
    ----------
    digest : content hash
    rows : rows of the file, counted while it was read
    now : what this run did
    before : what earlier runs did with the same content
    """

    name: str
    digest: str
    rows: int
    now: Counts
    before: Counts

    @property
    def adds_up(self) -> bool:
        """Whether every row of the file is accounted for exactly once."""
        return self.rows == self.now.rows + self.before.rows

    @property
    def is_repeat(self) -> bool:
        """Whether earlier runs had ingested the whole file."""
        return self.now.rows == 0 and self.before.rows > 0


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion did.

    Attributes
    ----------
    basis : how arrival times are known
    replayed : batches that an interrupted run had logged and that this one applied first
    examples : by the code of a reason, the first row that this run refused for it, in words
    """

    source: str
    files: tuple[FileReport, ...]
    basis: Basis
    dry_run: bool = False
    replayed: int = 0
    examples: Mapping[str, str] = field(default_factory=dict)

    @property
    def now(self) -> Counts:
        """What this run did, all files together."""
        return sum((file.now for file in self.files), Counts())

    @property
    def before(self) -> Counts:
        """What earlier runs did with the same files."""
        return sum((file.before for file in self.files), Counts())

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def adds_up(self) -> bool:
        """Whether every row of every file is accounted for exactly once."""
        return all(file.adds_up for file in self.files)

    def lines(self) -> Iterator[str]:
        """Yield the report as lines of text."""
        if self.replayed:
            yield f"{self.replayed} batch{'es' * (self.replayed > 1)} of an interrupted run applied first"
        for file in self.files:
            yield f"{file.name}  {_words(file, self.dry_run)}"
        if len(self.files) > 1:
            yield f"total  {_counted(self.rows, self.now, self.before, self.dry_run)}"
        for code, n in self.now.quarantined.items():
            if code in self.examples:
                yield f"  {code}  {n:,} row{'s' * (n > 1)}, first: {self.examples[code]}"


def _words(file: FileReport, dry_run: bool) -> str:
    if file.is_repeat:
        return f"{file.rows:,} rows: ingested before, nothing added"
    return _counted(file.rows, file.now, file.before, dry_run)


def _counted(rows: int, now: Counts, before: Counts, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    parts = [
        f"{now.stored:,} {would}stored",
        f"{now.duplicates:,} duplicates",
        f"{now.refused:,} {would}quarantined",
    ]
    if now.quarantined:
        parts[-1] += f" ({', '.join(f'{code} {n:,}' for code, n in now.quarantined.items())})"
    if before.rows:
        parts.append(f"{before.rows:,} ingested before")
    return f"{rows:,} rows: {', '.join(parts)}"
