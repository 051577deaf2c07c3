"""Windows, tiles and expressions turn rows into features by one kernel, offline and online."""
