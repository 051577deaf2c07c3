"""Serving composed: the data plane of one process, over the project's stores, kept up to date.

It reads the definition that was applied, never ``project.py``: a process that serves runs no code of the
user's. Nothing here knows HTTP.
"""

from __future__ import annotations

import gc
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from holdfast.adapters.journal import JournalFileWriter
from holdfast.app.applied import applied_definition, live_sources, served_models
from holdfast.app.wire import Wiring
from holdfast.events.journal import Durability
from holdfast.events.row import RowJudge, Stored
from holdfast.events.rule import compile_rules
from holdfast.kernel.errors import HoldfastError, RefusedError
from holdfast.kernel.ids import from_data
from holdfast.kernel.ports import Clock
from holdfast.kernel.schema import Column
from holdfast.project.compiled import CompiledProject
from holdfast.registry.lookup import get_version
from holdfast.serving.route import Fallback, Gate, Route
from holdfast.serving.serve import DataPlane
from holdfast.training.bundle import Bundle, open_bundle

if TYPE_CHECKING:
    from holdfast.features.ports import Generation, OnlineReader, OnlineStore
    from holdfast.features.tile import StatePlan
    from holdfast.registry.version import ModelVersion
    from holdfast.serving.live import LiveModel
    from holdfast.serving.ports import RowPredictor

LOGGER = logging.getLogger("holdfast.serve")

NOTHING_TO_SERVE = "no source takes events one by one, and no model answers them"
KEPT_BUNDLES = 8
"""Loaded bundles that are kept, so that a rollback finds its version in memory."""
DEFINITION_EVERY = 10
"""Looks at the aliases between two looks at the definition."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What answers were made of; a difference means that they are made anew."""

    definition: str
    aliases: tuple[tuple[str, int | None, int], ...]
    generation: Generation | None
    bundles: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """New routes, ready to take the place of the old ones.

    Attributes
    ----------
    reader : the state they read; None where there is none
    waiting : why the process is not ready with them, in sentences
    """

    seen: _Seen
    project: CompiledProject
    routes: dict[str, Route]
    gates: dict[str, Gate]
    reader: OnlineReader | None
    waiting: tuple[str, ...]


@dataclass(slots=True)
class _Loaded:
    bundle: Bundle
    predictor: RowPredictor


