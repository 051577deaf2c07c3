"""The oracle of point-in-time truth, for tests of projects and adapters."""

from __future__ import annotations

from holdfast.features.oracle import (
    features_of,
    is_visible,
    lowered,
    measures_of,
    superseded_by,
    window_value,
)

__all__ = ["features_of", "is_visible", "lowered", "measures_of", "superseded_by", "window_value"]
