"""The shared vocabulary: time, ids, schemas, expressions, errors, ports; imports nothing else of holdfast."""