@dataclass
class LiveService:
    """Everything one serving process holds.

    Parameters
    ----------
    folder : of the project
    name : of this process's journal, such as ``serve``
    durability : what an acknowledged request survives
    """

    folder: Path
    name: str = "serve"
    durability: Durability = "process"
    clock: Clock | None = None
    failures: int = 0
    """How often something new could not be loaded."""
    waiting: tuple[str, ...] = ("nothing is loaded yet",)
    project: CompiledProject | None = None
    _seen: _Seen | None = None
    _loaded: dict[str, _Loaded] = field(default_factory=dict)
    _looks: int = 0
    _definition: tuple[str, CompiledProject] | None = None
    _said: str = ""
    _advance: tuple[int, int] = (-1, 0)
    _waiting_since: float | None = None

    def __post_init__(self) -> None:
        self.wiring = Wiring(self.folder, self.clock)
        self.journal = JournalFileWriter(
            self.wiring.settings.journal, self.name, self.wiring.clock, self.durability
        )
        self.plane = DataPlane(self.journal, self.wiring.clock, time.perf_counter_ns)

    @property
    def is_ready(self) -> bool:
        """Whether every deployed version is verified, warm, and has its online state."""
        return not self.waiting

    @property
    def staleness_s(self) -> float | None:
        """How long accepted events have waited without the state advancing; None where there is none."""
        if self.plane.online is None:
            return None
        return 0.0 if self._waiting_since is None else time.monotonic() - self._waiting_since

    def look(self) -> Change | None:
        """Return new routes if the definition, a champion or the live state changed; may run in a thread.

        A change that cannot be loaded is logged and tried again; what serves goes on serving.
        """
        try:
            self._watch_state()
            return self._look()
        except HoldfastError as error:
            self.failures += 1
            self._say(f"cannot load what changed: {error.problem.message}")
            if self._seen is None:
                self.waiting = (error.problem.message,)
            return None

    def apply(self, change: Change) -> None:
        """Let a change take effect; called where requests are answered, between two of them."""
        before = self.plane.online
        self.plane.swap(
            change.routes,
            change.gates,
            change.reader,
            feedback=frozenset(model.label.source for model in change.project.models.values()),
            in_batches=frozenset(change.project.models) - change.routes.keys(),
        )
        if before is not None and before is not change.reader:
            before.close()
        first = not self.is_ready and not change.waiting
        self._seen, self.project, self.waiting = change.seen, change.project, change.waiting
        answering = ", ".join(
            f"{route.model}@{route.champion.version} ({route.champion.runtime})"
            for route in change.routes.values()
            if route.champion is not None
        )
        level = logging.WARNING if change.waiting or not answering else logging.INFO
        if not change.routes and change.gates:
            level, answering = logging.INFO, f"nothing; events of {', '.join(change.gates)} are accepted"
        self._say(
            f"answering: {answering or 'nothing'}" + "".join(f"; {why}" for why in change.waiting), level
        )
        if first:
            gc.collect()
            gc.freeze()

    def close(self) -> None:
        """Flush and end the journal, and let go of the state."""
        self.journal.sync()
        self.journal.close()
        if self.plane.online is not None:
            self.plane.online.close()

    def _watch_state(self) -> None:
        """Note whether the state went on since what was accepted last."""
        online, accepted = self.plane.online, self.plane.counters.journal_bytes
        if online is None:
            return
        with online.snapshot() as snapshot:
            batch = snapshot.batch
        if batch != self._advance[0]:
            self._advance, self._waiting_since = (batch, accepted), None
        elif accepted != self._advance[1] and self._waiting_since is None:
            self._waiting_since = time.monotonic()

    # --- loading --------------------------------------------------------------------------------------

    def _look(self) -> Change | None:
        definition, project = self._current()
        registry = self.wiring.registry
        aliases = []
        for model in served_models(project):
            alias = registry.find_alias(model, "champion")
            aliases.append((model, None, 0) if alias is None else (model, alias.version, alias.revision))
        store: OnlineStore = self.wiring.online
        generation = store.current()
        seen = _Seen(definition, tuple(aliases), generation)
        if self._seen == seen and not self._wants_more():
            return None
        change = self._build(seen, project, store)
        if self._seen == seen and change.waiting == self.waiting:
            if change.reader is not None and change.reader is not self.plane.online:
                change.reader.close()
            return None
        return change

    def _wants_more(self) -> bool:
        """Whether something failed that is worth trying again at this look."""
        return bool(self.waiting) and self._looks % DEFINITION_EVERY == 1

    def _current(self) -> tuple[str, CompiledProject]:
        """Return the definition that was applied last, looked up now and then."""
        self._looks += 1
        if self._definition is not None and self._looks % DEFINITION_EVERY:
            return self._definition
        found = applied_definition(self.wiring)
        if self._definition is None or found.fingerprint != self._definition[0]:
            self._definition = (found.fingerprint, from_data(CompiledProject, found.plan))
        return self._definition

    def _build(self, seen: _Seen, project: CompiledProject, store: OnlineStore) -> Change:
        waiting: list[str] = []
        reader, state = self._open_state(seen, store, waiting)
        gates = {name: _gate(project, name) for name in live_sources(project)}
        routes = {}
        for model, version, revision in seen.aliases:
            gate = gates.get(project.feature_sets[project.models[model].features].spine)
            if gate is None:
                continue
            routes[model] = self._route(project, model, version, revision, gate, state, waiting)
        if not routes and not gates:
            waiting.append(NOTHING_TO_SERVE)
        for route in routes.values():
            if route.champion is not None and route.champion.features.lacks:
                waiting.append(f"{route.model}: {route.champion.features.lacks}")
        trial = DataPlane(self.journal, self.wiring.clock, time.perf_counter_ns)
        trial.swap(routes, gates, reader)
        now = self.wiring.clock.now_us()
        answering = {name: r for name, r in routes.items() if r.champion is not None or r.ladder}
        trial.rehearse({name: _example(project, route.gate.source, now) for name, route in answering.items()})
        return Change(seen, project, routes, gates, reader, tuple(dict.fromkeys(waiting)))

    def _open_state(
        self, seen: _Seen, store: OnlineStore, waiting: list[str]
    ) -> tuple[OnlineReader | None, StatePlan | None]:
        from holdfast.features.online import load_plan

        if seen.generation is None:
            waiting.append("there is no online state yet: run `holdfast worker`")
            return None, None
        held = self.plane.online
        try:
            reader = (
                held
                if held is not None and held.generation == seen.generation
                else store.reader(seen.generation)
            )
            return reader, load_plan(reader.plan, seen.generation.state)
        except HoldfastError as error:
            self.failures += 1
            waiting.append(f"the online state cannot be read: {error.problem.message}")
            return None, None

    def _route(
        self,
        project: CompiledProject,
        model: str,
        version: int | None,
        revision: int,
        gate: Gate,
        state: StatePlan | None,
        waiting: list[str],
    ) -> Route:
        release = project.release(model)
        champion = None
        if version is None:
            waiting.append(f"{model} has no champion: holdfast deploy {model} NUMBER")
        else:
            try:
                champion = self._live(get_version(self.wiring.registry, model, version), state)
            except HoldfastError as error:
                self.failures += 1
                waiting.append(f"{model}@{version} cannot be loaded: {error.problem.message}")
        ladder = self._ladder(project, model, version, champion, state)
        task = "binary" if champion is None else self._loaded[champion.bundle].bundle.manifest.task
        return Route(
            model,
            gate,
            champion,
            ladder,
            release.holdout,
            release.decision,
            "risk_score" if task == "binary" else "value",
        )

    def _ladder(
        self,
        project: CompiledProject,
        model: str,
        version: int | None,
        champion: LiveModel | None,
        state: StatePlan | None,
    ) -> tuple[Fallback, ...]:
        from holdfast.serving.live import RowFeatures, Rules

        steps = []
        for declared in project.release(model).fallback:
            if declared.kind == "previous":
                previous = None if version is None else self._previous(model, version, state)
                if previous is not None:
                    steps.append(Fallback("previous", live=previous))
            elif declared.rules is not None:
                reads = (
                    RowFeatures(project.feature_plan(model), state) if champion is None else champion.features
                )
                steps.append(Fallback("rules", rules=Rules(declared.rules, reads.names), features=reads))
            else:
                steps.append(Fallback("constant", constant=declared.value))
        return tuple(steps)

    def _previous(self, model: str, version: int, state: StatePlan | None) -> LiveModel | None:
        """Return the champion before this one, or None where there is none or it cannot be loaded."""
        registry = self.wiring.registry
        deployed = [
            entry.evidence.get("previous")
            for entry in registry.list_entries(f"{model}@{version}")
            if entry.action == "deploy"
        ]
        if not deployed or deployed[-1] is None:
            return None
        try:
            return self._live(get_version(registry, model, int(deployed[-1])), state)
        except HoldfastError as error:
            self._say(
                f"{model}@{deployed[-1]}, the previous champion, cannot be loaded: {error.problem.message}"
            )
            return None

    def _live(self, version: ModelVersion, state: StatePlan | None) -> LiveModel:
        from holdfast.adapters.lightgbm.row import LightGBMRows
        from holdfast.serving.live import LiveModel

        loaded = self._loaded.pop(version.bundle, None)
        if loaded is None:
            try:
                bundle = open_bundle(self.wiring.bundles.load(version.bundle), (LightGBMRows(),))
            except RefusedError as error:
                raise error.within(version.name) from error
            loaded = _Loaded(bundle, cast("RowPredictor", bundle.predictor))
        self._loaded[version.bundle] = loaded
        while len(self._loaded) > KEPT_BUNDLES:
            del self._loaded[next(iter(self._loaded))]
        return LiveModel.of(version.number, loaded.bundle, loaded.predictor, state)

    def _say(self, words: str, level: int = logging.WARNING) -> None:
        """Log once what is said again and again."""
        if words != self._said:
            LOGGER.log(level, words)
            self._said = words


def _gate(project: CompiledProject, source: str) -> Gate:
    schema = project.sources[source].schema
    rules = compile_rules(schema, fixed_point_bounded=project.fixed_point_columns(source))
    assert schema.event_id is not None
    assert schema.event_time is not None
    table = project.tables.get(source)
    return Gate(
        source,
        RowJudge(rules),
        schema.event_id.name,
        schema.event_time.name,
        known_ahead=table is not None and table.known_ahead,
    )


def _example(project: CompiledProject, source: str, now: int) -> Stored:
    """Return stored values that nobody sent, to walk the way of a request."""
    return {column.name: _some(column, now) for column in project.sources[source].schema.columns}


def _some(column: Column, now: int) -> Any:
    match column.type:
        case "time":
            return now
        case "string":
            return column.one_of[0] if column.one_of else "rehearsal"
        case "bool":
            return False
        case "float" if not column.is_fixed_point:
            return 0.0
        case _:
            return 0
