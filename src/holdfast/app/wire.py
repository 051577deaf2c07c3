"""Wiring: the one place where ports meet their adapters, chosen by the settings.

Each adapter is made when first used.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.adapters.bundles import BundleFolder
from holdfast.adapters.clock import ScaledClock, SystemClock, write_state
from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.delta.snapshots import DeltaSnapshots
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.handover import HandOverFolder
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.files.staging import StagingFolder
from holdfast.adapters.threads import OneThread
from holdfast.app.config import read_settings
from holdfast.events.ports import Input
from holdfast.events.rule import empty_table
from holdfast.events.source import BATCH, Source
from holdfast.kernel.errors import ContractError, RefusedError, UnavailableError
from holdfast.kernel.ports import Clock
from holdfast.training.bundle import Bundle, open_bundle, read_plan
from holdfast.training.ports import ModelFormat

if TYPE_CHECKING:
    from holdfast.adapters.journal import JournalFolder
    from holdfast.adapters.lmdb import LmdbOnline
    from holdfast.adapters.sql.registry import SqlRegistry
    from holdfast.features.view import FeaturePlan
    from holdfast.registry.version import ModelVersion

LOGGER = logging.getLogger("holdfast")

CLOCK = Path(".holdfast", "clock.json")
"""File of the scaled clock of a demo or test, below the project's folder; without it time is the system's."""


class Wiring:
    """The adapters of one project folder."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.settings = read_settings(folder)
        self.clock: Clock = clock or _clock_of(folder)
        self._plans: dict[str, FeaturePlan] = {}

    @cached_property
    def lake(self) -> DeltaLake:
        """Tables of events, quarantine and prediction records."""
        return DeltaLake(self.settings.lake)

    def thread(self) -> OneThread:
        """Return a place where work is done beside that of the caller."""
        return OneThread()

    @cached_property
    def snapshots(self) -> DeltaSnapshots:
        """Datasets by id."""
        return DeltaSnapshots(self.settings.lake)

    @cached_property
    def bundles(self) -> BundleFolder:
        """Model bundles by name."""
        return BundleFolder(self.settings.bundles)

    @cached_property
    def registry(self) -> SqlRegistry:
        """Runs, versions, aliases, approvals and history."""
        from holdfast.adapters.sql.registry import SqlRegistry

        return SqlRegistry(f"sqlite:///{self.settings.meta}")

    @cached_property
    def online(self) -> LmdbOnline:
        """Generations of online state."""
        from holdfast.adapters.lmdb import LmdbOnline

        return LmdbOnline(self.settings.online)

    @cached_property
    def batch_log(self) -> BatchLogFile:
        """Numbered batches of the one shard."""
        return BatchLogFile(self.settings.journal / "batches.log")

    @cached_property
    def journals(self) -> JournalFolder:
        """What serving processes accepted, to be read by the worker."""
        from holdfast.adapters.journal import JournalFolder

        return JournalFolder(self.settings.journal)

    @cached_property
    def hand_over(self) -> HandOverFolder:
        """Where batch loads are left for a running worker."""
        return HandOverFolder(self.settings.journal / "handover")

    @cached_property
    def staging(self) -> StagingFolder:
        """Judged rows that wait for their commit."""
        return StagingFolder(self.settings.journal / "staged")

    @cached_property
    def formats(self) -> tuple[ModelFormat, ...]:
        """Safe model formats, in the order they are asked."""
        from holdfast.adapters.lightgbm import LightGBMText

        return (LightGBMText(),)

    def inputs(self, places: Sequence[str]) -> list[Input]:
        """Return the input files at these places, in order."""
        return [item for place in places for item in Files(place)]

    def ensure_table(self, source: Source) -> None:
        """Create the source's table in the lake, or add its new columns; a table without rows is made anew.

        Raises
        ------
        RefusedError
            If the table holds rows that do not fit (HF404).
        """
        columns = empty_table(source.schema)
        try:
            self.lake.ensure(source.name, columns)
        except ContractError as error:
            if self.holds_rows(source.name):
                raise does_not_fit(source.name, error.problem.message) from error
            self.lake.reset(source.name, columns)

    def holds_rows(self, table: str) -> bool:
        """Whether a table exists and has rows."""
        return self.lake.version(table) is not None and self.lake.read(table, [BATCH]).height > 0

    def has_metadata(self) -> bool:
        """Whether anything was ever applied here.

        Raises
        ------
        UnavailableError
            If the lake holds tables, but what was recorded about them is gone (HF600).
        """
        meta = self.settings.meta
        if meta.exists() and meta.stat().st_size:
            return True
        tables = self.lake.tables()
        if tables:
            what = "is empty" if meta.exists() else "is missing"
            raise UnavailableError(
                f"the metadata {meta.name} {what}, though the lake holds {len(tables)} tables: versions, "
                "approvals and history cannot be read.",
                code="HF600",
                at=str(meta),
                has=tuple(tables[:8]),
                hint="restore it from a backup, or check HOLDFAST_META_URL and holdfast.toml; "
                f"to begin anew, move {self.settings.lake} away as well",
            )
        return False

    def feature_plan(self, version: ModelVersion) -> FeaturePlan:
        """Return the feature plan of a version; read once, as a bundle's name is that of its content."""
        if version.bundle not in self._plans:
            try:
                self._plans[version.bundle] = read_plan(self.bundles.load(version.bundle))
            except RefusedError as error:
                raise error.within(version.name) from error
        return self._plans[version.bundle]

    def open_version(self, version: ModelVersion) -> Bundle:
        """Return the bundle of a version, every file checked; an error names the version too."""
        try:
            return self.open_bundle(version.bundle)
        except RefusedError as error:
            raise error.within(version.name) from error

    def open_bundle(self, name: str) -> Bundle:
        """Return a bundle, every file checked against its manifest."""
        return open_bundle(self.bundles.load(name), self.formats)


def set_clock(folder: Path, now_us: int, factor: float = 1.0) -> None:
    """Let it be this instant now in every process of a project; for demos and tests only."""
    write_state(folder / CLOCK, now_us, factor)


def _clock_of(folder: Path) -> Clock:
    """Return the system's clock, or the scaled one where a demo or test has left its file."""
    path = folder / CLOCK
    if not path.exists():
        return SystemClock()
    clock = ScaledClock(path)
    LOGGER.info("time is scaled by %g and may jump: %s exists", clock.factor, path)
    return clock


def does_not_fit(source: str, reason: str) -> RefusedError:
    """Return the error of a schema that stored rows do not have."""
    return RefusedError(
        f"source `{source}` holds rows that do not fit its new schema: {reason.rstrip('.')}.",
        code="HF404",
        at=f"sources.{source}",
        hint="make new columns optional (`| None`) and keep types and scales, or declare a new source",
    )
