"""Rendering of `why`: the walk from an answer back to the events, folded to the width of the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.cli.render import count, day, number, score_line, short_code, table
from holdfast.kernel.ids import short
from holdfast.kernel.time import format_instant

if TYPE_CHECKING:
    from holdfast.app.outcomes import Explanation
    from holdfast.serving.explain import FeatureEvidence

_SHOWN_FEATURES = 12
_LABEL = 14
"""Columns of what stands before a fact."""
_BESIDE = 40
"""Where fewer columns are left beside the table, a definition stands below its row."""
_BELOW = " " * 6
_LINES = 3
"""Lines of a definition at most; `--json` and a pipe have it whole."""
_TEXT = 24
"""Characters of a category at most, in the table."""
_INEXACT = (
    "marked inexact: when this was asked, its time lay before the events kept online one by one, so windows "
    "could not be cut exactly; `parity` counts such answers apart"
)


def why(found: Explanation, width: int | None = None) -> str:
    """Return the walk from the answer back to the events.

    Parameters
    ----------
    width
        No line is wider, but where a feature's name leaves no other way; none, as for a pipe, leaves every
        fact and every feature one whole line.
    """
    a, v = found.answer, found.version
    again = "the same" if all(a[n] == x for n, x in found.recomputed.items()) else "DIFFERS"
    known = a["known_batch"][0] if a["known_batch"] else "-"
    if a["known_at_us"] is None:
        bounds = [f"as applied by then: batches up to {known}"]
    else:
        bounds = [f"known at {format_instant(a['known_at_us'])}", f"batches up to {known}"]
    what = "forecast" if "horizon" in found.request and "target" in found.request else "risk_score"
    answered = f"{v['name']} answered {score_line(a, what)} for {a['prediction_id']}"
    facts = {
        "row time": [format_instant(a["t_us"]), *bounds],
        "request": [f"{k} {_value(x)}" for k, x in found.request.items()],
        "answered": [
            format_instant(a["answered_us"]), f"step {a['step']}", a["exposure"], f"runtime {a['runtime']}",
            *(["marked inexact"] if a["inexact"] else []),
        ],
        "recomputed": [f"{score_line(found.recomputed, what)}: {again}"],
    }  # fmt: skip
    lines = [
        *_indented(_folded(answered, width), "  "),
        *_facts(facts, width),
        "",
        *_features(found.features, width),
        *(_sentence(_INEXACT, width) if a["inexact"] else []),
        *_sentence(_margin(found), width),
        "",
        *_facts(_lineage(found), width),
    ]
    return "\n".join(lines)


# --- lines of a width -------------------------------------------------------------------------------------


def _folded(text: str, room: int | None, most: int | None = None) -> list[str]:
    """Return a text as lines that fit; where it takes more than `most`, the last one ends with ``…``."""
    if room is None:
        return [text]
    room = max(room, _TEXT)
    lines = textwrap.wrap(text, room, max_lines=most, placeholder=" …", break_on_hyphens=False)
    return lines or [""]


def _listed(items: Sequence[str], room: int | None) -> list[str]:
    """Return items one after the other, broken only between two of them where one fits a line."""
    lines: list[str] = []
    for item in (f"{item}{',' * (i < len(items))}" for i, item in enumerate(items, 1)):
        if lines and (room is None or len(lines[-1]) + 1 + len(item) <= room):
            lines[-1] += f" {item}"
        else:
            lines += _folded(item, room)
    return lines


def _indented(lines: Sequence[str], indent: str) -> list[str]:
    """Return lines with all but the first indented."""
    return [line if not i else f"{indent}{line}" for i, line in enumerate(lines)]


def _facts(facts: dict[str, list[str]], width: int | None) -> list[str]:
    room = None if width is None else width - _LABEL
    found = []
    for label, items in facts.items():
        first, *rest = _listed(items, room) or ["none"]
        found += [f"  {label}".ljust(_LABEL) + first, *(" " * _LABEL + line for line in rest)]
    return found


def _sentence(text: str, width: int | None) -> list[str]:
    room = None if width is None else width - 4
    return [f"  {line}" for line in _indented(_folded(text, room), "  ")]


# --- features ---------------------------------------------------------------------------------------------


def _features(found: Sequence[FeatureEvidence], width: int | None) -> list[str]:
    """Return the features that pushed most, stored beside recomputed, and what each means."""
    ranked = sorted(found, key=lambda f: -abs(f.contribution or 0.0))
    shown = ranked[:_SHOWN_FEATURES]
    rows = []
    for f in shown:
        verdict = "equal" if f.is_equal else "DIFFERS"
        stored, again = number(f.stored), number(f.recomputed)
        if f.text is not None:
            stored = _plain(f.text)
            if width is not None and len(stored) > _TEXT:
                stored = f"{stored[: _TEXT - 1]}…"
            again = "same code" if f.is_equal else f"code {f.recomputed:g}"
        rows.append((f"  {f.name}", stored, again, verdict, f"{f.contribution or 0:+.2f}"))
    head = ("  feature", "stored", "oracle", "", "pushed")
    lines = table(rows, head=head, right=(1, 2, 4)).splitlines()
    lines = _defined(lines, [f.definition for f in shown], width)
    # What differs is named, however little it pushed.
    differing = [f.name for f in ranked if not f.is_equal]
    equal = f"{sum(f.is_equal for f in found)} of {len(found)} equal the oracle's, bit for bit"
    rest = len(found) - len(shown)
    last = f"... and {rest} more (--json shows all); {equal}" if rest else equal
    if differing:
        last += f"; DIFFERS: {', '.join(differing)}"
    return [*lines, *_sentence(last, width)]


def _defined(lines: Sequence[str], definitions: Sequence[str], width: int | None) -> list[str]:
    """Return the lines of the table, its head first, with each row's definition beside or below it."""
    taken = max(map(len, lines)) + 2
    room = None if width is None else width - taken
    beside = room is None or room >= _BESIDE
    if width is not None and not beside:
        room = width - len(_BELOW)
    indent = " " * taken if beside else _BELOW
    found = [lines[0].ljust(taken) + "definition" if beside else lines[0]]
    for row, definition in zip(lines[1:], definitions, strict=True):
        folded = _folded(definition, room, _LINES)
        found.append(row.ljust(taken) + folded.pop(0) if beside else row)
        found += [indent + each for each in folded]
    return found


