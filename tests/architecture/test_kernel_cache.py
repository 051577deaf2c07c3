"""What numba's cache cannot see: that a kernel was compiled with functions of another module.

The cache of a kernel holds for as long as its own file is the same. So a file that takes functions from
others names their hash, and is another one when they are.
"""

import ast
import hashlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"


def file_of(module: str) -> Path:
    return SOURCE.joinpath(*module.split(".")).with_suffix(".py")


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file takes something from."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {module for module in found if module.startswith("holdfast")}


def built_on(path: Path) -> str:
    """Return the hash of all modules that a file's functions may come from; empty where there are none."""
    found: set[str] = set()
    new = imported(path)
    while new:
        found |= new
        new = {module for known in new for module in imported(file_of(known))} - found
    texts = [file_of(module).read_bytes() for module in sorted(found)]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16] if texts else ""


def declared(path: Path) -> str:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "BUILT_ON":
            return str(ast.literal_eval(node.value))
    return ""


KERNELS = sorted(path for path in SOURCE.rglob("*.py") if "@njit" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_kernel_names_what_it_was_built_on(path: Path) -> None:
    assert declared(path) == built_on(path), f'write BUILT_ON = "{built_on(path)}" into {path}'


def test_kernels_that_take_functions_from_others_are_found() -> None:
    assert {path.name for path in KERNELS if built_on(path)} == {"kernels.py", "online_kernels.py"}
