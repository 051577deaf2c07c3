"""What a definition shows to be known only later is refused wherever a feature could learn it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands import holdfast

from holdfast.app.workspace import Workspace

TEXT = """
from datetime import datetime
import holdfast as hf


class Stay(hf.Event):
    stay_id: str = hf.event_id()
    at: datetime = hf.event_time()
    hotel: str
    nights: int = hf.field(ge=0, le=60)
    country: str | None = hf.field(max_length=3, known_later=True)
    spent: float = hf.field(scale=2, ge=0, le=10_000, known_later=True)


class End(hf.Event):
    stay_id: str = hf.event_id()
    settled_at: datetime = hf.event_time()
    told_at: datetime = hf.arrival_time()
    hotel: str
    status: str


class Hotel(hf.Event):
    hotel: str
    since: datetime = hf.event_time()
    told_at: datetime = hf.arrival_time()
    rooms: int = hf.field(ge=0, le=1000)
    stars: int = hf.field(ge=0, le=5, known_later=True)


project = hf.Project("stays", owner="ana")
stays = project.source("stays", Stay, known_after="0s")
ends = project.source("ends", End)
hotels = project.table("hotels", Hotel, key="hotel")
hotel = hf.Entity("hotel", key="hotel")
origin = hf.Entity("origin", key="country")


@project.view(stays, entity=hotel)
def history(s):
    return {{"stays_7d": s.count(over="7d"){measure}}}


{more}


@project.features(stays, history, hotels{views})
def chosen(x):
    return {{"nights": x.nights, "stays_7d": x.stays_7d, "rooms": hotels.rooms{feature}}}


@project.model(
    chosen,
    label=hf.Label(ends, key="stay_id", value=ends.status == "Gone", horizon="30d", absent=0),
    split=hf.TimeSplit(test="30d", validation="30d"){model},
)
def gone(data, params, run):
    return None
"""
PARTS = ("measure", "more", "views", "feature", "model")
BY_ORIGIN = """
@project.view(stays, entity=origin)
def of_origin(s):
    return {"origin_7d": s.count(over="7d")}
"""
TOLD_OF_ORIGIN = """
class Holiday(hf.Event):
    country: str | None
    at: datetime = hf.event_time()
    told_at: datetime = hf.arrival_time()
    days: int = hf.field(ge=0, le=60)
    note: str = hf.event_id()

holidays = project.source("holidays", Holiday)

@project.view(holidays, entity=origin)
def of_origin(h):
    return {"holidays_7d": h.count(over="7d")}
"""
PER_ORIGIN = """
@project.features(hf.Spine(hotel, origin, every="1d"), history)
def each_day(x):
    return {"stays": x.stays_7d}
"""


def leaks(project: Callable[[str], Path], **parts: str) -> list[tuple[str, str]]:
    """Return what is told of a definition that is right but for these parts."""
    folder = project(TEXT.format(**(dict.fromkeys(PARTS, "") | parts)))
    found = Workspace(folder).validate()
    assert {p.code for p in found} <= {"HF108"}, found
    return [(p.at, p.message) for p in found]


def test_columns_known_later_are_told_by_none_who_does_not_read_them(project: Callable[[str], Path]) -> None:
    assert leaks(project) == []


@pytest.mark.parametrize(
    ("parts", "at", "who", "column"),
    [
        ({"feature": ', "from": x.country'}, "feature_sets.chosen.from", "`from`", "country"),
        (
            {"feature": ', "home": hf.where(x.country == "PRT", x.nights, 0)'},
            "feature_sets.chosen.home",
            "`home`",
            "country",
        ),
        (
            {"feature": ', "unknown": x.country.is_missing()'},
            "feature_sets.chosen.unknown",
            "`unknown`",
            "country",
        ),
        ({"feature": ', "stars": hotels.stars'}, "feature_sets.chosen.stars", "`stars`", "hotels.stars"),
        (
            {"measure": ', "spent_7d": s.spent.sum(over="7d")'},
            "views.history.spent_7d",
            "`spent_7d`",
            "spent",
        ),
        ({"measure": ', "last": s.country.last(over="7d")'}, "views.history.last", "`last`", "country"),
        (
            {"measure": ', "home_7d": s.count(over="7d", where=s.country == "PRT")'},
            "views.history.home_7d",
            "`home_7d`",
            "country",
        ),
        (
            {"more": BY_ORIGIN, "views": ", of_origin", "feature": ', "of": x.origin_7d'},
            "views.of_origin",
            "entity `origin`",
            "country",
        ),
        (
            {"more": PER_ORIGIN},
            "feature_sets.each_day",
            "spine `hotel_origin_every_1d`",
            "country",
        ),
        (
            {"more": TOLD_OF_ORIGIN, "views": ", of_origin", "feature": ', "of": x.holidays_7d'},
            "feature_sets.chosen",
            "entity `origin`",
            "country",
        ),
    ],
)
def test_whatever_reads_a_column_known_later_is_refused(
    parts: dict[str, str], at: str, who: str, column: str, project: Callable[[str], Path]
) -> None:
    found = leaks(project, **parts)

    assert [place for place, _ in found] == [at]
    assert found[0][1].startswith(f"{who} reads `{column}`, which is marked known_later")


@pytest.mark.parametrize(
    "part",
    [
        'test_where=lambda x: x.country == "PRT"',
        "precision_at=10, precision_per=origin",
        'cost=hf.Cost(false_alarm=1.0, missed="spent")',
    ],
)
def test_what_looks_back_on_a_row_may_read_what_was_known_later(
    part: str, project: Callable[[str], Path]
) -> None:
    assert leaks(project, model=f", {part}") == []


def test_apply_and_train_refuse_what_validate_refuses(project: Callable[[str], Path]) -> None:
    parts = dict.fromkeys(PARTS, "") | {"feature": ', "from": x.country'}
    folder = project(TEXT.format(**parts))

    for command in (["validate"], ["plan"], ["apply", "--by", "ana"], ["train", "gone", "--by", "ana"]):
        ran = holdfast(*command, cwd=folder)
        assert ran.status != 0
        assert "`from` reads `country`, which is marked known_later" in ran.out + ran.err
        assert "[HF108]" in ran.out + ran.err


def test_mark_that_is_no_truth_value_is_told(project: Callable[[str], Path]) -> None:
    text = TEXT.format(**dict.fromkeys(PARTS, "")).replace(
        "max_length=3, known_later=True", 'known_later="7d"'
    )

    found = [p.message for p in Workspace(project(text)).validate()]

    assert "known_later of column `country` is True or False, found '7d'." in found


def test_mark_may_come_and_go_with_stored_rows(project: Callable[[str], Path]) -> None:
    marked = TEXT.format(**dict.fromkeys(PARTS, ""))
    workspace = Workspace(project(marked.replace(", known_later=True", "")))
    workspace.apply(by="ana")

    change = Workspace(project(marked)).plan()

    assert {c.name: c.breaking for c in change.changes} == {"stays": False, "hotels": False}
    assert any("~ country" in note for c in change.changes for note in c.notes)