def _margin(found: Explanation) -> str:
    """Return how the base and what was pushed add up to the score."""
    score, margin = float(found.recomputed["score"]), found.margin
    unit, means = "in the model's margin", f"score {number(score)}"
    if math.isclose(1 / (1 + math.exp(-max(-700.0, min(margin, 700.0)))), score, abs_tol=1e-6):
        unit = "in log-odds"
    elif math.isclose(margin, score, rel_tol=1e-6, abs_tol=1e-6):
        unit = "in units of the score"
    pushed = margin - found.base
    return f"base {found.base:+.2f} and all features {pushed:+.2f} make {margin:+.2f} {unit}: {means}"


# --- lineage ----------------------------------------------------------------------------------------------


def _lineage(found: Explanation) -> dict[str, list[str]]:
    v, run, dataset = found.version, found.run, found.dataset
    approvals = [f'approved {day(p["at_us"])} by {p["by"]}: "{_plain(p["reason"])}"' for p in v["approvals"]]
    facts = run.get("facts") or {}
    tables = " + ".join(f"{name}@{version}" for name, version in found.tables.items())
    events = [f"{name}: {count(e['rows'], 'row')} of {_batches(e)}" for name, e in found.events.items()]
    test = day(dataset["boundaries"]["test_start"])
    return {
        "version": [
            f"{v['name']} ({v['state']})",
            f"by {v['author']}",
            *(approvals or ["no approval on record"]),
        ],
        "bundle": [short(v["bundle"], 12), "every file verified"],
        "run": [
            short(run["id"], 10),
            f"seed {run['seed']}",
            f"lightgbm {facts.get('lightgbm', '?')}",
            f"python {facts.get('python', '?')}",
            f"code {short_code(run['code'])}",
        ],
        "dataset": [
            f"{short(dataset['id'], 10)} = {tables}",
            f"as of {day(dataset['as_of'])}",
            f"test from {test}",
        ],
        "views": list(found.views.values()),
        "events": events or ["none in any window"],
    }


def _batches(rows: dict[str, Any]) -> str:
    first, last = rows["first_batch"], rows["last_batch"]
    return f"batch {first}" if first == last else f"batches {first}-{last}"


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, int) and abs(value) > 10**14:
        return format_instant(value)
    return f"{value:,.2f}" if isinstance(value, float) else _plain(str(value))


def _plain(text: str) -> str:
    """Return a text that anybody may have sent as one line of visible characters: others are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
