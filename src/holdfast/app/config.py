"""Settings: where the state of a project lies, from ``holdfast.toml`` and the environment."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from holdfast.kernel.errors import UsageError, did_you_mean

FILE = "holdfast.toml"

DEFAULTS = {
    "lake": "file:.holdfast/lake",
    "meta": "sqlite:.holdfast/meta.db",
    "online": "lmdb:.holdfast/online",
    "journal": "file:.holdfast/journal",
    "bundles": "file:.holdfast/bundles",
}
"""URL of each store; paths are relative to the project's folder."""

SETTINGS = {
    "lake": "tables of events, quarantine and predictions, and datasets (Delta Lake)",
    "meta": "runs, versions, aliases, approvals, history (SQL)",
    "online": "the state that live features are read from (LMDB)",
    "journal": "what was accepted live, the batch log and staged rows",
    "bundles": "model bundles by content",
}
"""What lies in each store."""

_SCHEMES = {"lake": "file", "meta": "sqlite", "online": "lmdb", "journal": "file", "bundles": "file"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Absolute places of all stores of a project."""

    folder: Path
    lake: Path
    meta: Path
    online: Path
    journal: Path
    bundles: Path


def read_settings(folder: Path) -> Settings:
    """Return a project's settings: defaults, then ``holdfast.toml``, then ``HOLDFAST_<NAME>_URL``.

    Raises
    ------
    UsageError
        If the file cannot be read, or names a store or scheme that does not exist (HF114).
    """
    urls = {**DEFAULTS, **_from_file(folder / FILE)}
    places = {key: _place(folder, key, url, f"{FILE}, `{key}`") for key, url in urls.items()}
    for key in DEFAULTS:
        variable = f"HOLDFAST_{key.upper()}_URL"
        if variable in os.environ:
            places[key] = _place(folder, key, os.environ[variable], f"environment, {variable}")
    return Settings(folder, **places)


def _from_file(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{FILE} cannot be read: {error}.", code="HF114", place=FILE) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{FILE} is not TOML: {error}.", code="HF114", place=FILE) from None
    for key, value in found.items():
        if key not in DEFAULTS:
            raise UsageError(
                f"{FILE} has a setting `{key}`, which does not exist.",
                code="HF114",
                place=_line(text, key),
                has=tuple(DEFAULTS),
                hint=did_you_mean(key, DEFAULTS),
            )
        if not isinstance(value, str):
            message = f"`{key}` is a URL in quotes, found {value!r}."
            raise UsageError(message, code="HF114", place=_line(text, key))
    return found


def _line(text: str, key: str) -> str:
    """Return ``holdfast.toml:line`` of a setting or section."""
    pattern = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}\b")
    numbers = (n for n, line in enumerate(text.splitlines(), start=1) if pattern.match(line))
    return f"{FILE}:{next(numbers, 1)}"


def _place(folder: Path, key: str, url: str, where: str) -> Path:
    scheme, _, rest = url.partition(":")
    if scheme != _SCHEMES[key] or not rest.strip("/"):
        raise UsageError(
            f"`{key}` is {_hide_password(url)!r}; a URL that begins with `{_SCHEMES[key]}:` is expected.",
            code="HF114",
            at=where,
            hint=f"for example {DEFAULTS[key]!r}",
        )
    path = Path("/" + rest.lstrip("/")) if rest.startswith("//") else Path(rest)
    return path if path.is_absolute() else (folder / path).resolve()


def _hide_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at else url
