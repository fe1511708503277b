"""The command `saltzoo`, also as `python -m saltzoo`; one file per subcommand."""

from .main import main

__all__ = ["main"]
