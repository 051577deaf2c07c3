"""Files on disk: inputs to ingest (CSV, JSON lines, Parquet), the batch log and staged rows."""
