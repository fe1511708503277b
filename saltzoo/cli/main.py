"""The command `saltzoo`: run a subcommand, print errors in one line, and return the exit status."""

from __future__ import annotations

import argparse
import io
import os
import sys

from .._version import __version__
from . import info, list_models, push


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv`, by default that of the process.

    Returns:
        The exit status: 0 if all went well, 1 after an error, 130 after Ctrl-C. As in argparse, a wrong command line
        exits with 2. If the reader of the output stops early, as `head` does, the command ends with 1 and no message.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show a letter gets its escape
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            args = _parser().parse_args(argv)
            return int(args.run(args))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, because an error at the interpreter's end is printed with a traceback
    except BrokenPipeError:
        _discard_output()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError) as error:
        _discard_output()
        print(f"error: {error}", file=sys.stderr)
    return 1


def _discard_output() -> None:
    """Send what is still in the buffer of a broken standard output nowhere."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="saltzoo", description="A model zoo for segmenting salt in seismic images.")
    parser.add_argument("--version", action="version", version=f"saltzoo {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (list_models, info, push):
        command.add_parser(commands)
    return parser
