"""The online store in memory keeps the promises of the port."""

from typing import Any

import pytest

from holdfast.testing.online import MemoryOnline
from holdfast.testing.online_contract import OnlineStoreContract


class TestMemoryOnline(OnlineStoreContract):
    @pytest.fixture
    def store(self) -> MemoryOnline:
        return MemoryOnline()

    def reopen(self, store: Any) -> MemoryOnline:
        return store
