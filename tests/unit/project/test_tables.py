"""Tables and corrections in a definition: what they compile to, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.app.workspace import Workspace
from holdfast.features.window import ALWAYS

HEAD = """
from datetime import datetime
import holdfast as hf

project = hf.Project("shop", owner="ops")
"""
PRICE = """
class Price(hf.Event):
    since: datetime = hf.event_time()
    item: str
    price: float = hf.field(scale=2, ge=0, le=1000)
    label: str | None
"""
Write = Callable[[str], Path]


def problems(folder: Path) -> list[tuple[str, str]]:
    return [(p.code, p.message) for p in Workspace(folder).validate()]


def test_table_is_a_source_and_a_view_of_its_columns(project: Write) -> None:
    text = HEAD + PRICE + 'prices = project.table("prices", Price, key="item", known_after="1h")\n'

    found = Workspace(project(text)).project

    assert found.sources["prices"].known_after == 3_600_000_000
    view = found.views["prices"]
    assert [m.name for m in view.measures] == ["prices.since", "prices.price", "prices.label"]
    assert {(m.aggregate, m.window.over, m.window.offset) for m in view.measures} == {("as_of", ALWAYS, 0)}
    assert view.entity.key == ("item",)


def test_begin_of_validity_is_the_event_time_and_what_is_known_ahead_may_begin_at_t(project: Write) -> None:
    text = HEAD + PRICE.replace(" = hf.event_time()", "").replace(
        "item: str", "item: str\n    until: datetime"
    )
    text += (
        'prices = project.table("prices", Price, key="item", valid=("since", "until"), known_ahead=True)\n'
    )

    found = Workspace(project(text)).project

    event_time = found.tables["prices"].schema.event_time
    assert event_time is not None
    assert event_time.name == "since"
    assert found.views["prices"].measures[0].window.offset == -1


@pytest.mark.parametrize(
    ("declared", "code", "said"),
    [
        ('Price, key="itm"', "HF102", "names column `itm`"),
        ('Price, key="item", valid=("since", "label")', "HF104", "`label` bounds an interval of time"),
        ('Price, key="item", valid=("label", "since")', "HF111", "cannot be `| None`"),
        ('Leased, key="item", valid=("since", "until")', "HF108", "`until` bounds the time in which"),
        ('Timeless, key="item"', "HF111", "does not say from when on"),
        ('Mended, key="item"', "HF111", "in a table a newer row does"),
    ],
)
def test_table_that_means_nothing_is_refused(project: Write, declared: str, code: str, said: str) -> None:
    more = """
class Timeless(hf.Event):
    item: str
    price: int

class Leased(hf.Event):
    item: str
    since: datetime
    until: datetime | None = hf.field(known_later=True)

class Mended(hf.Event):
    row: str = hf.event_id()
    since: datetime = hf.event_time()
    item: str
    instead: str | None = hf.supersedes()
"""
    text = HEAD + PRICE + more + f'prices = project.table("prices", {declared}, known_after="0s")\n'

    found = problems(project(text))

    assert any(c == code and said in message for c, message in found), found


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("corrects: str = hf.supersedes()", "must be `| None`"),
        ("corrects: int | None = hf.supersedes()", "is int, but `sale` is string"),
        (
            "corrects: str | None = hf.supersedes()\n    twice: str | None = hf.supersedes()",
            "several columns marked hf.supersedes()",
        ),
    ],
)
def test_correction_that_cannot_name_an_event_is_refused(project: Write, column: str, said: str) -> None:
    text = f"""{HEAD}
class Sale(hf.Event):
    sale: str = hf.event_id()
    at: datetime = hf.event_time()
    {column}

sales = project.source("sales", Sale, known_after="0s")
"""

    assert any(said in message for _, message in problems(project(text)))
