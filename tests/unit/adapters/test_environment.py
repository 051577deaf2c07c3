import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest

from holdfast.adapters.environment import code_fingerprint, describe_environment


def test_environment_names_python_and_the_libraries_in_use() -> None:
    facts = describe_environment()

    assert facts["python"] == platform.python_version()
    assert facts["numpy"] == np.__version__
    assert {"holdfast", "lightgbm", "polars", "machine", "platform"} <= facts.keys()
    assert "sphinx" not in facts
    assert platform.node() == "" or platform.node() not in facts.values()


def test_environment_names_further_libraries_on_request() -> None:
    facts = describe_environment(also=["pytest", "no-such-library-of-anyone"])

    assert facts["pytest"] == pytest.__version__
    assert facts["no-such-library-of-anyone"] == "none"


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=ana", "-c", "user.email=ana@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *names, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    project = tmp_path / "repository" / "risk"
    project.mkdir(parents=True)
    git(tmp_path, "init", "--quiet", str(tmp_path / "repository"))
    (project / "project.py").write_text("x = 1\n")
    (tmp_path / "repository" / ".gitignore").write_text("build/\n")
    git(project, "add", "-A", "..")
    git(project, "commit", "--quiet", "-m", "first")
    return project


def test_clean_folder_has_its_revision(repository: Path) -> None:
    assert code_fingerprint(repository) == f"git:{git(repository, 'rev-parse', 'HEAD')[:12]}+0"


def test_changed_and_new_files_below_the_folder_are_counted(repository: Path) -> None:
    (repository / "project.py").write_text("x = 2\n")
    (repository / "new.py").write_text("")
    (repository.parent / "outside.py").write_text("")
    (repository / ".holdfast").mkdir()
    (repository / ".holdfast" / "meta.db").write_text("")

    assert code_fingerprint(repository).endswith("+2")


def test_copy_in_an_ignored_place_is_hashed(repository: Path) -> None:
    copy = repository.parent / "build"
    copy.mkdir()
    (copy / "project.py").write_text("x = 3\n")

    assert code_fingerprint(copy).startswith("files:")


def test_folder_without_git_is_hashed_by_names_and_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    (tmp_path / "project.py").write_text("x = 1\n")
    first = code_fingerprint(tmp_path)

    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.py").write_text("")
    (tmp_path / ".holdfast").mkdir()
    (tmp_path / ".holdfast" / "b.py").write_text("")
    (tmp_path / "data.parquet").write_text("")
    unchanged = code_fingerprint(tmp_path)
    (tmp_path / "project.py").rename(tmp_path / "renamed.py")
    renamed = code_fingerprint(tmp_path)

    assert first.startswith("files:")
    assert first == unchanged != renamed


def test_repository_without_commit_is_hashed(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", str(tmp_path))
    (tmp_path / "project.py").write_text("")

    assert code_fingerprint(tmp_path).startswith("files:")


def test_repository_around_the_process_does_not_answer_for_another(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(repository.parent / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repository.parent))
    other = tmp_path / "other"
    other.mkdir()
    (other / "project.py").write_text("")

    assert code_fingerprint(other).startswith("files:")
