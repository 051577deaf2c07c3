"""The revisions. A released one is never edited; `holdfast.adapters.sql.tables.REVISIONS` lists them all."""
