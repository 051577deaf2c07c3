"""The reference is made from the code: every name, command, setting, code and operation stands in it."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _generator():
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()


@pytest.mark.parametrize("page", sorted(GENERATOR.PAGES))
def test_reference_page_is_what_the_code_says(page):
    written = (DOCS / "reference" / page).read_text(encoding="utf-8")

    assert written == GENERATOR.PAGES[page](), f"{page} is out of date: python docs/generate.py"


def test_every_error_code_used_in_the_source_is_in_the_table():
    import re

    from holdfast.kernel.errors import CODES

    source = Path(__file__).resolve().parents[2] / "src"
    used = {
        code
        for file in source.rglob("*.py")
        for code in re.findall(r'"(HF\d{3})"', file.read_text(encoding="utf-8"))
    }

    assert used <= set(CODES)
