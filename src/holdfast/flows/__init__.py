"""Durable programs that compose the verbs of the stages, step by recorded step."""
