"""Conditions of a measurement, and its rows as CSV and Markdown."""

from __future__ import annotations

import csv
import io
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .._files import whole_file
from .._torch import device_name
from .._version import __version__

Row = dict[str, Any]


def slug(device: torch.device) -> str:
    """Return the device as part of a file name: "cpu", or the GPU's name."""
    if device.type == "cpu":
        return "cpu"
    return "_".join(torch.cuda.get_device_name(device).lower().split())


def conditions(device: torch.device, *packages: str) -> Row:
    """Return the conditions that a measurement depends on: machine, versions, settings, commit, date.

    Args:
        device: device that does the work.
        *packages: installed packages whose versions are recorded besides those of torch, timm and saltzoo.
    """
    cuda = device.type == "cuda"
    return {
        "device": device_name(device),
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if cuda else "",
        "cuda": torch.version.cuda if cuda else "",
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32 if cuda else "",
        "tf32_cudnn": torch.backends.cudnn.allow_tf32 if cuda else "",
        "cudnn_benchmark": torch.backends.cudnn.benchmark if cuda else "",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in ("torch", "timm", *packages)},
        "saltzoo": __version__,
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }


def _instructions() -> str:
    """Return the widest vector instructions that torch uses on this processor, and those for int8 and bfloat16."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    special = [flag for flag in ("avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16") if flag in flags]
    return " ".join([torch.backends.cpu.get_cpu_capability(), *special])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """Return the short hash of the checkout, with a plus if tracked files differ from it; "" for an installed wheel."""
    if not (Path(__file__).parents[2] / "pyproject.toml").is_file():
        return ""
    commit = _output("git", "rev-parse", "--short", "HEAD")
    return commit + "+" if commit and _output("git", "status", "--porcelain", "--untracked-files=no") else commit


def _output(*command: str) -> str:
    """Return the first line that a command prints; an empty text if it cannot run."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip().partition("\n")[0]


def write_csv(path: Path, rows: Sequence[Row], where: Row, *, replacing: str | Sequence[str] = ()) -> None:
    """Write one line per row, each with its conditions, so that one file can hold lines of several runs.

    Args:
        path: file to write; its folder is created.
        rows: rows with the same keys.
        where: result of `conditions`.
        replacing: name of a column, or several. Lines of earlier runs stay unless they share the values of these
            columns with a new row; a column that only some lines have is empty in the others. None of them replaces the
            whole file.
    """
    columns = list(dict.fromkeys([*rows[0], *where]))
    kept: list[Row] = []
    names = [replacing] if isinstance(replacing, str) else list(replacing)
    if names and path.exists():
        measured = [[str(row[name]) for name in names] for row in rows]  # as the file holds them
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            kept = [line for line in reader if [line.get(name) for name in names] not in measured]
        columns += [column for column in reader.fieldnames or () if column not in columns]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *({**row, **where} for row in rows)])
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write or replace a whole file: a kill leaves the one that was there."""
    with whole_file(path, overwrite=True) as file:
        file.write(text.encode())


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return a Markdown table of some columns; a column with `_min` and `_max` beside it shows all three."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [_cell(row, column).replace("|", "/").replace("\n", " ") for column in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row, column: str) -> str:
    text = _number(row[column])
    if text and f"{column}_min" in row:
        return f"{text} ({_number(row[f'{column}_min'])} to {_number(row[f'{column}_max'])})"
    return text


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def describe(where: Row) -> str:
    """Return the conditions in one line."""
    return ", ".join(f"{key} {value}" for key, value in where.items() if value != "")
