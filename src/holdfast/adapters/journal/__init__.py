"""Journals on disk: one folder of segment files for each process that accepts events."""

from holdfast.adapters.journal.folder import JournalFolder
from holdfast.adapters.journal.writer import JournalFileWriter

__all__ = ["JournalFileWriter", "JournalFolder"]
