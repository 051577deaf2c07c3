"""holdfast: one definition, the whole production system around a model.

``import holdfast as hf`` gives the names a project is written with; each is loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "holdfast.app.workspace": ("Workspace",),
    "holdfast.kernel.errors": ("HoldfastError",),
    "holdfast.project.capture": ("where",),
    "holdfast.project.definition": ("Objectives", "Project"),
    "holdfast.project.event": ("Event", "arrival_time", "event_id", "event_time", "field", "supersedes"),
    "holdfast.project.learning": (
        "Choice", "Cost", "Float", "Forecast", "Int", "Label", "SeasonalNaive", "TimeSplit",
    ),
    "holdfast.project.release": (
        "Approval", "Bands", "Canary", "Holdout", "baseline", "champion", "constant", "errors", "kpi",
        "metric", "p99", "prediction_shift", "previous", "rules",
    ),
    "holdfast.project.rows": ("Entity", "Spine"),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    value.__module__ = "holdfast"
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if TYPE_CHECKING:
    from holdfast.app.workspace import Workspace as Workspace
    from holdfast.kernel.errors import HoldfastError as HoldfastError
    from holdfast.project.capture import where as where
    from holdfast.project.definition import Objectives as Objectives
    from holdfast.project.definition import Project as Project
    from holdfast.project.event import Event as Event
    from holdfast.project.event import arrival_time as arrival_time
    from holdfast.project.event import event_id as event_id
    from holdfast.project.event import event_time as event_time
    from holdfast.project.event import field as field
    from holdfast.project.event import supersedes as supersedes
    from holdfast.project.learning import Choice as Choice
    from holdfast.project.learning import Cost as Cost
    from holdfast.project.learning import Float as Float
    from holdfast.project.learning import Forecast as Forecast
    from holdfast.project.learning import Int as Int
    from holdfast.project.learning import Label as Label
    from holdfast.project.learning import SeasonalNaive as SeasonalNaive
    from holdfast.project.learning import TimeSplit as TimeSplit
    from holdfast.project.release import Approval as Approval
    from holdfast.project.release import Bands as Bands
    from holdfast.project.release import Canary as Canary
    from holdfast.project.release import Holdout as Holdout
    from holdfast.project.release import champion as champion
    from holdfast.project.release import constant as constant
    from holdfast.project.release import errors as errors
    from holdfast.project.release import kpi as kpi
    from holdfast.project.release import metric as metric
    from holdfast.project.release import p99 as p99
    from holdfast.project.release import prediction_shift as prediction_shift
    from holdfast.project.release import previous as previous
    from holdfast.project.release import rules as rules
    from holdfast.project.rows import Entity as Entity
    from holdfast.project.rows import Spine as Spine
