"""Plans say what would be added, changed and removed, and what stored rows no longer fit."""

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.app.workspace import Workspace
from holdfast.kernel.schema import Column, Schema
from holdfast.project.compiled import CompiledProject
from holdfast.project.plan import Plan, make_plan, schema_changes

BLANK = Path(__file__).resolve().parents[3] / "src/holdfast/app/examples/blank"
Write = Callable[[str], Path]


def blank() -> CompiledProject:
    return Workspace(BLANK).project


def edited(project: Write, *pairs: tuple[str, str]) -> CompiledProject:
    text = (BLANK / "project.py").read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return Workspace(project(text)).project


def nodes(plan: Plan) -> list[tuple[str, str, str]]:
    return [(change.action, change.kind, change.name) for change in plan.changes]


def test_without_a_recorded_definition_everything_is_added() -> None:
    plan = make_plan(None, blank())

    assert plan.before is None
    assert nodes(plan) == [
        ("add", "source", "visits"),
        ("add", "source", "purchases"),
        ("add", "view", "visit_activity"),
        ("add", "features", "create_features"),
        ("add", "model", "purchase"),
        ("add", "release", "purchase"),
    ]


def test_same_definition_gives_an_empty_plan() -> None:
    plan = make_plan(blank(), blank())

    assert plan.is_empty
    assert plan.changes == ()


def test_changed_window_names_the_measure_and_the_models(project: Write) -> None:
    plan = make_plan(blank(), edited(project, ('v.count(over="7d")', 'v.count(over="8d")')))

    assert nodes(plan) == [("change", "view", "visit_activity")]
    assert plan.changes[0].notes[0].endswith("~visits_7d")
    assert plan.changes[0].notes[1] == "used by purchase"


def test_removed_source_keeps_its_events(project: Write) -> None:
    fewer = edited(
        project,
        ('purchases, key="visit_id"', 'visits, key="visit_id"'),
        ("purchases = project", "_ = project"),
    )
    fewer.sources.pop("purchases")

    plan = make_plan(blank(), fewer)

    assert ("remove", "source", "purchases") in nodes(plan)
    assert any("stay in the lake" in note for change in plan.changes for note in change.notes)


def test_changed_model_and_release_name_what_changed(project: Write) -> None:
    plan = make_plan(blank(), edited(project, ('horizon="1d"', 'horizon="2d"'), (">= 0.6", ">= 0.7")))

    assert [(c.kind, c.notes) for c in plan.changes] == [("model", ("label",)), ("release", ("gates",))]


def test_changed_owner_changes_the_project_alone(project: Write) -> None:
    plan = make_plan(blank(), edited(project, ('owner="me"', 'owner="you"')))

    assert nodes(plan) == [("change", "project", "blank")]
    assert plan.changes[0].notes == ("owner",)


def column(**changes: object) -> Column:
    return Column(**{"name": "n", "type": "decimal", "scale": 2, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "breaking"),
    [
        ((), (column(nullable=True),), False),
        ((), (column(),), True),
        ((column(),), (), False),
        ((column(),), (column(ge=0),), False),
        ((column(),), (column(doc="more"),), False),
        ((column(),), (column(nullable=True),), False),
        ((column(nullable=True),), (column(),), True),
        ((column(),), (column(scale=3),), True),
        ((column(),), (column(type="int", scale=None),), True),
        ((column(type="time", scale=None),), (column(type="time", scale=None, role="arrival_time"),), True),
    ],
)
def test_schema_change_is_breaking_where_stored_rows_do_not_fit(
    before: tuple[Column, ...], after: tuple[Column, ...], breaking: bool
) -> None:
    notes, found = schema_changes(Schema("S", before), Schema("S", after))

    assert found is breaking
    assert notes[-1] == ("not backward compatible" if breaking else "backward compatible")
