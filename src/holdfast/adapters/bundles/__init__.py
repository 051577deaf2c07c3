"""Bundles in a folder of this machine, one content-addressed folder each."""

from holdfast.adapters.bundles.folder import BundleFolder

__all__ = ["BundleFolder"]
