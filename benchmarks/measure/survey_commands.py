"""Time and peak memory of the commands for surveys, each in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from saltzoo.benchmark.report import Row

F3 = (651, 951, 462)
"""Inlines, crosslines and samples of the survey F3."""


def command_rows(*, inlines: int, lines: int, model: str, device: str) -> list[Row]:
    """Return a row for each command, on a synthetic survey with the lines of F3.

    Args:
        inlines: inlines of the survey.
        lines: inlines that are segmented, after a run of one inline.
        model: name of the model that segments.
        device: its device.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        cube, truth, salt = (folder / f"{volume}.sgy" for volume in ("cube", "truth", "salt"))
        rows = [_run("synthetic", inlines, "synthetic", cube, "--mask", truth, "--shape", inlines, *F3[1:])]
        options = ("--model", model, "--device", device, "--batch-size", 16 if device == "cpu" else 256, "--overwrite")
        rows += [
            _run("predict", count, "predict", cube, "--out", salt, *options, "--lines", f"1001:{1000 + count}")
            for count in (1, lines)
        ]
        products = ("--horizons", folder / "horizons", "--bodies", folder / "b.csv", "--mask", folder / "m.sgy")
        rows.append(_run("report", inlines, "report", truth, "--survey", cube, *products, "--qc", folder / "page.png"))
        sizes = {"synthetic": cube, "predict": salt, "report": truth}
        return [{**row, "model": model, "file_mib": round(sizes[row["step"]].stat().st_size / 2**20)} for row in rows]


def _run(step: str, lines: int, *words: object) -> Row:
    """Run a command in a fresh process and return its row.

    Raises:
        RuntimeError: if the command fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "saltzoo", *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise RuntimeError(f"saltzoo {words[0]} must end with status 0, got {os.waitstatus_to_exitcode(status)}")
    return {
        "step": step,
        "lines": lines,
        "s": round(seconds, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }
