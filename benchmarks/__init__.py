"""Measurements (`bench_*.py`) and large demonstrations of laws (`proof_*.py`), run by make, not by pytest."""
