"""Model versions, their aliases and approvals, and the append-only history of who changed what and why."""
