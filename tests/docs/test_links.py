"""Links inside the repository lead somewhere: pages, anchors, files, pictures. Nothing outside is asked."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.docs.pages import DOCS, ROOT

PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])

_CODE = re.compile(
    r"^(`{3,})(?!\{).*?^\1", re.MULTILINE | re.DOTALL
)  # directives stay: {figure} names a file
_SPAN = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_DOC = re.compile(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`")
_FIGURE = re.compile(r"^```\{(?:figure|image)\}\s+(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$", re.MULTILINE)


def targets(text: str) -> list[str]:
    """Return what the links of a page name."""
    prose = _CODE.sub("", text)
    documents = [f"{name}.md" for name in _DOC.findall(prose)]
    return [*documents, *_FIGURE.findall(prose), *_LINK.findall(_SPAN.sub("", prose)), *_links_of_code(prose)]


def _links_of_code(prose: str) -> list[str]:
    """Return links whose text is code, as in [`project.py`](project.py)."""
    return re.findall(r"\[`[^`\n]+`\]\(([^)\s]+)\)", prose)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    prose = _CODE.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for _, heading in _HEADING.findall(prose):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", "")).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        while slug in found:
            slug += "-1"
        found.add(slug)
    return found


def broken(page: Path, target: str) -> str | None:
    """Return why a link leads nowhere, or None."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None  # outside this repository
    name, _, anchor = target.partition("#")
    place = (page.parent / unquote(name)).resolve() if name else page
    if name.startswith("/"):
        place = DOCS / name.lstrip("/")
    if not place.exists():
        return f"there is no {name}"
    if anchor and place.suffix == ".md" and anchor not in anchors(place):
        return f"{name or page.name} has no heading #{anchor}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_somewhere(page):
    found = {target: broken(page, target) for target in targets(page.read_text(encoding="utf-8"))}

    assert {target: why for target, why in found.items() if why} == {}


def test_every_page_of_the_site_is_in_a_table_of_contents():
    listed = {DOCS / "index.md", DOCS / "explanation/decisions/template.md"}
    for page in DOCS.rglob("*.md"):
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            entries = [
                line.strip() for line in tree.splitlines() if line.strip() and not line.startswith(":")
            ]
            for entry in entries:
                listed |= set(page.parent.glob(f"{entry}.md"))

    assert sorted(set(DOCS.rglob("*.md")) - listed) == []


def test_pictures_are_readable_and_told_in_words():
    pictures = sorted(DOCS.rglob("*.svg"))
    pages = {page: page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")}

    assert pictures
    for picture in pictures:
        text = picture.read_text(encoding="utf-8")
        assert "<title" in text
        assert "prefers-color-scheme:dark" in text
        assert min(float(size) for size in re.findall(r"font(?:-size)?:\s*([\d.]+)px", text)) >= 12
        users = [page for page in pages if picture.name in pages[page]]
        assert users, f"{picture.name} is shown nowhere"
        for page in users:
            assert re.search(rf"\{{figure\}} pictures/{picture.name}\n:alt: \S", pages[page]), page


@pytest.mark.parametrize(
    "text",
    [
        "[a](missing.md)",
        "{doc}`words <missing>`",
        "```{figure} missing.svg\n```",
        "[`x`](missing.py)",
        "[a](glossary.md#no-such-word)",
    ],
)
def test_link_that_leads_nowhere_is_found(text):
    found = [broken(DOCS / "index.md", target) for target in targets(text)]

    assert any(found)
