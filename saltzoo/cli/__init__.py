"""The command `saltzoo`; one file a subcommand."""

from .main import main

__all__ = ["main"]
