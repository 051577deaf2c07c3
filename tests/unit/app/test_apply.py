"""Apply makes the stored state fit the definition, or refuses before it changes anything."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from holdfast.app.workspace import Workspace
from holdfast.kernel.errors import DefinitionError, HoldfastError, RefusedError

BLANK = (Path(__file__).resolve().parents[3] / "src/holdfast/app/examples/blank/project.py").read_text()
Write = Callable[[str], Path]


@pytest.fixture
def edit(project: Write) -> Callable[..., Workspace]:
    """Write the blank example with changes and open it."""

    def write(*pairs: tuple[str, str]) -> Workspace:
        text = BLANK
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        return Workspace(project(text))

    return write


Edit = Callable[..., Workspace]


def ingest_one(workspace: Workspace) -> None:
    file = workspace.folder / "visits.csv"
    file.write_text("visit_id,at,customer_id,seconds\nv-1,2026-01-01T00:00:00Z,c-1,1.5\n")
    workspace.ingest("visits", file)


def test_apply_makes_the_tables_and_records_the_definition(edit: Edit) -> None:
    workspace = edit()

    plan = workspace.apply(by="eva")

    assert plan.count("add") == 6
    assert workspace.wiring.lake.tables() == ["purchases", "visits"]
    assert edit().plan().is_empty
    (entry,) = edit().history().entries
    assert (entry.actor, entry.action, entry.subject) == ("eva", "apply", "blank")


def test_applying_again_changes_nothing(edit: Edit) -> None:
    edit().apply(by="eva")
    lake = edit().wiring.lake
    before = {table: lake.version(table) for table in lake.tables()}

    plan = edit().apply(by="eva")

    assert plan.is_empty
    assert {table: lake.version(table) for table in lake.tables()} == before
    assert len(edit().history().entries) == 1


def test_applying_again_makes_a_table_that_was_lost(edit: Edit) -> None:
    import shutil

    workspace = edit()
    workspace.apply(by="eva")
    shutil.rmtree(workspace.wiring.settings.lake / "visits")

    edit().apply(by="eva")

    assert edit().wiring.lake.tables() == ["purchases", "visits"]


def test_plan_writes_nothing(edit: Edit) -> None:
    workspace = edit()

    workspace.plan()

    assert not (workspace.folder / ".holdfast").exists()


def test_invalid_definition_is_not_applied(edit: Edit) -> None:
    workspace = edit(("x.seconds,", "x.secnds,"))

    with pytest.raises(DefinitionError, match="did you mean `seconds`"):
        workspace.apply(by="eva")

    assert not (workspace.folder / ".holdfast").exists()


def test_new_optional_column_is_null_in_stored_rows(edit: Edit) -> None:
    workspace = edit()
    workspace.apply(by="eva")
    ingest_one(workspace)

    plan = edit(("customer_id: str\n", "customer_id: str\n    page: str | None\n")).apply(by="eva")

    assert plan.changes[0].notes == ("+ page (optional)", "backward compatible")
    assert edit().wiring.lake.read("visits", ["page"])["page"].to_list() == [None]


@pytest.mark.parametrize(
    "change",
    [
        ("customer_id: str\n", "customer_id: str\n    page: str\n"),
        ("seconds: float = hf.field(scale=1,", "seconds: float = hf.field(scale=2,"),
        ("customer_id: str\n", "customer_id: int\n"),
    ],
)
def test_breaking_change_is_refused_where_rows_are_stored(change: tuple[str, str], edit: Edit) -> None:
    workspace = edit()
    workspace.apply(by="eva")
    ingest_one(workspace)
    before = edit().wiring.lake.version("visits")

    with pytest.raises(RefusedError) as caught:
        edit(change).apply(by="eva")

    assert (caught.value.code, caught.value.problem.at) == ("HF404", "sources.visits")
    assert edit().wiring.lake.version("visits") == before
    assert edit().plan().is_empty


@pytest.mark.parametrize(
    ("change", "column", "kind"),
    [
        (("customer_id: str\n", "customer_id: str\n    page: str\n"), "page", pl.String()),
        (("customer_id: str\n", "customer_id: int\n"), "customer_id", pl.Int64()),
    ],
)
def test_breaking_change_is_applied_to_an_empty_table(
    change: tuple[str, str], column: str, kind: pl.DataType, edit: Edit
) -> None:
    edit().apply(by="eva")

    workspace = edit(change)
    workspace.apply(by="eva")

    assert workspace.wiring.lake.read("visits").schema[column] == kind
    assert edit(change).plan().is_empty


def test_source_that_comes_back_with_other_types_is_refused_where_rows_are_stored(edit: Edit) -> None:
    other = (
        ('project.source("visits"', 'project.source("visits_2"'),
        ("customer_id: str\n", "customer_id: int\n"),
    )
    edit().apply(by="eva")
    ingest_one(edit())
    edit(other[0]).apply(by="eva")

    with pytest.raises(RefusedError) as caught:
        edit(other[1]).apply(by="eva")

    assert caught.value.code == "HF404"


@pytest.mark.parametrize(
    "verb",
    [
        lambda w: w.ingest("visits", "x.csv"),
        lambda w: w.train("purchase"),
    ],
)
def test_what_loads_and_trains_refuses_while_the_definition_differs_from_what_was_applied(
    verb: Callable[[Workspace], object], edit: Edit
) -> None:
    edit().apply(by="eva")

    with pytest.raises(RefusedError, match=r"project\.py was changed since it was applied") as caught:
        verb(edit(('over="7d"', 'over="8d"')))

    assert caught.value.code == "HF404"
    assert caught.value.problem.has == ("change view visit_activity",)


@pytest.mark.parametrize(
    "verb",
    [
        lambda w: w.approve("purchase", 1, by="ana", reason="ok"),
        lambda w: w.reject("purchase", 1, by="ana", reason="no"),
        lambda w: w.deploy("purchase", 1, by="ana"),
        lambda w: w.rollback("purchase", by="ana", reason="incident"),
        lambda w: w.predict("purchase"),
        lambda w: w.drift("purchase"),
        lambda w: w.performance("purchase"),
    ],
)
@pytest.mark.parametrize("change", [('over="7d"', 'over="8d"'), ("import", "import import")])
def test_what_releases_answers_and_measures_goes_by_what_was_applied(
    verb: Callable[[Workspace], object], change: tuple[str, str], edit: Edit
) -> None:
    edit().apply(by="eva")

    with pytest.raises(HoldfastError, match="version") as caught:  # and not about the definition
        verb(edit(change))

    assert caught.value.code in ("HF300", "HF301", "HF302")


def test_lists_are_shown_while_the_definition_differs(edit: Edit) -> None:
    edit().apply(by="eva")

    workspace = edit(('over="7d"', 'over="8d"'))

    assert workspace.models() == []
    assert len(workspace.history().entries) == 1
    assert workspace.quarantine() == []
