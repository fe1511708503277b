"""A row measured in a process of its own, so that nothing that another row compiled, cached or broke affects it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from torch import nn

from .report import Row
from .setting import MEASURED, Setting, build, measure

COMMAND = (sys.executable, "-m", "saltzoo.benchmark")
"""Command that measures a row; the setting follows as JSON."""


def fresh_row(setting: Setting, *, timeout_s: float, command: Sequence[str] = COMMAND) -> Row:
    """Return the row of a setting; its `error` says what went wrong, even if the process was killed."""
    row = asdict(setting) | dict.fromkeys(MEASURED)
    try:
        done = subprocess.run(
            [*command, json.dumps(asdict(setting))], capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return row | {"error": f"took longer than {timeout_s:g} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        return row | {"error": f"exit code {done.returncode}: {said[-1]}"}
    try:
        # Libraries may print before it: the result is the last line.
        return row | json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return row | {"error": "the process ended without a result"}


def print_row(setting: str, make: Callable[[Setting], nn.Module] = build) -> None:
    """Measure a setting, given as JSON, in this process, and print its row as JSON; an exception becomes an error."""
    print(json.dumps(row_here(Setting(**json.loads(setting)), make)))


def row_here(setting: Setting, make: Callable[[Setting], nn.Module] = build) -> Row:
    """Measure a setting in this process; an exception becomes an error in the row."""
    try:
        return measure(setting, make)
    except Exception as error:  # any failure belongs in the table
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
