"""Events become rows: each is validated, deduplicated, appended or put into quarantine with its reason."""
