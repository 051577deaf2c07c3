"""Compilation: what a user wrote becomes nouns; what cannot become one becomes a problem with its place.

Structure is judged here (types, durations, duplicates, cycles, captured functions); meaning is judged over
the compiled nouns by `holdfast.project.validate`.
"""

from __future__ import annotations

from typing import Any

from holdfast.kernel.errors import ContractError
from holdfast.kernel.ids import settled
from holdfast.project.compilation import Compilation
from holdfast.project.compile_features import compile_features, compile_view
from holdfast.project.compile_model import compile_model
from holdfast.project.compile_release import compile_release
from holdfast.project.compile_schema import compile_source, compile_table
from holdfast.project.compiled import CompiledObjectives, CompiledProject
from holdfast.project.definition import Objectives, Project


def compile_project(project: Project) -> Compilation:
    """Return the compiled project with all structural problems; never raises for a user's mistake."""
    out = Compilation(CompiledProject(project.name, project.owner))
    out.places["project"] = project.place
    for source in project.sources:
        compile_source(out, source)
    for table in project.tables:
        compile_table(out, table)
    for view in project.views:
        compile_view(out, project, view)
    for features in project.feature_sets:
        compile_features(out, project, features)
    for model in project.models:
        compile_model(out, project, model)
    for release in project.releases:
        compile_release(out, release)
    _settle(out, project)
    return out


def _settle(out: Compilation, project: Project) -> None:
    """Add what the project says of itself, and bring all values to the types they are stored in."""
    nodes = out.project
    out.project = CompiledProject(project.name)
    try:
        whole = CompiledProject(
            project.name,
            project.owner,
            _people(out, project.people),
            _objectives(out, project.objectives),
            nodes.sources,
            nodes.tables,
            nodes.views,
            nodes.grids,
            nodes.feature_sets,
            nodes.models,
            nodes.releases,
        )
        out.project = settled(whole)
        assert out.project.fingerprint
    except ContractError as error:
        out.report("HF103", f"a value has a type that cannot be stored: {error.problem.message}", "project")
    except (TypeError, ValueError) as error:
        out.report("HF103", f"a value cannot be stored: {error}.", "project")


def _people(out: Compilation, given: Any) -> dict[str, tuple[str, ...]]:
    people: dict[str, tuple[str, ...]] = {}
    for role, names in dict(given).items():
        if isinstance(names, str):
            out.report(
                "HF110",
                f"`people` gives role `{role}` a text, a list of names is expected.",
                "project.people",
                hint=f"write [{names!r}]",
            )
            names = [names]
        people[role] = tuple(names)
    return people


def _objectives(out: Compilation, given: Any) -> CompiledObjectives | None:
    at = "project.objectives"
    spec = out.expect(Objectives, given, "objectives=", at)
    if spec is None:
        return None
    return CompiledObjectives(
        None if spec.p99 is None else out.duration(spec.p99, f"{at}.p99"),
        None if spec.rps is None else out.number(spec.rps, "rps", f"{at}.rps"),
        None if spec.freshness is None else out.duration(spec.freshness, f"{at}.freshness"),
    )
