import pytest

from holdfast.registry.ports import RegistryStore
from holdfast.testing.registry import MemoryRegistry
from holdfast.testing.registry_contract import RegistryStoreContract


class TestMemoryRegistry(RegistryStoreContract):
    @pytest.fixture
    def store(self) -> RegistryStore:
        return MemoryRegistry()


def test_contract_asks_for_a_store() -> None:
    fixture = RegistryStoreContract.store._get_wrapped_function()

    with pytest.raises(NotImplementedError, match="override the fixture `store`"):
        fixture(None)
