"""Threads of this process: work done beside that of the caller."""

from holdfast.adapters.threads.beside import OneThread

__all__ = ["OneThread"]
