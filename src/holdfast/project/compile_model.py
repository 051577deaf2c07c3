"""Compilation of models: label, parameters, search space, split and costs."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Literal

from holdfast.datasets.forecast import Forecast
from holdfast.datasets.label import Label
from holdfast.datasets.split import TimeSplit
from holdfast.features.view import FeatureSet
from holdfast.kernel.errors import did_you_mean
from holdfast.kernel.ids import digest
from holdfast.project import definition as d
from holdfast.project import learning
from holdfast.project.capture import MeasureTerm, Term
from holdfast.project.compilation import Compilation
from holdfast.project.compile_features import (
    compile_condition,
    compile_entity,
    compile_measure,
    find_source,
)
from holdfast.training.model import Baseline, Cost, Model, Scalar, SearchSpace


def compile_model(out: Compilation, spec: d.Project, handle: d.ModelHandle) -> None:
    """Add a model to the project."""
    name, options = handle.name, handle.options
    if not out.claim(name, out.project.models, "model", handle.place):
        return
    at = f"models.{name}"
    label = _label(out, spec, options["label"], f"{at}.label")
    params = _params(out, options["params"], at)
    search = _search(out, options["search"], at)
    split = _split(out, options["split"], at)
    baseline = _baseline(out, options["baseline"], at)
    cost = _cost(out, options["cost"], at)
    forecast = _forecast(out, options["forecast"], at)
    k = options["precision_at"]
    if not isinstance(k, int) or k < 1:
        out.report("HF103", f"precision_at is a whole number of at least 1, found {k!r}.", at)
    if not isinstance(handle.features, d.FeaturesHandle):
        message = f"a model takes features declared with project.features, found {handle.features!r}."
        out.report("HF102", message, at)
        return
    if label is None or handle.features.name not in out.project.feature_sets:
        return
    test_where = None
    if options["test_where"] is not None:
        test_where = compile_condition(
            out, handle.features, options["test_where"], f"{at}.test_where", handle.place
        )
    per = options["precision_per"]
    function = handle.function
    out.project.models[name] = Model(
        name,
        handle.features.name,
        label,
        f"{function.__module__}:{function.__qualname__}",
        digest(_source_of(function).encode()),
        params,
        search,
        split,
        baseline,
        cost,
        forecast,
        k,
        None if per is None else compile_entity(out, per, f"{at}.precision_per"),
        test_where,
        _vetted(out, options["vetted"], out.project.feature_sets[handle.features.name], at),
    )


def _vetted(out: Compilation, given: Any, features: FeatureSet, at: str) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        out.report("HF103", f"vetted= takes reasons by feature, found {given!r}.", at)
        return {}
    names = [feature.name for feature in features.features]
    for name, reason in given.items():
        if name not in names:
            message = f"vetted= names `{name}`, which `{features.name}` does not return."
            out.report("HF102", message, at, has=names, hint=did_you_mean(name, names))
        elif not isinstance(reason, str) or not reason.strip():
            message = f"vetted= gives no reason for `{name}`."
            out.report("HF103", message, at, hint="say in words why its value is known by then")
    return {str(name): str(reason) for name, reason in given.items()}


def _source_of(function: Callable[..., Any]) -> str:
    """Return the source text of a function without its decorators, which are compiled on their own."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
        (node,) = ast.parse(text).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return function.__qualname__
    return "".join(text.splitlines(keepends=True)[node.lineno - 1 :])


def _label(out: Compilation, project: d.Project, spec: Any, at: str) -> Label | None:
    if not isinstance(spec, learning.Label):
        out.report("HF103", f"label= takes hf.Label(...), found {spec!r}.", at)
        return None
    out.places[at] = spec.place
    absent = None if spec.absent is None else out.number(spec.absent, "absent=", at)
    if isinstance(spec.source, MeasureTerm):
        return _window_label(out, spec, spec.source, absent, at)
    source = find_source(out, project, spec.source, at, spec.place)
    if source is None:
        return None
    value = None if spec.value is None else out.expression(spec.value, "value=", at)
    if spec.horizon is None:
        out.report("HF105", "a label needs horizon=, how long until the outcome is decided.", at)
    horizon = None if spec.horizon is None else out.duration(spec.horizon, at)
    return Label(source, horizon or 0, spec.key, value, absent, spec.censored_by)


def _window_label(
    out: Compilation, spec: learning.Label, term: MeasureTerm, absent: float | None, at: str
) -> Label | None:
    if not term.after:
        out.report(
            "HF108",
            "the label's window lies before the row, so it is a feature, not an outcome.",
            at,
            place=term.place,
            hint="add after=True",
        )
    measure = compile_measure(out, "label", term, f"{at}.window")
    window = measure.window
    horizon = window.over if spec.horizon is None else out.duration(spec.horizon, at)
    if window.offset:
        out.report("HF105", "a label's window begins at the row's time; offset is not allowed.", at)
    if horizon is not None and horizon < window.over:
        out.report("HF105", "horizon is shorter than the label's window.", at)
    if term.source not in out.project.sources:
        return None  # the source's own problem is reported
    return Label(term.source, horizon or 0, spec.key, None, absent, spec.censored_by, measure)


