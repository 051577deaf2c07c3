"""The one place where code of the user's is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.kernel.errors import HoldfastError
from holdfast.training.model import Model, RunContext, Scalar, TrainFunction, TrainingData


def call_function(
    model: Model,
    function: TrainFunction,
    data: TrainingData,
    params: Mapping[str, Scalar],
    context: RunContext,
) -> Any:
    """Return what the user's training function returns.

    Raises
    ------
    HoldfastError
        If it raises (HF602): with its message, the line in its own file, and the cause.
    """
    try:
        return function(data, dict(params), context)
    except (Exception, SystemExit) as error:
        raise HoldfastError(
            f"training function `{model.function}` failed: {type(error).__name__}: {error}",
            code="HF602",
            at=f"models.{model.name}",
            place=_place(error, function),
        ) from error


def _place(error: BaseException, function: TrainFunction) -> str:
    """Return ``file:line`` of the innermost frame in the file that defines the function."""
    code = getattr(function, "__code__", None)
    trace = error.__traceback__
    trace = trace.tb_next if trace is not None else None  # the first frame is the call above
    place = ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not place or code is None or name == code.co_filename:
            place = f"{name}:{trace.tb_lineno}"
        if code is None:
            break
        trace = trace.tb_next
    return place
