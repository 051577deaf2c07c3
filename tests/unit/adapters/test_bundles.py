import os
import threading
from pathlib import Path

import pytest
from tests import training_examples as examples

from holdfast.adapters.bundles import BundleFolder
from holdfast.kernel.errors import NotFoundError, RefusedError, UnavailableError
from holdfast.kernel.ids import canonical_json, to_data
from holdfast.training.bundle import Manifest, Runtime, bundle_name, hash_of


def bundle(card: str = "card") -> dict[str, bytes]:
    files = {"model.txt": b"text", "features.json": b"{}", "baseline.json": b"{}", "card.md": card.encode()}
    manifest = Manifest(
        format=1,
        model="fraud",
        project="p",
        run="r-1",
        dataset="d-1",
        environment="e-1",
        code="git:1f2e3d+0",
        task="binary",
        label=examples.LABEL,
        files={name: hash_of(content) for name, content in files.items()},
        runtime=Runtime("line", "model.txt", ("line",)),
        features="features.json",
        baseline="baseline.json",
        decision=None,
        needs_code=False,
    )
    return {"manifest.json": canonical_json(to_data(manifest)), **files}


@pytest.fixture
def store(tmp_path: Path) -> BundleFolder:
    return BundleFolder(tmp_path / "state" / "bundles")


def test_bundle_comes_back_as_it_was_saved_under_the_hash_of_its_manifest(store: BundleFolder) -> None:
    files = bundle()

    name = store.save(files)

    assert name == bundle_name(files)
    assert store.load(name) == files
    assert store.names() == (name,)
    assert sorted(path.name for path in (store.root / name).iterdir()) == sorted(files)


def test_saving_twice_changes_nothing(store: BundleFolder) -> None:
    name = store.save(bundle())
    before = (store.root / name).stat().st_mtime_ns

    assert store.save(bundle()) == name
    assert (store.root / name).stat().st_mtime_ns == before
    assert [path.name for path in store.root.iterdir()] == [name]


def test_files_are_not_writable(store: BundleFolder) -> None:
    name = store.save(bundle())

    assert all(path.stat().st_mode & 0o222 == 0 for path in (store.root / name).iterdir())


def test_files_that_do_not_match_their_manifest_are_not_stored(store: BundleFolder) -> None:
    with pytest.raises(RefusedError, match=r"model\.txt"):
        store.save(bundle() | {"model.txt": b"other"})

    assert store.names() == ()


def test_unknown_bundle_is_not_found(store: BundleFolder) -> None:
    name = store.save(bundle())
    near = name[:-1] + ("0" if name[-1] != "0" else "1")

    with pytest.raises(NotFoundError, match=f"did you mean `{name}`") as caught:
        store.load(near)

    assert caught.value.code == "HF300"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", "ABCD" * 10, "a" * 39, "a" * 40])
def test_text_that_is_no_name_is_not_found(store: BundleFolder, name: str) -> None:
    with pytest.raises(NotFoundError):
        store.load(name)


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_altered_file_is_refused_with_both_hashes(store: BundleFolder) -> None:
    name = store.save(bundle())
    overwrite(store.root / name / "model.txt", b"tampered")

    with pytest.raises(RefusedError) as caught:
        store.load(name)

    assert caught.value.code == "HF402"
    for text in ("model.txt", hash_of(b"text"), hash_of(b"tampered")):
        assert text in str(caught.value)


def test_missing_and_added_files_are_refused(store: BundleFolder) -> None:
    name = store.save(bundle())
    added = store.root / name / "extra.py"
    added.write_text("print()")
    with pytest.raises(RefusedError, match=r"extra\.py"):
        store.load(name)

    added.unlink()
    (store.root / name / "card.md").unlink()
    with pytest.raises(RefusedError, match=r"card\.md"):
        store.load(name)


def test_other_manifest_is_refused_even_if_its_files_match(store: BundleFolder) -> None:
    name = store.save(bundle())
    other = bundle("another card")
    for file in ("manifest.json", "card.md"):
        overwrite(store.root / name / file, other[file])

    with pytest.raises(RefusedError, match="gave it its name") as caught:
        store.load(name)

    assert caught.value.code == "HF402"
    assert bundle_name(other) in str(caught.value)


def test_link_to_the_right_content_is_refused(store: BundleFolder, tmp_path: Path) -> None:
    name = store.save(bundle())
    path = store.root / name / "model.txt"
    path.rename(tmp_path / "model.txt")
    path.symlink_to(tmp_path / "model.txt")

    with pytest.raises(RefusedError, match="not a plain file") as caught:
        store.load(name)

    assert caught.value.code == "HF402"


def test_bundle_that_is_a_link_is_refused(store: BundleFolder, tmp_path: Path) -> None:
    name = store.save(bundle())
    (store.root / name).rename(tmp_path / "elsewhere")
    (store.root / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RefusedError, match="not a folder of its own"):
        store.load(name)


def test_folder_and_pipe_inside_a_bundle_are_refused(store: BundleFolder) -> None:
    name = store.save(bundle())
    for make in (os.mkdir, os.mkfifo):
        path = store.root / name / "card2.md"
        make(path)
        with pytest.raises(RefusedError, match="not a plain file"):
            store.load(name)
        os.rmdir(path) if path.is_dir() else path.unlink()


def test_saving_over_an_altered_bundle_is_refused(store: BundleFolder) -> None:
    name = store.save(bundle())
    overwrite(store.root / name / "model.txt", b"tampered")

    with pytest.raises(RefusedError) as caught:
        store.save(bundle())

    assert caught.value.code == "HF402"


def test_unfinished_bundle_is_never_seen(store: BundleFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(BaseException):
        pass

    def die(*args: object) -> None:
        raise Died

    monkeypatch.setattr(Path, "rename", die)
    monkeypatch.setattr("shutil.rmtree", lambda *args, **kwargs: None)
    with pytest.raises(Died):
        store.save(bundle())
    monkeypatch.undo()

    assert store.names() == ()
    name = store.save(bundle())
    assert store.load(name) == bundle()


def test_several_writers_store_one_bundle(store: BundleFolder) -> None:
    names: list[str] = []
    start = threading.Barrier(6)

    def write() -> None:
        start.wait()
        names.append(store.save(bundle()))

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert set(names) == {bundle_name(bundle())}
    assert [path.name for path in store.root.iterdir()] == [names[0]]


def test_root_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UnavailableError) as caught:
        BundleFolder(tmp_path / "file").save(bundle())

    assert caught.value.code == "HF600"
