"""Spines, labels and features become point-in-time correct snapshots, named by their content."""
