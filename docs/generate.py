"""Writes the reference pages that are made from the code: ``python docs/generate.py``.

`tests/docs/test_reference.py` fails when a page is not what this script would write.
"""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "reference"

REMEDIES: dict[str, list[str]] = tomllib.loads((FOLDER / "remedies.toml").read_text(encoding="utf-8"))
"""Usual cause of each error, and what helps."""


def errors_page() -> str:
    """Return the page of error codes."""
    from holdfast.kernel.errors import CODES

    groups = {
        "HF1": "Definitions",
        "HF2": "Data",
        "HF3": "Registry and state",
        "HF4": "Policy",
        "HF5": "Determinism",
        "HF6": "The world",
        "HF7": "Usage",
    }
    lines = [
        "# Errors",
        "",
        "Every message says the fact, what was expected and found, where, what there is instead, and a hint,",
        "and ends with its code. `holdfast validate` reports all problems of a definition at once.",
        "",
        "```",
        "`card_spend_24h` reads column `amt`, which source `transactions` does not have.",
        "  at      views.card_activity.card_spend_24h  (project.py:12)",
        "  has     tx_id, at, card_id, amount",
        "  hint    did you mean `amount`?  [HF102]",
        "```",
    ]
    for prefix, title in groups.items():
        lines += ["", f"## {title}", "", "| code | meaning | usual cause | what helps |", "|---|---|---|---|"]
        for code, meaning in CODES.items():
            if code.startswith(prefix):
                cause, remedy = REMEDIES.get(code, ("", ""))
                lines.append(f"| `{code}` | {meaning} | {cause} | {remedy} |")
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """Return the page of commands, with the help of each."""
    import typer.main
    from typer.testing import CliRunner

    from holdfast.cli.main import app

    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"})
    lines = [
        "# Command line",
        "",
        "Every command takes `--project DIR` (by default this folder or the nearest one above with a",
        "`project.py`) and, where it shows something, `--json`. Exit status: 0 done, 1 refused or failed, 2",
        "the command was not understood, 130 stopped by Ctrl-C.",
    ]
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        shown = runner.invoke(app, [name, "--help"], prog_name="holdfast")
        lines += ["", f"## holdfast {name}", "", "```", shown.output.strip(), "```"]
    return "\n".join(lines) + "\n"


def python_page() -> str:
    """Return the page of public names, with signature and docstring of each."""
    import holdfast as hf

    lines = [
        "# Python",
        "",
        "`import holdfast as hf` gives these names. Each is loaded when it is first used.",
    ]
    for name in hf.__all__:
        value = getattr(hf, name)
        try:
            signature = str(inspect.signature(value)).replace("'", "")
        except (TypeError, ValueError):
            signature = ""
        lines += ["", f"## {name}", "", "```python", f"hf.{name}{signature}", "```", ""]
        lines += ["```text", inspect.cleandoc(value.__doc__ or ""), "```"]
        if name in ("Project", "Workspace"):
            for method, function in inspect.getmembers(value, inspect.isfunction):
                if not method.startswith("_"):
                    shown = str(inspect.signature(function)).replace("'", "")
                    lines += ["", f"### {name}.{method}", "", "```python", f"{method}{shown}", "```", ""]
                    lines += ["```text", inspect.cleandoc(function.__doc__ or ""), "```"]
    return "\n".join(lines) + "\n"


def expressions_page() -> str:
    """Return the page of operations and aggregates."""
    from holdfast.features.aggregate import AGGREGATES, USABLE
    from holdfast.kernel.expr import OPS

    lines = [
        "# Expressions and aggregates",
        "",
        "Features, filters and rules are trees of these operations, captured from Python and stored as data.",
        "Values are float64; missing is missing, and an operation on a missing value is missing unless it",
        "says otherwise. A result that is not finite is missing.",
        "",
        "## Operations",
        "",
        "| operation | operands | parameters | meaning |",
        "|---|---|---|---|",
    ]
    for name, op in OPS.items():
        meaning = op.doc.replace("|", "\\|")
        lines.append(f"| `{name}` | {op.operands} | {', '.join(op.parameters) or '-'} | {meaning} |")
    lines += ["", "## Aggregates over a window", ""]
    lines += ["| aggregate | over an empty window | meaning |", "|---|---|---|"]
    for name in USABLE:
        aggregate = AGGREGATES[name]
        empty = "missing" if aggregate.empty is None else f"{aggregate.empty:g}"
        lines.append(f"| `{name}` | {empty} | {aggregate.doc} |")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Return the page of metrics."""
    from holdfast.training.metric import METRICS

    lines = ["# Metrics", "", "Gates name these; each is reported with a 95 % bootstrap interval.", ""]
    lines += ["| metric | better | labels | meaning |", "|---|---|---|---|"]
    lines += [f"| `{m.name}` | {m.better} | {m.task} | {m.doc} |" for m in METRICS.values()]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return the page of settings."""
    from holdfast.app.config import DEFAULTS, SETTINGS

    lines = [
        "# Settings",
        "",
        "`holdfast.toml` beside `project.py` says where the state of a project lies. Without the file, or",
        "without a line in it, the default holds; an environment variable overrides both. Paths are",
        "relative to the folder of `project.py`.",
        "",
        "| setting | default | environment | what lies there |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{k}` | `{v}` | `HOLDFAST_{k.upper()}_URL` | {SETTINGS[k]} |" for k, v in DEFAULTS.items()]
    return "\n".join(lines) + "\n"


PAGES = {
    "errors.md": errors_page,
    "cli.md": cli_page,
    "python.md": python_page,
    "expressions.md": expressions_page,
    "metrics.md": metrics_page,
    "settings.md": settings_page,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
