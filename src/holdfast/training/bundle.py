"""Bundles: everything that serving needs of a model, as data, named by the hash of its manifest.

Nothing in a bundle can execute: the model is in a safe format, features are expression trees, the decision
policy is a list of numbers. `docs/reference/formats/bundle.md` says what each file holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from holdfast.datasets.forecast import Forecast
from holdfast.datasets.label import Label
from holdfast.datasets.profile import ColumnProfile, Profile
from holdfast.datasets.spine import Grid
from holdfast.features.view import FeaturePlan
from holdfast.kernel.errors import ConflictError, ContractError, RefusedError
from holdfast.kernel.ids import canonical_json, digest, from_data, to_data
from holdfast.training.calibration import ReliabilityBin
from holdfast.training.metric import Interval, Task
from holdfast.training.policy import Bands
from holdfast.training.ports import ModelFormat, Predictor
from holdfast.training.run import Run

FORMAT = 2
"""Newest version of the bundle format that is read. Models over a grid are written in it, all others in 1."""
MANIFEST = "manifest.json"
FEATURES = "features.json"
BASELINE = "baseline.json"
CARD = "card.md"

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What computes the scores.

    Attributes
    ----------
    name : name of the model format
    file : name of the model's file in the bundle
    considered : names of the formats that were asked, in order
    """

    name: str
    file: str
    considered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle is and what it holds.

    Attributes
    ----------
    project, run, dataset, environment, code : where it comes from; see `Run`
    task : ``binary``: scores are probabilities; ``regression``: scores are values
    label : how outcomes are found, also of predictions
    files : ``blake2b:`` and the BLAKE2b-160 digest of every other file, by name
    features : name of the file that holds the feature plan
    baseline : name of the file that holds the profile and the expected metrics
    decision : from score to recommendation; none where the score itself is the answer
    needs_code : whether serving needs the user's code; formats 1 and 2 write false only
    grid, forecast : what the rows are where they are not events, and the horizons to forecast; from format 2
    """

    format: int
    model: str
    project: str
    run: str
    dataset: str
    environment: str
    code: str
    task: Task
    label: Label
    files: dict[str, str]
    runtime: Runtime
    features: str
    baseline: str
    decision: Bands | None
    needs_code: bool
    grid: Grid | None = None
    forecast: Forecast | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What later data and results are compared with.

    Attributes
    ----------
    profile : of the training part
    scores : profile of the scores of the test part
    metrics : of the test part, with intervals
    reliability : observed share by score on the test part
    """

    profile: Profile
    scores: ColumnProfile
    metrics: dict[str, Interval]
    reliability: tuple[ReliabilityBin, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle that was checked and loaded.

    Attributes
    ----------
    name : hash of the manifest
    plan : features, with their views and vocabularies
    """

    name: str
    manifest: Manifest
    plan: FeaturePlan
    policy: Bands | None
    profile: Profile
    expected: Expectation
    predictor: Predictor


def assemble(
    run: Run,
    *,
    label: Label,
    plan: FeaturePlan,
    profile: Profile,
    scores: ColumnProfile,
    policy: Bands | None,
    content: bytes,
    runtime: Runtime,
    card: str,
    grid: Grid | None = None,
    forecast: Forecast | None = None,
) -> dict[str, bytes]:
    """Return the files of the bundle of a run, the manifest among them.

    Parameters
    ----------
    run : the record, whose `bundle` is not known yet
    plan, profile : of the dataset the run learnt from
    scores : profile of the test part's scores
    content : the model in its safe format
    card : the model card, Markdown
    grid, forecast : of the dataset, where its rows are not events

    Notes
    -----
    Everything is a function of the arguments: equal arguments give equal bytes. The same snapshot,
    parameters and seed give an equal model, `features.json` and `baseline.json`; the manifest and the card
    also name the run.
    """
    expected = Expectation(profile, scores, run.metrics, run.reliability)
    files = {
        runtime.file: content,
        FEATURES: canonical_json(_settled(FeaturePlan, plan)),
        BASELINE: canonical_json(_settled(Expectation, expected)),
        CARD: card.encode(),
    }
    manifest = Manifest(
        format=1 if grid is None else FORMAT,
        model=run.model,
        project=run.project,
        run=run.id,
        dataset=run.dataset,
        environment=run.environment,
        code=run.code,
        task=run.task,
        label=label,
        files={name: hash_of(files[name]) for name in sorted(files)},
        runtime=runtime,
        features=FEATURES,
        baseline=BASELINE,
        decision=policy,
        needs_code=False,
        grid=grid,
        forecast=forecast,
    )
    stored = to_data(_settled(Manifest, manifest))
    for name in ("grid", "forecast"):
        if stored[name] is None:
            del stored[name]  # format 1 has no such fields
    return {MANIFEST: canonical_json(stored), **files}


def _settled(kind: type[T], noun: T) -> T:
    """Return the noun as it will be read back: whole numbers in place of floats become floats."""
    return from_data(kind, to_data(noun))


def hash_of(content: bytes) -> str:
    """Return the hash of a file as a manifest writes it."""
    return f"blake2b:{digest(content)}"


def bundle_name(files: Mapping[str, bytes]) -> str:
    """Return the name of a bundle: the digest of its manifest, 40 hexadecimal characters.

    Raises
    ------
    RefusedError
        If there is no manifest (HF402).
    """
    if MANIFEST not in files:
        raise RefusedError(f"the bundle has no `{MANIFEST}`.", code="HF402", has=tuple(sorted(files)))
    return digest(files[MANIFEST])


def check_files(files: Mapping[str, bytes]) -> Manifest:
    """Return the manifest of a bundle after comparing every file with it.

    Raises
    ------
    RefusedError
        If a file is missing, added or altered, or the manifest cannot be one (HF402).
    ConflictError
        If the format is newer than this version reads (HF304).
    """
    manifest = _read_manifest(files)
    for name in sorted(manifest.files.keys() | files.keys() - {MANIFEST}):
        expected = manifest.files.get(name)
        found = hash_of(files[name]) if name in files else None
        if expected is None:
            raise RefusedError(
                f"the bundle holds `{name}`, which its manifest does not name.",
                code="HF402",
                at=name,
                has=tuple(manifest.files),
            )
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise RefusedError(f"the manifest names a file {name!r}.", code="HF402", at=MANIFEST)
        if found is None:
            raise RefusedError(
                f"`{name}` is missing from the bundle; its manifest expects {expected}.",
                code="HF402",
                at=name,
                has=tuple(sorted(files)),
            )
        if found != expected:
            raise RefusedError(
                f"`{name}` is not the file that the manifest names: expected {expected}, found {found}.",
                code="HF402",
                at=name,
                hint=f"fetch the bundle again, or train anew; `{name}` was altered after it was written",
            )
    for name in (manifest.features, manifest.baseline, manifest.runtime.file):
        if name not in manifest.files:
            raise RefusedError(
                f"the manifest reads `{name}`, which it does not list.",
                code="HF402",
                at=MANIFEST,
                has=tuple(manifest.files),
            )
    return manifest


def _read_manifest(files: Mapping[str, bytes]) -> Manifest:
    bundle_name(files)
    content = files[MANIFEST]
    try:
        plain = json.loads(content)
        canonical = isinstance(plain, dict) and canonical_json(plain) == content
    except (ValueError, RecursionError):
        canonical = False
    if not canonical:
        raise RefusedError(
            f"`{MANIFEST}` is not the canonical JSON object that was written.", code="HF402", at=MANIFEST
        )
    version = plain.get("format")
    if type(version) is int and version > FORMAT:
        raise ConflictError(
            f"the bundle has format {version}; this version of holdfast reads up to {FORMAT}.",
            code="HF304",
            at=f"{MANIFEST}.format",
            hint="open it with the version that wrote it, or a newer one",
        )
    if version not in range(1, FORMAT + 1):
        raise RefusedError(f"a bundle format {version!r} does not exist.", code="HF402", at=MANIFEST)
    try:
        return from_data(Manifest, plain)
    except ContractError as error:
        raise RefusedError(f"`{MANIFEST}` cannot be read: {error}", code="HF402", at=MANIFEST) from error


def read_plan(files: Mapping[str, bytes]) -> FeaturePlan:
    """Return the feature plan of a bundle, every file checked against the manifest, without its model.

    Raises
    ------
    RefusedError
        If a file is missing, added or altered (HF402).
    ConflictError
        If the format of the bundle is newer than this version reads (HF304).
    """
    return _noun(FeaturePlan, files, check_files(files).features)


def open_bundle(files: Mapping[str, bytes], formats: Sequence[ModelFormat]) -> Bundle:
    """Return the bundle of these files, checked against their manifest and loaded.

    Parameters
    ----------
    formats : the model formats there are; one of them must be the bundle's

    Raises
    ------
    RefusedError
        If a file is missing, added or altered (HF402), or the model's format is not among `formats` (HF403).
    ConflictError
        If the format of the bundle is newer than this version reads (HF304).
    """
    manifest = check_files(files)
    if manifest.needs_code:
        raise RefusedError(
            f"model `{manifest.model}` needs code that a bundle does not carry.", code="HF403", at=MANIFEST
        )
    by_name = {known.name: known for known in formats}
    runtime = by_name.get(manifest.runtime.name)
    if runtime is None:
        raise RefusedError(
            f"model `{manifest.model}` is in format `{manifest.runtime.name}`, which cannot be loaded here.",
            code="HF403",
            at=f"{MANIFEST}.runtime",
            has=tuple(by_name),
        )
    plan = _noun(FeaturePlan, files, manifest.features)
    expected = _noun(Expectation, files, manifest.baseline)
    return Bundle(
        name=bundle_name(files),
        manifest=manifest,
        plan=plan,
        policy=manifest.decision,
        profile=expected.profile,
        expected=expected,
        predictor=runtime.load(files[manifest.runtime.file]),
    )


def _noun(kind: type[T], files: Mapping[str, bytes], name: str) -> T:
    try:
        plain: Any = json.loads(files[name])
        return from_data(kind, plain)
    except (ValueError, RecursionError, ContractError) as error:
        raise RefusedError(f"`{name}` cannot be read: {error}", code="HF402", at=name) from error
