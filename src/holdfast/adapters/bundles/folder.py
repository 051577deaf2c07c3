"""Content-addressed folders: a bundle appears whole, under the hash of its manifest, and never changes."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from holdfast.adapters.durable import sync_folder
from holdfast.kernel.errors import NotFoundError, RefusedError, UnavailableError, did_you_mean
from holdfast.training.bundle import bundle_name, check_files

_NAME = re.compile(r"[0-9a-f]{40}")
_WRITING = ".writing-"


class BundleFolder:
    """Bundles under one root folder, made on first use.

    Safe for several writers at once, also in several processes: each writes a folder of its own and renames
    it, and of two that store the same bundle the first wins. A process that dies leaves at most a folder
    whose name begins with a dot, which nothing reads.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def save(self, files: Mapping[str, bytes]) -> str:
        """Store a bundle durably and return its name; one that is there already is checked instead.

        Raises
        ------
        RefusedError
            If the files do not match their manifest, or the stored bundle was altered (HF402).
        UnavailableError
            If it cannot be written (HF600).
        """
        check_files(files)
        name = bundle_name(files)
        target = self.root / name
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(target):
                self._write(target, files)
        except OSError as error:
            raise UnavailableError(f"bundle {name} cannot be written: {error}", at=str(self.root)) from error
        self.load(name)
        return name

    def _write(self, target: Path, files: Mapping[str, bytes]) -> None:
        made = Path(tempfile.mkdtemp(prefix=_WRITING, dir=self.root))
        try:
            for name, content in files.items():
                descriptor = os.open(made / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
                with open(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            made.chmod(0o755)
            sync_folder(made)
            try:
                made.rename(target)
            except OSError:
                if not os.path.lexists(target):
                    raise
            sync_folder(self.root)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def load(self, name: str) -> dict[str, bytes]:
        """Return all files of a bundle, each checked against the manifest, and that against the name.

        Raises
        ------
        NotFoundError
            If there is no such bundle.
        RefusedError
            If a file is missing, added or altered, or is a link or a folder (HF402).
        UnavailableError
            If it cannot be read (HF600).
        """
        folder = self.root / name
        if not _NAME.fullmatch(name) or not os.path.lexists(folder):
            stored = self.names()
            raise NotFoundError(
                f"there is no bundle `{name}`.", at=str(self.root), hint=did_you_mean(name, stored)
            )
        try:
            if folder.is_symlink() or not folder.is_dir():
                raise RefusedError(
                    f"bundle `{name}` is not a folder of its own.", code="HF402", at=str(folder)
                )
            files = {entry.name: _read(Path(entry.path), name) for entry in _entries(folder)}
        except OSError as error:
            raise UnavailableError(f"bundle {name} cannot be read: {error}", at=str(folder)) from error
        found = bundle_name(files)
        if found != name:
            raise RefusedError(
                f"`manifest.json` of bundle `{name}` is not the one that gave it its name: "
                f"expected blake2b:{name}, found blake2b:{found}.",
                code="HF402",
                at=str(folder / "manifest.json"),
                hint="fetch the bundle again, or train anew; its manifest was altered after it was written",
            )
        try:
            check_files(files)
        except RefusedError as error:
            raise error.within(f"bundle {name[:12]}") from error
        return files

    def names(self) -> tuple[str, ...]:
        """Names of the stored bundles, sorted; their content is not looked at."""
        try:
            return tuple(sorted(entry for entry in os.listdir(self.root) if _NAME.fullmatch(entry)))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise UnavailableError(f"the bundles cannot be listed: {error}", at=str(self.root)) from error


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder by name."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _read(path: Path, bundle: str) -> bytes:
    """Return the bytes of a plain file; a link, folder or device is refused."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise RefusedError(
            f"`{path.name}` in bundle `{bundle}` is not a plain file.", code="HF402", at=str(path)
        )
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        return file.read()
