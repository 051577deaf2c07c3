"""Web pages for people over what the registry, the monitors and the decisions recorded."""
