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
    "holdfast.project.definition": (
        "Approval", "Bands", "Canary", "Choice", "Cost", "Entity", "Event", "Float", "Forecast", "Holdout",
        "Int", "Label", "Objectives", "Project", "SeasonalNaive", "Spine", "TimeSplit", "arrival_time",
        "baseline", "champion", "constant", "errors", "event_id", "event_time", "field", "kpi", "metric",
        "p99", "prediction_shift", "previous", "rules", "supersedes",
    ),
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
    from holdfast.project.definition import Approval as Approval
    from holdfast.project.definition import Bands as Bands
    from holdfast.project.definition import Canary as Canary
    from holdfast.project.definition import Choice as Choice
    from holdfast.project.definition import Cost as Cost
    from holdfast.project.definition import Entity as Entity
    from holdfast.project.definition import Event as Event
    from holdfast.project.definition import Float as Float
    from holdfast.project.definition import Forecast as Forecast
    from holdfast.project.definition import Holdout as Holdout
    from holdfast.project.definition import Int as Int
    from holdfast.project.definition import Label as Label
    from holdfast.project.definition import Objectives as Objectives
    from holdfast.project.definition import Project as Project
    from holdfast.project.definition import SeasonalNaive as SeasonalNaive
    from holdfast.project.definition import Spine as Spine
    from holdfast.project.definition import TimeSplit as TimeSplit
    from holdfast.project.definition import arrival_time as arrival_time
    from holdfast.project.definition import champion as champion
    from holdfast.project.definition import constant as constant
    from holdfast.project.definition import errors as errors
    from holdfast.project.definition import event_id as event_id
    from holdfast.project.definition import event_time as event_time
    from holdfast.project.definition import field as field
    from holdfast.project.definition import kpi as kpi
    from holdfast.project.definition import metric as metric
    from holdfast.project.definition import p99 as p99
    from holdfast.project.definition import prediction_shift as prediction_shift
    from holdfast.project.definition import previous as previous
    from holdfast.project.definition import rules as rules
    from holdfast.project.definition import supersedes as supersedes
