import json
from contextlib import suppress
from typing import Any

import pytest
from tests import training_examples as examples

from holdfast.datasets.profile import ColumnProfile
from holdfast.kernel.errors import ConflictError, RefusedError
from holdfast.kernel.ids import canonical_json, digest
from holdfast.training.bundle import Runtime, assemble, bundle_name, check_files, hash_of, open_bundle
from holdfast.training.metric import Interval
from holdfast.training.policy import Bands
from holdfast.training.run import Run

SNAPSHOT = examples.snapshot(200)
FORMATS = [examples.LineFormat()]


def bundle() -> dict[str, bytes]:
    run = Run(
        id="r-1",
        model="fraud",
        project="9c0e",
        dataset=SNAPSHOT.id,
        params={},
        seed=7,
        author="ana",
        started_us=1,
        duration_us=2,
        environment="e-1",
        facts={},
        code="git:1f2e3d+0",
        task="binary",
        rows={"train": 1},
        metrics={"auc": Interval(0.7, 0.6, 0.8)},
        baseline={"auc": 0.5},
    )
    return assemble(
        run,
        label=examples.LABEL,
        plan=SNAPSHOT.recipe.plan,
        profile=SNAPSHOT.profile,
        scores=ColumnProfile("score", "numeric", 2, 0, 0.5, 0.1, 0.0, 1.0, (0.5,), (1, 1)),
        policy=Bands((("block", 1), ("allow", 0))),
        content=b"0.01 -3.0 1",
        runtime=Runtime("line", "line.txt", ("line",)),
        card="# Model card\n",
    )


def with_manifest(files: dict[str, bytes], /, **changes: Any) -> dict[str, bytes]:
    manifest = json.loads(files["manifest.json"])
    return files | {"manifest.json": canonical_json(manifest | changes)}


def test_name_of_a_bundle_is_the_fingerprint_of_its_manifest() -> None:
    files = bundle()

    assert bundle_name(files) == digest(files["manifest.json"])
    assert open_bundle(files, FORMATS).name == bundle_name(files)


def test_hash_of_the_features_is_the_fingerprint_of_the_plan() -> None:
    files = bundle()

    opened = open_bundle(files, FORMATS)

    assert opened.manifest.files["features.json"] == f"blake2b:{opened.plan.fingerprint}"


def test_whole_numbers_are_read_back_as_they_were_written() -> None:
    policy = open_bundle(bundle(), FORMATS).policy

    assert b'[["block",1.0],["allow",0.0]]' in bundle()["manifest.json"]
    assert policy == Bands((("block", 1.0), ("allow", 0.0)))


@pytest.mark.parametrize("name", ["line.txt", "features.json", "baseline.json", "card.md"])
def test_altered_file_is_refused_with_both_hashes(name: str) -> None:
    files = bundle()
    altered = files | {name: files[name] + b" "}

    with pytest.raises(RefusedError) as caught:
        open_bundle(altered, FORMATS)

    assert caught.value.code == "HF402"
    assert caught.value.problem.at == name
    for text in (name, hash_of(files[name]), hash_of(altered[name])):
        assert text in str(caught.value)


@pytest.mark.parametrize("name", ["line.txt", "features.json", "baseline.json", "card.md", "manifest.json"])
def test_missing_file_is_refused(name: str) -> None:
    files = bundle()
    del files[name]

    with pytest.raises(RefusedError, match=name) as caught:
        open_bundle(files, FORMATS)

    assert caught.value.code == "HF402"


def test_added_file_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"extra\.py") as caught:
        open_bundle(bundle() | {"extra.py": b"print()"}, FORMATS)

    assert caught.value.code == "HF402"


@pytest.mark.parametrize("name", ["../escape", "a/b", ".hidden", "", "manifest.json"])
def test_manifest_that_names_an_impossible_file_is_refused(name: str) -> None:
    files = bundle()
    listed = json.loads(files["manifest.json"])["files"] | {name: hash_of(b"x")}

    with pytest.raises(RefusedError) as caught:
        check_files(with_manifest(files, files=listed) | ({name: b"x"} if name != "manifest.json" else {}))

    assert caught.value.code == "HF402"


def test_newer_format_is_told_apart_from_damage() -> None:
    with pytest.raises(ConflictError, match="format 3") as caught:
        open_bundle(with_manifest(bundle(), format=3), FORMATS)

    assert caught.value.code == "HF304"


@pytest.mark.parametrize("version", [0, -1, "1", True, None, 1.0])
def test_format_that_never_was_is_refused(version: object) -> None:
    with pytest.raises(RefusedError) as caught:
        open_bundle(with_manifest(bundle(), format=version), FORMATS)

    assert caught.value.code == "HF402"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b'{"format": 1}', b'{"format":1}', b"[" * 100_000]
)
def test_manifest_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        open_bundle(bundle() | {"manifest.json": content}, FORMATS)

    assert caught.value.code == "HF402"


def test_manifest_with_a_key_twice_is_refused() -> None:
    files = bundle()
    twice = files["manifest.json"].replace(b'"format":1', b'"format":1,"format":1')

    with pytest.raises(RefusedError, match="canonical"):
        check_files(files | {"manifest.json": twice})


def test_model_in_a_format_that_is_not_there_is_refused() -> None:
    with pytest.raises(RefusedError, match="`line`") as caught:
        open_bundle(bundle(), [])

    assert caught.value.code == "HF403"


def test_bundle_that_needs_code_is_refused() -> None:
    with pytest.raises(RefusedError, match="needs code"):
        open_bundle(with_manifest(bundle(), needs_code=True), FORMATS)


@pytest.mark.parametrize("field", ["features", "baseline"])
def test_manifest_that_reads_a_file_it_does_not_list_is_refused(field: str) -> None:
    with pytest.raises(RefusedError, match=r"other\.json"):
        open_bundle(with_manifest(bundle(), **{field: "other.json"}), FORMATS)


def test_every_single_byte_of_the_manifest_counts() -> None:
    files = bundle()
    content = files["manifest.json"]

    for at in range(0, len(content), 7):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        altered = files | {"manifest.json": changed}
        with suppress(RefusedError, ConflictError):
            check_files(altered)
            assert bundle_name(altered) != bundle_name(files)
