"""Facts of where a run takes place, and the fingerprint of the code it runs."""

from holdfast.adapters.environment.facts import describe_environment
from holdfast.adapters.environment.source import code_fingerprint

__all__ = ["code_fingerprint", "describe_environment"]
