"""What the repository promises about itself: no registry hosts, hashed locks, a small sorted facade."""

import inspect
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import holdfast

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = sorted((REPOSITORY / "locks").glob("*.txt"))

# In pieces, so that this file does not name one itself.
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(pieces))
        for pieces in [
            ("py" + "pi", "org"),
            ("python" + "hosted", "org"),
            ("npm" + "js", "org"),
            ("npm" + "js", "com"),
            ("yarn" + "pkg", "com"),
            ("deb", "debian", "org"),
            ("archive", "ubuntu", "com"),
        ]
    ),
    re.IGNORECASE,
)


def repository_files() -> list[Path]:
    """Files that are tracked or about to be: everything git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git repository")
    paths = (REPOSITORY / name for name in sorted(set(listed.stdout.decode().split("\0"))) if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def test_no_file_names_a_registry_host() -> None:
    named = {
        str(path.relative_to(REPOSITORY)): found.group()
        for path in repository_files()
        if (found := REGISTRY_HOSTS.search(path.read_bytes().decode(errors="ignore")))
    }

    assert named == {}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_line_of_a_lock_is_a_pinned_version_with_hashes(lock: Path) -> None:
    entries = re.sub(r" *\\\n *", " ", lock.read_text()).splitlines()

    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==\S+( ; .+?)?( --hash=sha256:[0-9a-f]{64})+", entry), (
            entry
        )


def test_locks_agree_on_versions() -> None:
    run, dev = (
        set(re.findall(r"^(\S+==\S+)", (REPOSITORY / "locks" / name).read_text(), flags=re.MULTILINE))
        for name in ("run.txt", "dev.txt")
    )

    assert run - dev == set()


def test_version_is_stated_once_and_the_same() -> None:
    assert (
        holdfast.__version__
        == tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    )


def test_facade_has_at_most_forty_sorted_names() -> None:
    names = list(holdfast.__all__)

    assert names == sorted(names)
    assert len(names) <= 40


def test_facade_names_say_they_come_from_the_facade() -> None:
    elsewhere = {
        name: found.__module__
        for name in holdfast.__all__
        if (inspect.isclass(found := getattr(holdfast, name)) or inspect.isfunction(found))
        and found.__module__ != "holdfast"
    }

    assert elsewhere == {}
