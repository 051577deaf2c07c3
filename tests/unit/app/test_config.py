"""Settings: defaults, then holdfast.toml, then the environment; mistakes name their place."""

from pathlib import Path

import pytest

from holdfast.app.config import DEFAULTS, SETTINGS, read_settings
from holdfast.kernel.errors import UsageError


def write(folder: Path, text: str) -> Path:
    (folder / "holdfast.toml").write_text(text, encoding="utf-8")
    return folder


def test_state_lies_beside_the_project_by_default(tmp_path: Path) -> None:
    settings = read_settings(tmp_path)

    assert settings.lake == tmp_path / ".holdfast/lake"
    assert settings.meta == tmp_path / ".holdfast/meta.db"


def test_file_overrides_the_default_and_the_environment_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, 'lake = "file:here"\nbundles = "file:///srv/bundles"\n')
    monkeypatch.setenv("HOLDFAST_LAKE_URL", "file:/elsewhere/lake")

    settings = read_settings(folder)

    assert settings.lake == Path("/elsewhere/lake")
    assert settings.bundles == Path("/srv/bundles")


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("lake = \n", "holdfast.toml is not TOML", "holdfast.toml"),
        ('lake = "file:x"\nlaek = "file:y"\n', "has a setting `laek`", "holdfast.toml:2"),
        ('\n[store]\nlake = "file:x"\n', "has a setting `store`", "holdfast.toml:2"),
        ("lake = 5\n", "`lake` is a URL in quotes, found 5", "holdfast.toml:1"),
    ],
)
def test_mistake_in_the_file_names_its_line(text: str, message: str, place: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(write(tmp_path, text))

    assert caught.value.code == "HF114"
    assert message in caught.value.problem.message
    assert caught.value.problem.place == place


def test_unknown_setting_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean `lake`"):
        read_settings(write(tmp_path, 'laek = "file:y"\n'))


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(UsageError, match="cannot be read"):
        read_settings(tmp_path)


@pytest.mark.parametrize("url", ["s3://bucket/lake", "file:", "file:///", "nothing", "sqlite:x"])
def test_unknown_scheme_or_empty_place_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(write(tmp_path, f'lake = "{url}"\n'))

    assert "begins with `file:` is expected" in caught.value.problem.message
    assert caught.value.problem.at == "holdfast.toml, `lake`"


def test_password_of_a_url_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_META_URL", "postgresql://me:secret@host/db")

    with pytest.raises(UsageError) as caught:
        read_settings(tmp_path)

    assert "secret" not in str(caught.value)
    assert caught.value.problem.at == "environment, HOLDFAST_META_URL"


def test_every_default_is_described() -> None:
    assert set(SETTINGS) == set(DEFAULTS)
