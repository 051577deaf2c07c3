"""The import rules hold, and each would notice: an injected violation breaks that rule and no other."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

# (contract, files to add below src/holdfast). Where two rules could notice, the place is chosen so that
# only one does: `cli` is above everything, so what it imports can be no cycle and no step downstream.
VIOLATIONS = [
    ("flow", {"testing/injected.py": "import holdfast.console\n"}),
    ("flow", {"unplaced/__init__.py": '"""A package that no layer names."""\n'}),
    (
        "acyclic",
        {
            "kernel/injected_a.py": "from holdfast.kernel import injected_b\n",
            "kernel/injected_b.py": "def later():\n    from holdfast.kernel import injected_a\n",
        },
    ),
    (
        "acyclic",
        {
            "kernel/injected_a.py": "from holdfast.kernel import injected_b\n",
            "kernel/injected_b.py": (
                "from typing import TYPE_CHECKING\n\n"
                "if TYPE_CHECKING:\n    from holdfast.kernel import injected_a\n"
            ),
        },
    ),
    ("pure", {"project/injected.py": "import time\n"}),
    ("pure", {"project/injected.py": "def later():\n    import sqlalchemy\n"}),
    (
        "adapters-independent",
        {
            "adapters/injected_a/__init__.py": "",
            "adapters/injected_b/__init__.py": "import holdfast.adapters.injected_a\n",
        },
    ),
    (
        "adapters-independent",
        {
            "adapters/injected/__init__.py": "",
            "adapters/durable.py": "import holdfast.adapters.injected\n",
        },
    ),
    (
        "one-composition-root",
        {
            "adapters/injected/__init__.py": "",
            "server/injected.py": "import holdfast.adapters.injected\n",
        },
    ),
    ("shipped-tests-stay-out", {"cli/injected.py": "import holdfast.testing\n"}),
    ("no-root", {"cli/injected.py": "import holdfast\n"}),
]


def broken_contracts(folder: Path) -> set[str]:
    """Ids of the contracts that the source tree in `folder/src` breaks."""
    outcome = subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            "--no-cache",
            "--no-logo",
            "--config",
            "pyproject.toml",
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = {re.sub(r" \(\d+ ignored imports?\)$", "", line.strip()) for line in outcome.stdout.splitlines()}
    broken = {contract["id"] for contract in CONTRACTS if f"{contract['name']} BROKEN" in said}
    kept = {contract["id"] for contract in CONTRACTS if f"{contract['name']} KEPT" in said}
    assert broken | kept == {contract["id"] for contract in CONTRACTS}, outcome.stdout + outcome.stderr
    assert (outcome.returncode != 0) == bool(broken)
    return broken


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_contract_is_kept(tree: Path) -> None:
    assert broken_contracts(tree) == set()


@pytest.mark.parametrize(("contract", "files"), VIOLATIONS)
def test_violation_breaks_that_contract_and_no_other(
    tree: Path, contract: str, files: dict[str, str]
) -> None:
    for name, text in files.items():
        path = tree / "src" / "holdfast" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert broken_contracts(tree) == {contract}


def test_every_contract_has_a_violation() -> None:
    assert {contract for contract, _ in VIOLATIONS} == {contract["id"] for contract in CONTRACTS}
