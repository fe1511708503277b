"""The command `saltzoo`: run a subcommand and print errors in one line."""

from __future__ import annotations

import argparse
import sys

from .._version import __version__
from . import info, list_models, push


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv`, by default that of the process, and return the exit status."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="saltzoo", description="A model zoo for segmenting salt in seismic images.")
    parser.add_argument("--version", action="version", version=f"saltzoo {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (list_models, info, push):
        command.add_parser(commands)
    return parser
