"""One package per technology, each fulfilling ports of the core; none imports another but `durable`."""
