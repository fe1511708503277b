"""Memory that segmenting a large survey takes, in a fresh process: `python -m measure.survey_memory FILE` there.

Linux tells resident memory in two parts. Anonymous memory is what the process allocates. The pages of files, above all
those of torch's libraries, are shared between processes, and the system drops them when it needs room.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

import saltzoo
from saltzoo.benchmark.report import Row
from saltzoo.cli.survey import segment_survey
from saltzoo.seismic import open_survey

EVERY = 100
"""Step of the lines that are segmented: every slab that holds one is read as a whole."""


class Convolution(nn.Conv2d):
    """The smallest network: what it takes is the time and the memory of all else."""

    preprocess = saltzoo.Preprocess.gray()
    threshold = 0.5

    def __init__(self) -> None:
        super().__init__(1, 1, 3, padding=1)


def memory_row(shape: tuple[int, int, int]) -> Row:
    """Return what a fresh process takes to segment lines of a file of this shape, inlines, then crosslines."""
    from .survey_files import CODES, write_cube  # not in the process that is measured

    with TemporaryDirectory() as folder:
        path = Path(folder) / "cube.sgy"
        write_cube(path, shape, CODES["IEEE"])
        command = [sys.executable, "-m", "measure.survey_memory", str(path)]
        here = Path(__file__).parents[1]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)
        size = path.stat().st_size / 2**30
    names = dict(zip(("inlines", "crosslines", "samples"), shape, strict=True))
    return {"contender": "saltzoo", **names, "file_gib": round(size, 2), **json.loads(done.stdout.splitlines()[-1])}


def _status() -> dict[str, float]:
    """Return the fields of this process's memory, MiB."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines if words[0].startswith(("Rss", "Vm"))}


class _Watch(threading.Thread):
    """Keeps the largest anonymous memory, and that of files, until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous, self.files, self._finished = 0.0, 0.0, threading.Event()

    def run(self) -> None:
        while not self._finished.wait(0.005):
            now = _status()
            self.anonymous, self.files = max(self.anonymous, now["RssAnon"]), max(self.files, now["RssFile"])

    def stop(self) -> None:
        self._finished.set()
        self.join()


def measure(path: Path) -> Row:
    """Return the memory of this process before and while it segments a file, and the seconds."""
    torch.set_num_threads(1)
    model: Any = Convolution()
    saltzoo.predict_tiled(model, np.zeros((101, 101), np.uint8))
    before, watch, start = _status(), _Watch(), time.perf_counter()
    watch.start()
    for direction in ("inline", "crossline"):
        out = path.with_name(f"{direction}.sgy")
        segment_survey(model, open_survey(path), out, directions=(direction,), lines=(None, None, EVERY))
        out.unlink()
    seconds = time.perf_counter() - start
    watch.stop()
    found = {
        "imports": before["VmHWM"],
        "imports_anonymous": before["RssAnon"],
        "imports_file": before["RssFile"],
        "peak": _status()["VmHWM"],
        "peak_anonymous": watch.anonymous,
        "peak_file": watch.files,
    }
    return {**{f"{name}_mib": round(value) for name, value in found.items()}, "s": round(seconds, 1)}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
