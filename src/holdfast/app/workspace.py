"""The workspace: one project folder with its state, and the verbs of the loop as methods.

The command line is a thin skin over this class; a program uses it the same way::

    import holdfast as hf

    workspace = hf.Workspace("fraud")
    workspace.apply()
    workspace.ingest("transactions", "events/transactions")
    result = workspace.train("fraud", seed=7)
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from holdfast.app.applied import applied_project
from holdfast.app.load import find_folder, importable, load_project
from holdfast.app.outcomes import History, ListedVersion
from holdfast.app.wire import Wiring, does_not_fit
from holdfast.events.ports import QUARANTINE
from holdfast.events.source import BATCH
from holdfast.kernel.errors import (
    DefinitionError,
    NotFoundError,
    Problem,
    RefusedError,
    UsageError,
    did_you_mean,
)
from holdfast.kernel.ids import from_data, to_data
from holdfast.kernel.ports import Clock, NoProgress, Progress
from holdfast.kernel.time import parse_duration, parse_instant
from holdfast.project.compilation import Compilation
from holdfast.project.compile import compile_project
from holdfast.project.compiled import CompiledProject
from holdfast.project.definition import Project
from holdfast.project.plan import Plan, make_plan
from holdfast.project.validate import validate
from holdfast.registry.alias import AliasName
from holdfast.registry.ledger import verify
from holdfast.registry.lookup import get_champion, get_run, get_version
from holdfast.registry.ports import Definition
from holdfast.registry.register import Outcome, approve, deploy, reject, rollback, set_challenger
from holdfast.registry.version import ModelVersion

if TYPE_CHECKING:  # what computes is loaded by the verbs that compute: compiled kernels take a second
    from holdfast.app.outcomes import Explanation, Trained
    from holdfast.datasets.snapshot import Snapshot
    from holdfast.events.report import IngestReport
    from holdfast.monitoring.drift import DriftReport
    from holdfast.monitoring.performance import Performance
    from holdfast.serving.parity import ParityReport
    from holdfast.serving.parity_trial import Trial
    from holdfast.serving.predict import PredictReport


class Workspace:
    """A project folder and its state.

    Parameters
    ----------
    folder : of ``project.py``, or any folder below it
    clock : for tests and simulations; by default the system's
    progress : where long work says how far it is

    Raises
    ------
    NotFoundError
        If there is no ``project.py``.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] = ".",
        *,
        clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.folder = find_folder(Path(folder))
        self.wiring = Wiring(self.folder, clock)
        self.progress = progress or NoProgress()

    # --- definition -----------------------------------------------------------------------------------

    @cached_property
    def definition(self) -> Project:
        """The project as written."""
        return load_project(self.folder)

    @cached_property
    def _compilation(self) -> tuple[Compilation, list[Problem]]:
        with importable(self.folder):
            compilation = compile_project(self.definition)
        return compilation, validate(compilation)

    @property
    def project(self) -> CompiledProject:
        """The compiled project.

        Raises
        ------
        DefinitionError
            With all problems, if there is any error.
        """
        compilation, problems = self._compilation
        errors = [p for p in problems if p.severity == "error"]
        if errors:
            raise DefinitionError(errors)
        return compilation.project

    def validate(self) -> list[Problem]:
        """Return every problem of the definition, errors first."""
        try:
            return self._compilation[1]
        except DefinitionError as error:
            return list(error.problems)

    def plan(self) -> Plan:
        """Return what applying the definition would change."""
        plan = make_plan(self._recorded(), self.project)
        breaking = (c.name for c in plan.changes if c.kind == "source" and c.breaking)
        return replace(
            plan,
            refused=tuple(name for name in breaking if self.wiring.holds_rows(name)),
            warnings=tuple(self._compilation[1]),
        )

    def apply(self, *, by: str | None = None) -> Plan:
        """Create or evolve tables, record the definition, and return what was changed.

        Raises
        ------
        RefusedError
            If a stored table does not fit the new schema (HF404).
        """
        plan, project = self.plan(), self.project
        for change in plan.changes:
            if change.kind == "source" and change.name in plan.refused:
                raise does_not_fit(change.name, "; ".join(change.notes))
        registry = self.wiring.registry
        registry.upgrade()
        for source in project.sources.values():
            self.wiring.ensure_table(source)
        if plan.is_empty:
            return plan
        with registry.transaction() as work:
            work.record_definition(Definition(project.name, project.fingerprint, to_data(project)))
            work.append(
                at_us=self.wiring.clock.now_us(),
                actor=self._actor(by),
                action="apply",
                subject=project.name,
                reason="definition applied",
                evidence={
                    "from": plan.before,
                    "to": plan.after,
                    "changes": [f"{c.action} {c.kind} {c.name}" for c in plan.changes],
                },
            )
        return plan

    def _recorded(self) -> CompiledProject | None:
        if not self.wiring.has_metadata():
            return None
        found = self.wiring.registry.current_definition(self.project.name)
        return None if found is None else from_data(CompiledProject, found.plan)

    def _applied(self) -> CompiledProject:
        """Return the project, which must be what was applied."""
        project, recorded = self.project, self._recorded()
        if recorded is None:
            raise RefusedError("this project was not applied yet.", code="HF404", hint="run `holdfast apply`")
        if recorded.fingerprint != project.fingerprint:
            raise RefusedError(
                "project.py was changed since it was applied.",
                code="HF404",
                has=tuple(f"{c.action} {c.kind} {c.name}" for c in make_plan(recorded, project).changes),
                hint="run `holdfast plan`, then `holdfast apply`",
            )
        return project

    @staticmethod
    def _actor(by: str | None) -> str:
        if by is not None:
            return by
        try:
            return getpass.getuser()
        except (OSError, KeyError):
            raise UsageError("this process has no login name.", hint="say who acts: --by NAME") from None

    # --- events ---------------------------------------------------------------------------------------

    def ingest(
        self,
        source: str,
        *paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        dry_run: bool = False,
    ) -> IngestReport:
        """Load files, folders or globs into a source, with every row accounted for.

        Parameters
        ----------
        paths : each a place, or several in a list

        Raises
        ------
        UsageError
            If there is none, or something that is no path.
        """
        from holdfast.events.ingest import ingest

        places = _places(paths)
        project = self._applied()
        wiring = self.wiring
        return ingest(
            project.source(source),
            wiring.inputs(places),
            lake=wiring.lake,
            log=wiring.batch_log,
            staging=wiring.staging,
            clock=wiring.clock,
            progress=self.progress,
            fixed_point_bounded=project.fixed_point_columns(source),
            dry_run=dry_run,
            hand_over=wiring.hand_over,
            beside=wiring.thread,
        )

    def quarantine(self, source: str | None = None, *, limit: int = 20) -> list[dict[str, Any]]:
        """Return rows that broke their contract, newest batch first."""
        import polars as pl

        if source is not None:
            self.project.source(source)
        if self.wiring.lake.version(QUARANTINE) is None:
            return []
        where = None if source is None else pl.col("source") == source
        rows = self.wiring.lake.read(QUARANTINE, where=where)
        return rows.sort(BATCH, "origin", descending=[True, False]).head(limit).to_dicts()

    # --- training and registry ------------------------------------------------------------------------

    def dataset(self, model: str, *, as_of: str | int | None = None) -> Snapshot:
        """Build and keep the dataset that training the model would use, and return it.

        Parameters
        ----------
        as_of : nothing that arrived later is used; by default the latest arrival stored

        Raises
        ------
        UsageError
            If `as_of` is after the clock.
        """
        from holdfast.app.train import build_dataset

        project = self._applied()
        project.model(model)
        return build_dataset(self.wiring, project, model, as_of=_instant(as_of), progress=self.progress)

    def train(
        self,
        model: str,
        *,
        seed: int = 0,
        by: str | None = None,
        as_of: str | int | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Trained:
        """Build the dataset, train, judge the gates, and register a version if they pass."""
        from holdfast.app.train import train_model

        project = self._applied()
        project.model(model)
        function = next(m.function for m in self.definition.models if m.name == model)
        with importable(self.folder):
            return train_model(
                self.wiring,
                project,
                model,
                function,
                seed=seed,
                author=self._actor(by),
                as_of=_instant(as_of),
                params=dict(params or {}),
                progress=self.progress,
            )

    def models(self, model: str | None = None) -> list[ListedVersion]:
        """Return all versions with aliases, approvals and metrics."""
        if not self.wiring.has_metadata():
            if model is not None:
                self.project.model(model)
            return []
        if model is not None:
            applied_project(self.wiring).model(model)
        return [self._listed(version) for version in self.wiring.registry.list_versions(model)]

    def _listed(self, version: ModelVersion) -> ListedVersion:
        registry = self.wiring.registry
        names: tuple[AliasName, ...] = ("champion", "challenger")
        aliases = [(name, registry.find_alias(version.model, name)) for name in names]
        metrics = get_run(registry, version.run).payload.get("metrics", {})
        approvals = registry.list_approvals(version.model, version.number)
        return ListedVersion(
            version,
            tuple(name for name, alias in aliases if alias is not None and alias.version == version.number),
            tuple(f"{approval.by}: {approval.reason}" for approval in approvals),
            {name: interval["value"] for name, interval in metrics.items()},
        )

    def history(self, subject: str | None = None, *, limit: int | None = None) -> History:
        """Return the history of a subject, or all, with its chain verified from the beginning.

        Parameters
        ----------
        limit : entries to return at most, the newest; all without it
        """
        if limit is not None and limit < 1:
            raise UsageError(f"a limit is at least 1, found {limit}.", at="limit")
        if not self.wiring.has_metadata():
            return History((), None)
        entries = self.wiring.registry.list_entries()
        shown = tuple(e for e in entries if subject is None or e.subject == subject)
        if subject is not None and not shown:
            subjects = dict.fromkeys(e.subject for e in entries)
            raise NotFoundError(
                f"nothing in the history is about `{subject}`.",
                has=tuple(subjects)[:12],
                hint=did_you_mean(subject, subjects),
            )
        return History(shown if limit is None else shown[-limit:], verify(entries), len(shown))

    def approve(self, model: str, number: int, *, by: str, reason: str) -> Outcome:
        """Approve a version as a named person, with a reason.

        Like all that releases and takes back, it goes by what was applied, whatever `project.py` says now.
        """
        project = applied_project(self.wiring)
        project.model(model)
        policy = project.release(model).approval
        return approve(
            self.wiring.registry,
            model,
            number,
            by=by,
            reason=reason,
            policy=policy,
            people=project.people,
            clock=self.wiring.clock,
        )

    def reject(self, model: str, number: int, *, by: str, reason: str) -> Outcome:
        """Refuse a version for good."""
        applied_project(self.wiring).model(model)
        return reject(self.wiring.registry, model, number, by=by, reason=reason, clock=self.wiring.clock)

    def deploy(
        self,
        model: str,
        number: int,
        *,
        by: str | None = None,
        reason: str = "deployed by hand",
        challenger: bool = False,
        lift_bar: bool = False,
    ) -> Outcome:
        """Make an approved version champion, or challenger; its bundle is verified first.

        Parameters
        ----------
        lift_bar : the version was rolled back, and `reason` says why it may answer again
        """
        if lift_bar and challenger:
            raise UsageError("a bar is lifted by a deployment as champion.", hint="drop `challenger`")
        project = applied_project(self.wiring)
        project.model(model)
        self.wiring.open_version(get_version(self.wiring.registry, model, number))
        change = set_challenger if challenger else partial(deploy, lift_bar=lift_bar)
        return change(
            self.wiring.registry,
            model,
            number,
            by=self._actor(by),
            reason=reason,
            policy=project.release(model).approval,
            clock=self.wiring.clock,
        )

    def rollback(self, model: str, *, reason: str, to: int | None = None, by: str | None = None) -> Outcome:
        """Bring an earlier champion back and bar the one that answers now."""
        applied_project(self.wiring).model(model)
        if to is not None:
            self.wiring.open_version(get_version(self.wiring.registry, model, to))
        return rollback(
            self.wiring.registry,
            model,
            to=to,
            by=self._actor(by),
            reason=reason,
            clock=self.wiring.clock,
        )

    # --- inference and after --------------------------------------------------------------------------

    def _version(self, model: str, number: int | None) -> ModelVersion:
        applied_project(self.wiring).model(model)
        registry = self.wiring.registry
        return get_champion(registry, model) if number is None else get_version(registry, model, number)

    def predict(
        self,
        model: str,
        *,
        since: str | int | None = None,
        until: str | int | None = None,
        version: int | None = None,
        dry_run: bool = False,
        out: str | os.PathLike[str] | None = None,
    ) -> PredictReport:
        """Predict stored rows of an interval in batch, once per version, by the definition that was applied.

        Parameters
        ----------
        since, until
            Of the rows' time; all without both. `since` also as a duration back from the newest event of the
            rows' source. Of a spine the time is the origin of a forecast, and without
            both only the last origin is forecast from.
        out : file for all answers of the interval, ``.parquet`` or ``.csv``
        """
        from holdfast.app.predict import newest_row, predict_interval, write_answers

        chosen = self._version(model, version)
        project = applied_project(self.wiring)
        begin = self._since(since, lambda: newest_row(self.wiring, project, chosen))
        report = predict_interval(
            self.wiring,
            project,
            chosen,
            since=begin,
            until=_instant(until),
            progress=self.progress,
            dry_run=dry_run,
        )
        if out is not None and not dry_run:
            write_answers(self.wiring, chosen, report, Path(out))
        return report

    def why(self, prediction_id: str, *, version: int | None = None) -> Explanation:
        """Explain one recorded prediction: the last answer, or that of a version."""
        from holdfast.app.why import explain_prediction

        return explain_prediction(self.wiring, prediction_id, version)

    def parity(self, *, since: str | int | None = None, model: str | None = None) -> ParityReport:
        """Recompute recorded predictions from the lake and compare every feature and score.

        Parameters
        ----------
        since : a duration back from now, such as ``1h``, or an instant; of the answer, not of the event
        """
        from holdfast.app.parity import check_parity

        if model is not None:
            applied_project(self.wiring).model(model)
        return check_parity(
            self.wiring, since=self._since(since, lambda: None), model=model, progress=self.progress
        )

    def try_out_parity(self, *, since: str | int | None = None, model: str | None = None) -> list[Trial]:
        """Falsify a scratch copy of recorded predictions; parity must notice each time."""
        from holdfast.app.parity import try_out_parity

        return try_out_parity(self.wiring, since=self._since(since, lambda: None), model=model)

    def drift(
        self,
        model: str,
        *,
        since: str | int | None = None,
        until: str | int | None = None,
        version: int | None = None,
    ) -> DriftReport:
        """Compare what a version was asked with what it was trained on.

        Parameters
        ----------
        since, until : of the rows' time; `since` also as a duration back from the newest row it answered
        """
        from holdfast.app.drift import measure_drift
        from holdfast.app.predict import newest_answered

        chosen = self._version(model, version)
        begin = self._since(since, lambda: newest_answered(self.wiring, chosen))
        return measure_drift(self.wiring, chosen, since=begin, until=_instant(until))

    def _since(self, value: str | int | None, newest: Callable[[], int | None]) -> int | None:
        """Return an instant; a duration is counted back from the newest one, or now where there is none."""
        if isinstance(value, str):
            try:
                length = parse_duration(value)
            except DefinitionError:
                return _instant(value)
            last = newest()
            return (self.wiring.clock.now_us() if last is None else last) - length
        return _instant(value)

    def performance(
        self,
        model: str,
        *,
        since: str | int | None = None,
        until: str | int | None = None,
        version: int | None = None,
        as_of: str | int | None = None,
    ) -> Performance:
        """Measure recorded predictions on the outcomes that have matured.

        Parameters
        ----------
        since, until : of the rows' time; `since` also as a duration back from the newest row it answered
        as_of
            What had arrived by then is all there was; by default the latest arrival stored of the rows and
            their outcomes.

        Raises
        ------
        UsageError
            If `as_of` is after the clock.
        """
        from holdfast.app.predict import measure_performance, newest_answered

        chosen = self._version(model, version)
        begin = self._since(since, lambda: newest_answered(self.wiring, chosen))
        bounds = {"since": begin, "until": _instant(until), "as_of": _instant(as_of)}
        return measure_performance(self.wiring, applied_project(self.wiring), chosen, **bounds)


def _places(given: Iterable[Any]) -> list[str]:
    """Return paths as texts, those in lists among them."""
    found: list[str] = []
    for path in given:
        if isinstance(path, list | tuple | set | frozenset | GeneratorType):
            found += _places(path)
        elif isinstance(path, str | os.PathLike) and isinstance(place := os.fspath(path), str):
            found.append(place)
        else:
            raise UsageError(
                f"a path is expected, found {path!r:.80}.",
                at="paths",
                hint='give files, folders or patterns: ingest("payments", "a.csv", "b.csv")',
            )
    if not found:
        raise UsageError("there is nothing to ingest: no path is given.", at="paths")
    return found


def _instant(value: str | int | None) -> int | None:
    if value is None or isinstance(value, int):
        return value
    try:
        return parse_instant(value, assume_utc=True)
    except ValueError as error:
        hint = "write 2026-03-06 or 2026-03-06T12:00:00Z; without zone it is UTC; --since takes 24h or 7d too"
        found = f"{error}." if repr(value) in str(error) else f"{value!r} is no time: {error}."
        raise UsageError(found, hint=hint) from None
