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


def test_every_error_code_has_a_cause_and_a_remedy():
    from holdfast.kernel.errors import CODES

    assert set(GENERATOR.REMEDIES) == set(CODES)
    assert all(len(said) == 2 and all(said) for said in GENERATOR.REMEDIES.values())


def test_every_public_name_has_a_docstring_of_its_own():
    import holdfast as hf

    page = GENERATOR.python_page()
    for name in hf.__all__:
        value = getattr(hf, name)
        assert f"\n## {name}\n" in page
        assert value.__doc__, name
        assert not value.__doc__.startswith(f"{name}("), f"{name} has only what a dataclass writes by itself"
        for method, function in vars(value).items() if isinstance(value, type) else ():
            if not method.startswith("_") and callable(function):
                assert function.__doc__, f"{name}.{method}"


def test_every_command_shows_an_example():
    shown = GENERATOR.cli_page().split("\n## holdfast ")[1:]

    assert len(shown) > 15
    for help_ in shown:
        name = help_.partition("\n")[0]
        assert f"Example: holdfast {name}" in help_, name
