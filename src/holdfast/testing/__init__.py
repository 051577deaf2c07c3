"""Shipped with the package: the oracle, strategies, a clock, faults and the contract kits for adapters."""
