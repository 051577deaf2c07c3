"""Facts of an environment: Python, platform, and the versions of the libraries that can change a result."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from importlib import metadata


def describe_environment(also: Sequence[str] = ()) -> dict[str, str]:
    """Return the facts of this environment, by name.

    Parameters
    ----------
    also : names of further distributions, such as those a training function imports

    Notes
    -----
    Named are Python, the platform and the machine's architecture, holdfast and its direct dependencies.
    Neither the machine's name, nor its size, nor a path is among them: equal installations, equal facts.
    """
    facts = {
        "implementation": sys.implementation.name,
        "machine": platform.machine(),
        "platform": sys.platform,
        "python": platform.python_version(),
    }
    for name in sorted({"holdfast", *_dependencies("holdfast"), *also}):
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "none"
    return facts


def _dependencies(distribution: str) -> list[str]:
    """Names that a distribution requires, without those of its extras."""
    try:
        required = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
    plain = (line for line in required if "extra ==" not in line)
    return [found.group() for line in plain if (found := re.match(r"[A-Za-z0-9._-]+", line))]
