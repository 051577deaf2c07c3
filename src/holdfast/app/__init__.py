"""The composition root: it reads the configuration, chooses adapters by URL and wires them to the core."""
