"""Wiring: the one place where ports meet their adapters, chosen by the settings. Each is made when first used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from holdfast.app.config import read_settings
from holdfast.adapters.bundles import BundleFolder
from holdfast.adapters.clock import SystemClock
from holdfast.adapters.delta import DeltaLake
from holdfast.adapters.delta.snapshots import DeltaSnapshots
from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.adapters.files.inputs import Files
from holdfast.adapters.files.staging import StagingFolder
from holdfast.events.contract import empty_table
from holdfast.events.ports import Input
from holdfast.events.source import Source
from holdfast.kernel.ports import Clock
from holdfast.training.bundle import Bundle, open_bundle
from holdfast.training.ports import ModelFormat


class Wiring:
    """The adapters of one project folder."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.settings = read_settings(folder)
        self.clock: Clock = clock or SystemClock()

    @cached_property
    def lake(self) -> DeltaLake:
        """Tables of events, quarantine and prediction records."""
        return DeltaLake(self.settings.lake)

    @cached_property
    def snapshots(self) -> DeltaSnapshots:
        """Datasets by id."""
        return DeltaSnapshots(self.settings.lake)

    @cached_property
    def bundles(self) -> BundleFolder:
        """Model bundles by name."""
        return BundleFolder(self.settings.bundles)

    @cached_property
    def registry(self):  # type: ignore[no-untyped-def]
        """Runs, versions, aliases, approvals and history."""
        from holdfast.adapters.sql.registry import SqlRegistry

        return SqlRegistry(f"sqlite:///{self.settings.meta}")

    @cached_property
    def batch_log(self) -> BatchLogFile:
        """Numbered batches of the one shard."""
        return BatchLogFile(self.settings.journal / "batches.log")

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
        """Create the source's table in the lake, or add its new columns."""
        self.lake.append(source.name, empty_table(source.schema), app="apply", batch=self.clock.now_us())

    def open_bundle(self, name: str) -> Bundle:
        """Return a bundle, every file checked against its manifest."""
        return open_bundle(self.bundles.load(name), self.formats)
