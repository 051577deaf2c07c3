import logging
from collections.abc import Iterator

import pytest

from holdfast.app.log import SUPERVISED, configure_log


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    logging.getLogger("holdfast.serve").info("answering: fraud@1")
    return capsys.readouterr().err.splitlines()


def test_a_process_of_its_own_writes_time_and_name(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SUPERVISED, raising=False)

    configure_log("serve-0", shown_by="serve")

    (line,) = lines(capsys)
    assert line.endswith(" serve-0 INFO answering: fraud@1")
    assert line[:2] == "20"


@pytest.mark.parametrize(("name", "head"), [("serve-0", "serve-0 "), ("serve", "")])
def test_a_child_leaves_time_and_name_to_who_shows_its_lines(
    name: str,
    head: str,
    root: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SUPERVISED, "1")

    configure_log(name, shown_by="serve")

    assert lines(capsys) == [f"{head}INFO answering: fraud@1"]
