"""What every test runs under: a hypothesis profile, usual signals, and a network that ends here."""

import ipaddress
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine draws examples slowly; that says nothing about the code.
_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("fast", max_examples=50, derandomize=True, **_COMMON)
settings.register_profile("thorough", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# What tests start inherits these. Under `nohup`, or behind a shell's `&`, they would be ignored, and tests
# that hang up or interrupt would say nothing.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_local(host: str | bytes | None) -> bool:
    if host is None:
        return True
    name = host.decode() if isinstance(host, bytes) else host
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return name == "localhost"


def _refuse(what: str, host: object) -> None:
    raise PermissionError(f"a test may reach this machine only, not {host!r} (socket.{what})")


def _guarded(method: str) -> Callable[..., Any]:
    original = getattr(socket.socket, method)

    def call(self: socket.socket, *args: Any) -> Any:
        address = args[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            _refuse(method, address[0])
        return original(self, *args)

    return call


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Any:
    """Refuse every address, and every name lookup, beyond this machine."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
        if not _is_local(host):
            _refuse("getaddrinfo", host)
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for method in ("bind", "connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, method, _guarded(method))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the golden files be written anew; the change is then reviewed as text."""
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a file of tests/golden."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check
