"""Runs the command line as a user would: words in; status, output and messages out."""

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from holdfast.cli.main import main


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def holdfast(*words: object, cwd: Path | None = None) -> Ran:
    """Run one command in this process, in a folder; an exception that is no exit is not caught."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    here = Path.cwd()
    with (
        patch.object(sys, "argv", ["holdfast", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            os.chdir(cwd or here)
            main()
        except SystemExit as exit:
            status = exit.code if isinstance(exit.code, int) else 0 if exit.code is None else 1
        finally:
            os.chdir(here)
    return Ran(status, out.getvalue(), err.getvalue())
