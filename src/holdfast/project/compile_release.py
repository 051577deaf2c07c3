"""Compilation of releases: gates, approval, decision, rollout, guards and fallback."""

from __future__ import annotations

from typing import Any, cast

from holdfast.decisions.release import Canary, Fallback, Guard, Release
from holdfast.project import definition as d
from holdfast.project import release, rows
from holdfast.project.capture import Row
from holdfast.project.compilation import Compilation
from holdfast.registry.approval import ApprovalPolicy
from holdfast.training.gate import Gate
from holdfast.training.policy import Bands


def compile_release(out: Compilation, spec: d.ReleaseSpec) -> None:
    """Add a release to the project, under the name of its model."""
    model = spec.model.name if isinstance(spec.model, d.ModelHandle) else str(spec.model)
    if not out.claim(model, out.project.releases, "release", spec.place):
        return
    at, options = f"releases.{model}", spec.options
    approval = out.expect(release.Approval, options["approval"], "approval=", at, "HF110")
    holdout = out.expect(release.Holdout, options["holdout"], "holdout=", at, "HF110")
    gates = (_gate(out, limit, f"{at}.gates[{i}]") for i, limit in enumerate(options["gates"]))
    guards = (_guard(out, limit, f"{at}.guards[{i}]") for i, limit in enumerate(options["guards"]))
    steps = (_fallback(out, step, f"{at}.fallback[{i}]") for i, step in enumerate(options["fallback"]))
    out.project.releases[model] = Release(
        model,
        tuple(gate for gate in gates if gate is not None),
        None if approval is None else ApprovalPolicy(approval.role, approval.not_author),
        _bands(out, options["decision"], at),
        0.0 if holdout is None else out.number(holdout.share, "the hold-out", at, code="HF110"),
        _rollout(out, options["rollout"], at),
        tuple(guard for guard in guards if guard is not None),
        tuple(step for step in steps if step is not None),
    )


def _gate(out: Compilation, limit: Any, at: str) -> Gate | None:
    if not isinstance(limit, release.Limit) or limit.kind != "metric":
        message = f"a gate compares hf.metric(...), found {_said(limit)}."
        out.report("HF110", message, at, place=_place(limit))
        return None
    out.places[at] = limit.place
    value, relative, factor = _bound(out, limit, at)
    to = limit.bound.to if isinstance(limit.bound, release.Reference) else "champion"
    return Gate(limit.name, cast(Any, limit.op), value, relative, factor, cast(Any, to))


def _guard(out: Compilation, limit: Any, at: str) -> Guard | None:
    if not isinstance(limit, release.Limit) or limit.kind == "metric":
        kinds = "hf.errors(), hf.p99(), hf.prediction_shift() or hf.kpi(...)"
        message = f"a guard compares {kinds}, found {_said(limit)}."
        out.report("HF110", message, at, place=_place(limit))
        return None
    out.places[at] = limit.place
    value, relative, factor = _bound(out, limit, at)
    if isinstance(limit.bound, release.Reference) and limit.bound.to != "champion":
        out.report("HF110", "a guard compares with hf.champion(); no baseline answers requests.", at)
    return Guard(cast(Any, limit.kind), cast(Any, limit.op), value, limit.name, relative, factor)


def _bound(out: Compilation, limit: release.Limit, at: str) -> tuple[float, bool, float]:
    """Return the bound of a limit: its value or margin, whether it is relative, and its factor."""
    bound = limit.bound
    if isinstance(bound, release.Reference):
        margin = out.number(bound.margin, "a margin", at, code="HF110")
        return margin, True, out.number(bound.factor, "a factor", at, code="HF110")
    if limit.kind == "p99":
        if not isinstance(bound, str):
            out.report("HF110", f"p99 is limited by a duration, found {bound!r}.", at, hint='write "20ms"')
            return 0.0, False, 1.0
        return float(out.duration(bound, at) or 0), False, 1.0
    what = f"a limit of {limit.name or limit.kind}, where it is not hf.champion(),"
    return out.number(bound, what, at, code="HF110"), False, 1.0


def _bands(out: Compilation, given: Any, at: str) -> Bands | None:
    spec = out.expect(release.Bands, given, "decision=", at, "HF110")
    if spec is None:
        return None
    out.places[f"{at}.decision"] = spec.place
    if not spec.floors:
        out.report("HF110", "hf.Bands() has no band.", f"{at}.decision", hint="hf.Bands(block=0.9, allow=0)")
        return None
    floors = [
        (name, out.number(floor, f"the lowest score of band `{name}`", f"{at}.decision", code="HF110"))
        for name, floor in spec.floors.items()
    ]
    written = [floor for _, floor in floors]
    if written not in (sorted(written), sorted(written, reverse=True)):
        out.report(
            "HF110",
            f"bands neither rise nor fall: {', '.join(f'{name}={floor:g}' for name, floor in floors)}.",
            f"{at}.decision",
            hint="write them by score, so that a slip of the pen shows: hf.Bands("
            + ", ".join(f"{name}={floor:g}" for name, floor in sorted(floors, key=lambda band: -band[1]))
            + ")",
        )
    return Bands(tuple(sorted(floors, key=lambda band: -band[1])))


def _rollout(out: Compilation, given: Any, at: str) -> Canary | None:
    spec = out.expect(release.Canary, given, "rollout=", at, "HF110")
    if spec is None:
        return None
    path = f"{at}.rollout"
    out.places[path] = spec.place
    unit = out.expect(rows.Entity, spec.unit, "unit=", path, "HF110")
    steps = tuple(out.number(step, "a canary's step", path, code="HF110") for step in spec.steps)
    hold = out.duration(spec.hold, path)
    return None if unit is None else Canary(steps, hold or 0, unit.name)


def _fallback(out: Compilation, given: Any, at: str) -> Fallback | None:
    if not isinstance(given, release.FallbackStep):
        message = f"fallback takes hf.previous(), hf.rules(...) and hf.constant(...), found {given!r}."
        out.report("HF110", message, at)
        return None
    out.places[at] = given.place
    value = given.value
    if given.kind == "constant":
        value = out.number(value, "hf.constant(...)", at, code="HF110")
    rules = given.rules
    if rules is None:
        return Fallback(cast(Any, given.kind), None, value)
    answer = out.captured(lambda: [rules(Row())], at, given.place)  # a list, as rules may return None
    found = None if answer is None else out.expression(answer[0], "the answer of rules", at)
    return None if found is None else Fallback("rules", found, None)


def _said(limit: Any) -> str:
    """Return a limit as it was written, or whatever stands in its place."""
    if not isinstance(limit, release.Limit):
        return repr(limit)
    bound = "hf.champion()" if isinstance(limit.bound, release.Reference) else repr(limit.bound)
    return f"hf.{limit.kind}({limit.name!r}) {limit.op} {bound}".replace("('')", "()")


def _place(limit: Any) -> str:
    return limit.place if isinstance(limit, release.Limit) else ""
