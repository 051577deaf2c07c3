"""Exact look-ups that raise, and say what there is instead."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.kernel.errors import NotFoundError, did_you_mean
from holdfast.registry.ports import RegistryView, RunRecord
from holdfast.registry.version import ModelVersion

_SHOWN = 8


def get_version(view: RegistryView, model: str, number: int) -> ModelVersion:
    """Return a version.

    Raises
    ------
    NotFoundError
        If there is none; it names the versions there are, or the nearest model.
    """
    found = view.find_version(model, number)
    if found is None:
        _demand_model(view, model)
        versions = view.list_versions(model)
        raise NotFoundError(
            f"`{model}` has no version {number}.",
            at=f"{model}@{number}",
            has=[version.name for version in versions[-_SHOWN:]],
            hint=f"the latest is `{versions[-1].name}` ({versions[-1].state})",
        )
    return found


def get_champion(view: RegistryView, model: str) -> ModelVersion:
    """Return the version that answers.

    Raises
    ------
    NotFoundError
        If the model is unknown or nothing was deployed.
    """
    alias = view.find_alias(model, "champion")
    if alias is None or alias.version is None:
        _demand_model(view, model)
        versions = view.list_versions(model)[-_SHOWN:]
        raise NotFoundError(
            f"`{model}` has no champion.",
            at=f"{model}.champion",
            has=[f"{version.name} ({version.state})" for version in versions],
            hint=_first_step(versions),
        )
    return get_version(view, model, alias.version)


def _first_step(versions: Sequence[ModelVersion]) -> str:
    """Return what brings one of these versions to answer."""
    model = versions[-1].model
    for state in ("approved", "retired", "registered"):
        for version in reversed(versions):
            if version.state != state:
                continue
            deploy = f"`holdfast deploy {model} {version.number}`"
            if state != "registered":
                return f"deploy one: {deploy}"
            approve = f'`holdfast approve {model} {version.number} --by NAME --reason "..."`'
            return f"approve one: {approve}, then {deploy}"
    return f"train another: `holdfast train {model}`"


def get_run(view: RegistryView, run_id: str) -> RunRecord:
    """Return a run.

    Raises
    ------
    NotFoundError
        If there is none; it names the latest runs.
    """
    found = view.find_run(run_id)
    if found is None:
        known = [run.id for run in view.list_runs()]
        raise NotFoundError(
            f"there is no run `{run_id}`.", at=run_id, has=known[-_SHOWN:], hint=did_you_mean(run_id, known)
        )
    return found


def _demand_model(view: RegistryView, model: str) -> None:
    known = sorted({version.model for version in view.list_versions()})
    if model not in known:
        raise NotFoundError(
            f"no version of `{model}` is registered.",
            at=model,
            has=known,
            hint=did_you_mean(model, known) or f"holdfast train {model}",
        )
