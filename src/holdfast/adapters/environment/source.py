"""The fingerprint of a project's code: its git revision where there is one, else a hash of its files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from holdfast.kernel.ids import digest

_SUFFIXES = (".py", ".toml", ".sql")
_KEPT = ("HOME", "PATH", "XDG_CONFIG_HOME")
_ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_SKIPPED = ("__pycache__", "build", "dist", "node_modules", "venv")


def code_fingerprint(path: str | Path) -> str:
    """Return ``git:<revision>+<changed files>``, or ``files:<hash>`` where git does not know the folder.

    Parameters
    ----------
    path : the project's folder

    Notes
    -----
    The revision has twelve characters. Changed files are those below the folder that differ from it, new
    ones among them, except what git ignores and `.holdfast`. Git is asked with fixed arguments, without a
    shell, and may be absent; a folder of which git follows no file, such as a copy in an ignored place, is
    hashed. The hash is over names and contents of the files that hold code or settings (``.py``, ``.toml``,
    ``.sql``), hidden folders left out.
    """
    folder = Path(path)
    return _by_git(folder) or f"files:{digest(_parts(folder))}"


def _by_git(folder: Path) -> str | None:
    followed = _git(folder, "ls-files", "-z", "--", ".")
    revision = _git(folder, "rev-parse", "--verify", "HEAD")
    if not followed or not revision:
        return None
    changed = _git(
        folder, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--", ".",
        ":(exclude).holdfast",
    )  # fmt: skip
    if changed is None:
        return None
    return f"git:{revision.strip()[:12]}+{changed.count(chr(0))}"


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of git, or None if it is absent, slow, or refuses."""
    try:
        outcome = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "-C", os.fspath(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
            env=_ENVIRONMENT | {name: os.environ[name] for name in _KEPT if name in os.environ},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return outcome.stdout.decode("utf-8", "surrogateescape") if outcome.returncode == 0 else None


def _parts(folder: Path) -> Iterator[bytes]:
    for name in sorted(_names(folder)):
        content = (folder / name).read_bytes()
        yield f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape")
        yield content


def _names(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _SKIPPED]
        for name in files:
            path = Path(root, name)
            if (
                name.endswith(_SUFFIXES)
                and not name.startswith(".")
                and path.is_file()
                and not path.is_symlink()
            ):
                yield path.relative_to(folder).as_posix()