def _params(out: Compilation, given: Mapping[str, Any], at: str) -> dict[str, Scalar]:
    params: dict[str, Scalar] = {}
    for key, value in given.items():
        if value is not None and not isinstance(value, str | int | float | bool):
            message = f"parameter `{key}` is {type(value).__name__}; numbers, texts and truth values travel."
            out.report("HF103", message, at)
        elif isinstance(value, float) and not math.isfinite(value):
            out.report("HF103", f"parameter `{key}` is {value!r}; only finite numbers travel.", at)
        else:
            params[key] = value
    return params


def _search(out: Compilation, given: Mapping[str, Any], at: str) -> dict[str, SearchSpace]:
    search: dict[str, SearchSpace] = {}
    for key, space in given.items():
        if isinstance(space, learning.Int | learning.Float):
            low, high = (out.number(end, f"an end of `{key}`", at) for end in (space.low, space.high))
            if low > high:
                out.report("HF103", f"search space of `{key}` has low {low:g} above high {high:g}.", at)
            if space.log and low <= 0:
                out.report("HF103", f"search space of `{key}` is logarithmic and begins at {low:g}.", at)
            kind: Literal["int", "float"] = "int" if isinstance(space, learning.Int) else "float"
            search[key] = SearchSpace(kind, low, high, space.log)
        elif isinstance(space, learning.Choice):
            search[key] = SearchSpace("choice", values=tuple(space.values))
        else:
            message = f"search space of `{key}` is {space!r}; hf.Int, hf.Float or hf.Choice is expected."
            out.report("HF103", message, at)
    return search


def _split(out: Compilation, given: Any, at: str) -> TimeSplit:
    spec = out.expect(learning.TimeSplit, given, "split=", at) or learning.TimeSplit()
    lengths = (spec.test, spec.validation, spec.gap, spec.train, spec.every)
    found = TimeSplit(*(None if v is None else out.duration(v, f"{at}.split") for v in lengths))
    for name in ("test", "train", "every"):
        if getattr(found, name) == 0:
            out.report("HF105", f"`{name}` of a split is longer than 0.", f"{at}.split")
    return found


def _baseline(out: Compilation, given: Any, at: str) -> Baseline:
    spec = out.expect(learning.SeasonalNaive, given, "baseline=", at)
    if spec is None:
        return Baseline("prior")
    return Baseline("seasonal_naive", out.duration(spec.season, f"{at}.baseline"))


def _cost(out: Compilation, given: Any, at: str) -> Cost | None:
    spec = out.expect(learning.Cost, given, "cost=", at)
    if spec is None:
        return None
    missed = spec.missed
    if isinstance(missed, Term) and missed.expr.op == "col":
        missed = str(missed.expr.params[0])
    if not isinstance(missed, str):
        missed = out.number(missed, "Cost(missed=...), where it is not the name of a column,", at)
    false_alarm = out.number(spec.false_alarm, "Cost(false_alarm=...)", at)
    return Cost(false_alarm, missed, None if spec.act_on is None else tuple(spec.act_on))


def _forecast(out: Compilation, given: Any, at: str) -> Forecast | None:
    spec = out.expect(learning.Forecast, given, "forecast=", at)
    if spec is None:
        return None
    horizons: tuple[Any, ...] = tuple(spec.horizons)
    quantiles: tuple[Any, ...] = tuple(spec.quantiles)
    whole = all(isinstance(h, int) and not isinstance(h, bool) and h >= 1 for h in horizons)
    if not horizons or not whole or len(set(horizons)) < len(horizons):
        said = ", ".join(map(repr, horizons[:5])) or "none"
        message = f"horizons are different whole numbers from 1, in steps of the spine; found {said}."
        out.report("HF103", message, f"{at}.forecast", hint="for example range(1, 29)")
        horizons = (1,)  # told once: what else is said of a forecast is judged as if it were one
    if any(not isinstance(q, int | float) or not 0 < q < 1 for q in quantiles):
        message = f"quantiles lie between 0 and 1, found {', '.join(map(repr, quantiles))}."
        out.report("HF103", message, f"{at}.forecast")
        quantiles = ()
    origins = None if spec.origins is None else out.duration(spec.origins, f"{at}.forecast")
    if origins == 0:
        out.report("HF105", "the distance of origins is longer than 0.", f"{at}.forecast")
        origins = None
    return Forecast(tuple(sorted(horizons)), tuple(map(float, quantiles)), origins)
