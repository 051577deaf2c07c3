"""Settings: where the state of a project lies, from ``holdfast.toml`` and the environment."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from holdfast.kernel.errors import UsageError, did_you_mean

DEFAULTS = {
    "lake": "file:.holdfast/lake",
    "meta": "sqlite:.holdfast/meta.db",
    "journal": "file:.holdfast/journal",
    "bundles": "file:.holdfast/bundles",
}
"""URL of each store; paths are relative to the project's folder."""

_SCHEMES = {"lake": "file", "meta": "sqlite", "journal": "file", "bundles": "file"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Absolute places of all stores of a project."""

    folder: Path
    lake: Path
    meta: Path
    journal: Path
    bundles: Path


def read_settings(folder: Path) -> Settings:
    """Return the settings of a project folder: defaults, then ``holdfast.toml``, then ``HOLDFAST_<NAME>_URL``.

    Raises
    ------
    UsageError
        If the file cannot be read, or names a store or scheme that does not exist (HF114).
    """
    urls = dict(DEFAULTS)
    path = folder / "holdfast.toml"
    if path.exists():
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"holdfast.toml is not TOML: {error}.", code="HF114", place=str(path)) from None
        for key, value in found.items():
            if key not in DEFAULTS:
                raise UsageError(
                    f"holdfast.toml has a setting `{key}`, which does not exist.",
                    code="HF114",
                    place=str(path),
                    has=tuple(DEFAULTS),
                    hint=did_you_mean(key, DEFAULTS),
                )
            if not isinstance(value, str):
                raise UsageError(f"`{key}` is a URL in quotes, found {value!r}.", code="HF114", place=str(path))
            urls[key] = value
    for key in DEFAULTS:
        urls[key] = os.environ.get(f"HOLDFAST_{key.upper()}_URL", urls[key])
    return Settings(folder, **{key: _place(folder, key, url) for key, url in urls.items()})


def _place(folder: Path, key: str, url: str) -> Path:
    scheme, _, rest = url.partition(":")
    if scheme != _SCHEMES[key] or not rest:
        raise UsageError(
            f"`{key}` is {_hide_password(url)!r}; a URL that begins with `{_SCHEMES[key]}:` is expected.",
            code="HF114",
            hint=f"for example {DEFAULTS[key]!r}",
        )
    path = Path("/" + rest.lstrip("/")) if rest.startswith("//") else Path(rest)
    return path if path.is_absolute() else (folder / path).resolve()


def _hide_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at else url
