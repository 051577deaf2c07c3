"""The registry in a SQL database, chosen by URL: SQLite in one file by default."""
