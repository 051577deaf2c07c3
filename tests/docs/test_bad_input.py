"""Every test that the matrix of bad input names exists, and every hostile file is spoken of by code."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "bad-input.md").read_text(encoding="utf-8")


def _tests() -> set[str]:
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert len(named) > 30
    assert named <= _tests()


def test_every_line_of_the_tables_of_requests_definitions_and_stores_names_a_test() -> None:
    for section in ("Requests", "Definitions", "Stores"):
        table = PAGE.partition(f"## {section}")[2].partition("\n## ")[0]
        lines = [line for line in table.splitlines() if line.startswith("|")][2:]
        assert lines
        assert [line for line in lines if "`test_" not in line] == []


def test_every_code_of_the_corpus_is_on_the_page() -> None:
    source = (ROOT / "tests" / "unit" / "events" / "test_hostile_files.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'"(HF\d{3})"', source))
    files = PAGE.partition("## Files")[2].partition("\n## ")[0]

    assert codes
    assert codes <= set(re.findall(r"HF\d{3}", files))
