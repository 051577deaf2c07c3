"""Runs and searches fit models on a dataset, and gates say which of them may be registered."""
