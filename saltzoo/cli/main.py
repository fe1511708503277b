"""The command `saltzoo`: run a subcommand, print errors in one line, and return the exit status."""

from __future__ import annotations

import io
import os
import sys
import traceback

import click

from .._version import __version__
from . import adapt, benchmark, info, list_models, mosaic, predict, push, report, submit, synthetic, train, validate
from .options import Session, debug_option


@click.group("saltzoo", no_args_is_help=False, epilog="Example: saltzoo predict --help")
@click.version_option(__version__, message="saltzoo %(version)s")
@debug_option
def saltzoo() -> None:
    """Segment salt in seismic images with the models of saltzoo."""


for _command in (
    predict.predict,
    train.train,
    adapt.adapt,
    validate.validate,
    submit.submit,
    mosaic.mosaic,
    report.report,
    synthetic.synthetic,
    list_models.list_names,
    info.info,
    benchmark.benchmark,
    push.push,
):
    saltzoo.add_command(_command)


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv`, by default that of the process.

    Returns:
        The exit status: 0 if all went well, 1 after an error or if some pictures failed, 2 for a wrong command line,
        130 after Ctrl-C. If the reader of the output stops early, as `head` does, the command ends with 1 and no
        message.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show a letter gets its escape
        sys.stdout.reconfigure(errors="backslashreplace")
    session = Session()
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv, session)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, because an error at the interpreter's end is printed with a traceback
    except BrokenPipeError:
        _discard_output()
    except KeyboardInterrupt:
        _print_error("interrupted", session)
        return 130
    except click.ClickException as error:
        if session.debug:
            traceback.print_exc()
        error.show()
        return error.exit_code
    except (ValueError, TypeError, OSError, MemoryError) as error:
        _discard_output()
        _print_error(f"error: {error or 'out of memory'}", session)
    return 1


def _run(argv: list[str], session: Session) -> int:
    try:
        with saltzoo.make_context("saltzoo", list(argv), obj=session) as context:
            return int(saltzoo.invoke(context))
    except click.exceptions.Exit as done:  # --help and --version
        return done.exit_code


def _print_error(line: str, session: Session) -> None:
    if session.debug:
        traceback.print_exc()
    print(line, file=sys.stderr)


def _discard_output() -> None:
    """Send what is still in the buffer of a broken standard output nowhere."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
