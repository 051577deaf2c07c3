"""Alembic's folder: how the stored format came to be, one revision after another."""
