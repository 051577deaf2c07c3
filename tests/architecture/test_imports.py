"""What must not be loaded: the facade and the help of the command line cost no heavy library."""

import subprocess
import sys

HEAVY = {"alembic", "deltalake", "lightgbm", "numba", "numpy", "polars", "scipy", "sklearn", "sqlalchemy"}

IMPORT = "import holdfast"
HELP = """
import contextlib, io, runpy, sys
sys.argv = ["holdfast", "--help"]
out = io.StringIO()
with contextlib.redirect_stdout(out):
    try:
        runpy.run_module("holdfast", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, end.code
assert "Usage" in out.getvalue(), out.getvalue()
"""


def loaded_by(code: str) -> set[str]:
    """Top-level names in `sys.modules` after a fresh interpreter has run the code."""
    outcome = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return set(outcome.stdout.split())


def test_import_of_the_facade_loads_no_heavy_library() -> None:
    assert loaded_by(IMPORT) & HEAVY == set()


def test_help_of_the_command_line_loads_no_heavy_library() -> None:
    assert loaded_by(HELP) & HEAVY == set()
