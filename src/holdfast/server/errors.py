"""Errors as HTTP answers: which status each code has, and the body that a caller reads."""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final

import msgspec

from holdfast.kernel.errors import (
    ConflictError,
    ContractError,
    HoldfastError,
    NotFoundError,
    UnavailableError,
)

LOGGER = logging.getLogger("holdfast.serve")

STATUS_BY_CODE: Final = {"HF210": 409, "HF214": 400, "HF700": 405}
"""Statuses of single codes; any other follows from the class of the error."""
STATUS_BY_CLASS: Final = (
    (NotFoundError, 404),
    (ContractError, 422),
    (ConflictError, 409),
    (UnavailableError, 503),
)
TOO_LARGE: Final = 413
INTERNAL: Final = 500


def status_of(error: HoldfastError) -> int:
    """Return the HTTP status of an error."""
    found = STATUS_BY_CODE.get(error.code)
    if found is not None:
        return found
    return next((status for kind, status in STATUS_BY_CLASS if isinstance(error, kind)), INTERNAL)


def problem_body(code: str, message: str, *, at: str = "", hint: str = "") -> dict[str, Any]:
    """Return the one shape of every refusal; the id is new and also stands in the log, if anything does."""
    inner: dict[str, str] = {"code": code, "message": message}
    if at:
        inner["at"] = at
    if hint:
        inner["hint"] = hint
    inner["id"] = f"e-{secrets.token_hex(6)}"
    return {"error": inner}


def answer_to(error: Exception) -> tuple[int, bytes]:
    """Return the status and JSON body of an error; one that nobody foresaw is logged under its id."""
    if isinstance(error, HoldfastError):
        status = status_of(error)
        problem = error.problem
        body = problem_body(problem.code, problem.message, at=problem.at, hint=problem.hint)
        if status >= 500:
            LOGGER.error("%s: %s", body["error"]["id"], problem.message)
    else:
        status = INTERNAL
        body = problem_body("HF600", "this request could not be answered; the server's log has the reason.")
        LOGGER.error("%s: unforeseen error", body["error"]["id"], exc_info=error)
    return status, msgspec.json.encode(body)
