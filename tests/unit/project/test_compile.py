"""Definitions compile into data with fingerprints, and back from JSON into the same."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.app.workspace import Workspace
from holdfast.events.entity import Entity
from holdfast.kernel.ids import canonical_json, fingerprint, from_data
from holdfast.project.compiled import CompiledProject

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = {
    "fraud": ROOT / "src/holdfast/app/examples/fraud",
    "bookings": ROOT / "src/holdfast/app/examples/bookings",
    "blank": ROOT / "src/holdfast/app/examples/blank",
    "demand": ROOT / "tests/resources/demand",
}
Write = Callable[[str], Path]


def text_of(name: str) -> str:
    return (FOLDERS[name] / "project.py").read_text(encoding="utf-8")


def compiled(folder: Path) -> CompiledProject:
    return Workspace(folder).project


@pytest.mark.parametrize("name", ["fraud", "bookings", "blank"])
def test_example_is_valid_without_warnings(name: str) -> None:
    assert Workspace(FOLDERS[name]).validate() == []


def test_demand_is_valid_and_says_what_cannot_be_evaluated_yet() -> None:
    problems = Workspace(FOLDERS["demand"]).validate()

    assert {(p.code, p.severity) for p in problems} == {("HF113", "warning")}
    assert {p.at.rpartition(".")[2] for p in problems} == {"demand"}


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_json_round_trip_keeps_project_and_fingerprint(name: str) -> None:
    project = compiled(FOLDERS[name])

    again = from_data(CompiledProject, json.loads(canonical_json(project)))

    assert again == project
    assert again.fingerprint == project.fingerprint


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_equal_definitions_have_equal_fingerprints(name: str, project: Write) -> None:
    assert compiled(project(text_of(name))).fingerprint == compiled(FOLDERS[name]).fingerprint


def test_comments_and_layout_do_not_change_the_fingerprint(project: Write) -> None:
    text = text_of("fraud").replace('    "fraud",\n    owner', '    "fraud",  # a comment\n\n    owner')

    assert compiled(project(text)).fingerprint == compiled(FOLDERS["fraud"]).fingerprint


def test_changed_window_changes_the_view_and_what_contains_it_and_nothing_else(project: Write) -> None:
    before = compiled(FOLDERS["fraud"])
    after = compiled(project(text_of("fraud").replace('count(over="10m"', 'count(over="11m"')))

    changed = {
        (part, name)
        for part in ("sources", "views", "feature_sets", "models", "releases")
        for name in getattr(before, part)
        if fingerprint(getattr(before, part)[name]) != fingerprint(getattr(after, part)[name])
    }
    assert changed == {("views", "card_activity")}
    assert before.fingerprint != after.fingerprint
    assert before.feature_plan("fraud").fingerprint != after.feature_plan("fraud").fingerprint


def test_edited_training_function_changes_the_model_alone(project: Write) -> None:
    before = compiled(FOLDERS["fraud"])
    after = compiled(project(text_of("fraud").replace("early_stopping(60", "early_stopping(61")))

    assert before.models["fraud"].source != after.models["fraud"].source
    assert before.views == after.views


def test_whole_numbers_where_floats_are_declared_do_not_change_the_fingerprint(project: Write) -> None:
    text = text_of("fraud")

    one = compiled(project(text.replace("false_alarm=5.0", "false_alarm=5")))

    assert one.fingerprint == compiled(FOLDERS["fraud"]).fingerprint


def test_feature_may_read_another_feature_of_its_set(project: Write) -> None:
    text = text_of("blank").replace(
        '"seconds": x.seconds,', '"seconds": x.seconds, "half": x.seconds / 2, "quarter": x.half / 2,'
    )

    features = {f.name: f.expr for f in compiled(project(text)).feature_sets["create_features"].features}

    assert features["quarter"].args[0] == features["half"]


def test_condition_on_test_rows_reads_columns_views_and_features(project: Write) -> None:
    text = text_of("fraud").replace(
        'missed="amount"),', 'missed="amount"), precision_per=card, test_where=lambda x: (x.night == 0) & '
        '(x.card_fraud_30d == 0) & (x.amount > 1),', 1
    )  # fmt: skip
    opened = Workspace(project(text))
    found = opened.project

    condition = found.models["fraud"].test_where
    assert opened.validate() == []
    assert condition is not None
    assert set(condition.columns()) == {"at", "card_fraud_30d", "amount"}
    night = next(f for f in found.feature_sets["create_features"].features if f.name == "night")
    assert night.expr in condition.args[0].args[0].args
    assert found.models["fraud"].precision_per == Entity("card", ("card_id",))
    assert from_data(CompiledProject, json.loads(canonical_json(found))) == found


def test_text_column_alone_is_a_categorical_feature() -> None:
    features = compiled(FOLDERS["fraud"]).feature_sets["create_features"].features

    assert [f.name for f in features if f.kind == "categorical"] == ["country"]


def test_deep_expression_is_a_problem_and_no_crash(project: Write) -> None:
    text = text_of("blank").replace('{"seconds": x.seconds,', '{"seconds": sum([x.seconds] * 5000),')

    (problem,) = Workspace(project(text)).validate()

    assert (problem.code, problem.at) == ("HF103", "feature_sets.create_features.seconds")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("absent=0)", "absent='none')", "HF103"),
        (">= 0.6]", ">= float('nan')]", "HF110"),
        ("gates=[", "decision=0.5, gates=[", "HF110"),
        ("gates=[", "approval='ana', gates=[", "HF110"),
        ("gates=[", "rollout=hf.Canary([1], hold='1m', unit='customer'), gates=[", "HF110"),
        ("gates=[", "fallback=[hf.rules(lambda f: 'no')], gates=[", "HF103"),
        ("absent=0)", "absent=0), params={'rate': float('inf')}", "HF103"),
        ("absent=0)", "absent=0), precision_at='all'", "HF103"),
        ("absent=0)", "absent=0), precision_per='customer'", "HF102"),
        ("absent=0)", "absent=0), test_where=lambda x: x.nothing == 0", "HF102"),
        ("absent=0)", "absent=0), test_where=lambda x: 'all'", "HF103"),
        ("absent=0)", "absent=0), test_where='all'", "HF103"),
        ("absent=0)", "absent=0), test_where=lambda x: x.at + 'day'", "HF104"),
        ("absent=0)", "absent=0), split=hf.TimeSplit(train='0s')", "HF105"),
        ("absent=0)", "absent=0), cost=5", "HF103"),
        ("absent=0)", "absent=0), vetted=['seconds']", "HF103"),
        ("absent=0)", "absent=0), vetted={'seconds': ' '}", "HF103"),
        ("absent=0)", "absent=0), vetted={'second': 'a clock'}", "HF102"),
        ("absent=0)", "absent=0), split='5d'", "HF103"),
        ("absent=0)", "absent=0, value='one')", "HF103"),
        ('owner="me"', 'owner="me", objectives=hf.Objectives(p99="fast")', "HF105"),
        ('owner="me"', 'owner="me", objectives=hf.Objectives(rps="many")', "HF103"),
        ('owner="me"', "owner=object()", "HF103"),
        ("le=86_400", "le='a day'", "HF111"),
        ("entity=customer", "entity='customer'", "HF102"),
        ("@project.features(Visit,", "@project.features('visits',", "HF102"),
        ("visit_activity)", "visit_activity, purchases)", "HF102"),
        ('"hour": x.at.hour()', '"hour": None', "HF103"),
        ('v.count(over="7d")', 'v.count(over="7d", where=True)', "HF103"),
        ('"hour": x.at.hour()', '"hour": 1 / 0', "HF103"),
        ("return {", "return [x.seconds] or {", "HF103"),
    ],
)
def test_wrong_kind_of_value_is_a_problem_and_no_crash(old: str, new: str, code: str, project: Write) -> None:
    text = text_of("blank")
    assert old in text

    problems = Workspace(project(text.replace(old, new))).validate()

    assert code in {p.code for p in problems}
    assert all(p.message for p in problems)


def test_failed_view_is_said_once_and_not_again_where_it_is_read(project: Write) -> None:
    text = text_of("blank").replace("v.seconds.sum", "v.seconds.summ")

    (problem,) = Workspace(project(text)).validate()

    assert (problem.code, problem.at, problem.hint) == (
        "HF103",
        "views.visit_activity",
        "did you mean `sum`?",
    )


def test_key_of_another_type_in_rows_and_events_is_refused(project: Write) -> None:
    text = text_of("blank").replace(
        "class Purchase(hf.Event):", "class Purchase(hf.Event):\n    customer_id: int"
    )
    text = text.replace("@project.view(visits,", "@project.view(purchases,").replace(
        ', "seconds_7d": v.seconds.sum(over="7d")', ""
    )

    (problem,) = Workspace(project(text)).validate()

    assert problem.code == "HF104"
    assert "is string in `Visit` and int in `Purchase`" in problem.message


def test_label_over_a_window_keeps_its_key(project: Write) -> None:
    text = text_of("blank").replace(
        'label=hf.Label(purchases, key="visit_id", horizon="1d", absent=0)',
        'label=hf.Label(visits.seconds.sum(over="1d", after=True), key="customer_id")',
    )

    label = compiled(project(text)).models["purchase"].label

    assert (label.key, label.horizon, label.source) == ("customer_id", 86_400_000_000, "visits")


def test_label_over_a_window_of_event_rows_needs_a_key(project: Write) -> None:
    text = text_of("blank").replace(
        'label=hf.Label(purchases, key="visit_id", horizon="1d", absent=0)',
        'label=hf.Label(visits.seconds.sum(over="1d", after=True))',
    )

    (problem,) = Workspace(project(text)).validate()

    assert (problem.code, problem.at) == ("HF102", "models.purchase.label")


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ('v.count(over="7d")', "v.count(over=7)", "HF105", "say the unit: '7s', '7m', '7h' or '7d'"),
        ("x.seconds, ", "x.second_s, ", "HF102", "did you mean `seconds`?"),
        ('"seconds": x.seconds', '"length": x.length', "HF102", ""),
        (
            "(Visit, visit_activity)",
            "(Visit)",
            "HF102",
            "add view `visit_activity` to @project.features(...)",
        ),
    ],
)
def test_slip_is_told_with_what_to_do(old: str, new: str, code: str, said: str, project: Write) -> None:
    folder = project(text_of("blank").replace(old, new))

    problems = Workspace(folder).validate()

    assert (problems[0].severity, problems[0].code) == ("error", code)
    assert problems[0].hint == said
