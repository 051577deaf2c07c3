"""Model versions: registered, immutable artifacts with lineage, and the arrows between their states.

A candidate is a run that is not registered yet. Registering it makes a version; every later arrow changes
only the version's state and is an entry of the history.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from holdfast.kernel.errors import ConflictError

State = Literal["registered", "approved", "champion", "retired", "rejected", "barred"]

TRANSITIONS: dict[State, tuple[State, ...]] = {
    "registered": ("approved", "champion", "rejected", "barred"),
    "approved": ("champion", "rejected", "barred"),
    "champion": ("retired", "barred"),
    "retired": ("champion", "rejected", "barred"),
    "rejected": (),
    "barred": ("retired", "rejected"),
}
"""Legal arrows. A champion is never rejected: another takes its place first. ``barred`` is a version rolled
back; lifted by a person (`deploy`) it is ``retired``, so that it may be deployed again. ``registered ->
champion`` is for projects that declare no approval."""

_REMEDIES: dict[State, str] = {
    "champion": "deploy another version first: a model keeps a champion",
    "rejected": "a rejection is final: train again and register the new run",
    "barred": "it was rolled back, which bars it; once the reason for that is gone: "
    "holdfast deploy {model} {number} --lift-bar --reason WHY",
}


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered artifact; nothing but its state ever changes.

    Attributes
    ----------
    number : 1, 2, 3 ... without gaps within a model
    bundle : fingerprint of the bundle that serving loads
    run : id of the training run that made it
    dataset : id of the snapshot it learnt from
    author : who trained it, as claimed
    created_us : instant of registration, microseconds
    """

    model: str
    number: int
    bundle: str
    run: str
    dataset: str
    author: str
    created_us: int
    state: State = "registered"

    @property
    def name(self) -> str:
        """Return the name people use, such as ``fraud@7``; the subject of its history."""
        return f"{self.model}@{self.number}"

    def move(self, to: State) -> ModelVersion:
        """Return the version in another state.

        Raises
        ------
        ConflictError
            If `TRANSITIONS` has no such arrow (HF302).
        """
        legal = TRANSITIONS[self.state]
        if to not in legal:
            remedy = _REMEDIES.get(self.state, f"it can become {', '.join(legal)}")
            raise ConflictError(
                f"`{self.name}` is {self.state} and cannot become {to}.",
                code="HF302",
                at=self.name,
                hint=remedy.format(model=self.model, number=self.number),
            )
        return replace(self, state=to)
