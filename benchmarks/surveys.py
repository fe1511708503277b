"""Time and measure surveys beside segyio: reading lines, and a plain loop of segyio and `predict_tiled`.

    python benchmarks/surveys.py
    python benchmarks/surveys.py --memory --inlines 1000 --crosslines 1070

The first form reads slabs of inlines, blocks of crosslines and single lines of a synthetic SEG-Y file in IBM's and IEEE
floating point, and segments a small cube line by line with the same network, in turns in one process. The second
segments lines of a file of 2 GiB, or of the given size, in a fresh process with a network of one convolution, first
inlines, then crosslines, and tells the memory that it adds: to the peak of the imports, and to their anonymous memory,
since pages of files, those of torch's libraries above all, are shared and can be dropped.

Writes results/surveys_cpu.csv and results/surveys_memory.csv.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import segyio
import torch
from torch import nn

import saltzoo
from saltzoo.benchmark.report import Row, conditions, describe, markdown, write_csv
from saltzoo.benchmark.timing import Spread, alternate, ratios
from saltzoo.cli.segmenting import Prediction
from saltzoo.cli.survey import segment_survey
from saltzoo.seismic import Survey, open_survey

CHILD = "--child"
"""First argument of a process that measures memory."""

EVERY = 100
"""Step of the lines that are segmented where memory is measured: every slab that holds one is read as a whole."""

DEVICE = torch.device("cpu")
CODES = {"IBM": 1, "IEEE": 5}
Shape = tuple[int, int, int]


class Convolution(nn.Conv2d):
    """The smallest network: what it takes is the time and the memory of all else."""

    preprocess = saltzoo.Preprocess.gray()
    threshold = 0.5

    def __init__(self) -> None:
        super().__init__(1, 1, 3, padding=1)


def write_cube(path: Path, shape: Shape, code: int) -> None:
    """Write smooth noise as a SEG-Y file, an inline at a time."""
    spec = segyio.spec()
    spec.format, spec.sorting = code, 2
    spec.ilines, spec.xlines, spec.samples = (np.arange(size) for size in shape)
    random = np.random.default_rng(0)
    noise = random.normal(size=(shape[1], shape[2] + 4)).astype(np.float32)
    section = 1000 * np.sum([noise[:, k : k + shape[2]] for k in range(5)], 0)
    with segyio.create(path, spec) as file:
        for trace in range(shape[0] * shape[1]):
            inline, crossline = divmod(trace, shape[1])
            file.header[trace] = {189: inline + 1, 193: crossline + 1}
            file.trace[trace] = section[(crossline + inline) % shape[1]]


def readings(survey: Survey, file: Any, slab: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return for each way to read: that of segyio and ours."""
    middle = len(survey.inlines) // 2, len(survey.crosslines) // 2
    inlines, crosslines = survey.inlines[:slab].tolist(), survey.crosslines[:slab].tolist()
    row, column = int(survey.inlines[middle[0]]), int(survey.crosslines[middle[1]])
    return {
        "inline": (lambda: file.iline[row], lambda: survey[middle[0]]),
        "crossline": (lambda: file.xline[column], lambda: survey[:, middle[1]]),
        "slab of inlines": (lambda: np.stack([file.iline[k] for k in inlines]), lambda: survey[:slab]),
        "block of crosslines": (
            lambda: np.stack([file.xline[k] for k in crosslines], 1),
            lambda: survey[:, :slab],
        ),
    }


def timed(what: str, code: str, shape: Shape, seconds: dict[str, list[float]]) -> list[Row]:
    """Return two rows, the first of segyio."""
    return [
        {
            "what": what,
            "format": code,
            "inlines": shape[0],
            "crosslines": shape[1],
            "samples": shape[2],
            "contender": name,
            **Spread.of([1e3 * one for one in taken]).cells("ms"),
            **ratios(seconds["segyio"], taken).cells("ratio"),
            "rounds": len(taken),
        }
        for name, taken in seconds.items()
    ]


def reading_rows(folder: Path, shape: Shape, rounds: int) -> list[Row]:
    """Return rows of reading, after both were found to be equal."""
    rows: list[Row] = []
    for name, code in CODES.items():
        path = folder / f"{name}.sgy"
        write_cube(path, shape, code)
        survey = open_survey(path)
        with segyio.open(path) as file:
            for what, (theirs, ours) in readings(survey, file, slab=20).items():
                assert np.array_equal(theirs(), ours())
                seconds = alternate({"segyio": theirs, "saltzoo": ours}, rounds=rounds, device=DEVICE)
                rows += timed(what, name, shape, seconds)
    return rows


def predicting_rows(folder: Path, shape: Shape, rounds: int, name: str) -> list[Row]:
    """Return rows of a plain loop over inlines, and of the command's path, with the same model."""
    source, loop, ours = (folder / f"{one}.sgy" for one in ("cube", "loop", "ours"))
    write_cube(source, shape, CODES["IBM"])
    model: Any = saltzoo.create_model(name, pretrained="." in name)
    model.eval()
    survey = open_survey(source)
    statistics = survey.robust_statistics()

    def plain_loop() -> None:
        loop.write_bytes(source.read_bytes())  # what the documentation of segyio advises for a result of equal geometry
        with segyio.open(source) as file, segyio.open(loop, "r+") as result:
            for number in file.ilines:
                scaling = (statistics.median, statistics.deviation)
                result.iline[number] = saltzoo.predict_tiled(model, file.iline[number].T, normalize=scaling).T

    def command() -> None:
        segment_survey(model, open_survey(source), ours, overwrite=True, prediction=Prediction())

    plain_loop()
    command()
    with segyio.open(loop) as file:
        difference = np.abs(segyio.tools.cube(file) - open_survey(ours)[:]).max()
    assert difference < 1e-5, difference  # the copied file is in IBM floating point
    seconds = alternate({"segyio": plain_loop, "saltzoo": command}, rounds=rounds, device=DEVICE)
    return timed(f"segment with {name}", "IBM", shape, seconds)


def memory_row(shape: Shape) -> Row:
    """Return what a fresh process adds for a large file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "cube.sgy"
        write_cube(path, shape, CODES["IEEE"])
        command = [sys.executable, __file__, CHILD, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        size = path.stat().st_size / 2**30
    names = dict(zip(("inlines", "crosslines", "samples"), shape, strict=True))
    return {"contender": "saltzoo", **names, "file_gib": round(size, 2), **json.loads(done.stdout.splitlines()[-1])}


def _status() -> dict[str, float]:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines if words[0].startswith(("Rss", "Vm"))}


def _child(path: Path) -> None:
    torch.set_num_threads(1)
    model: Any = Convolution()
    saltzoo.predict_tiled(model, np.zeros((101, 101), np.uint8))
    before, peak, finished = _status(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not finished.wait(0.005):
            peak = max(peak, _status()["RssAnon"])

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    for direction in ("inline", "crossline"):
        out = path.with_name(f"{direction}.sgy")
        segment_survey(model, open_survey(path), out, directions=(direction,), lines=(None, None, EVERY))
        out.unlink()
    seconds = time.perf_counter() - start
    finished.set()
    watcher.join()
    after = _status()
    row = {
        "imports_mib": round(before["VmHWM"]),
        "imports_anonymous_mib": round(before["RssAnon"]),
        "added_mib": round(after["VmHWM"] - before["VmHWM"]),
        "added_anonymous_mib": round(peak - before["RssAnon"]),
        "s": round(seconds, 1),
    }
    print(json.dumps(row))


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--model", default="saltnet_s.tgs2", help="name of the model that segments")
    parser.add_argument("--inlines", type=int, help="inlines; default 200 for reading, 1000 for memory")
    parser.add_argument("--crosslines", type=int, help="crosslines; default 300 for reading, 1070 for memory")
    parser.add_argument("--samples", type=int, default=462)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="number of CPU threads")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    where = conditions(DEVICE, "segyio")
    print(describe(where), flush=True)
    small: Shape = (args.inlines or 200, args.crosslines or 300, args.samples)
    if args.memory:
        found, path = [memory_row((args.inlines or 1000, args.crosslines or 1070, args.samples))], args.out
        path = path / "surveys_memory.csv"
        columns: tuple[str, ...] = ("file_gib", "imports_mib", "added_mib", "added_anonymous_mib", "s")
    else:
        with TemporaryDirectory() as folder:
            found = reading_rows(Path(folder), small, args.rounds)
            found += predicting_rows(Path(folder), (6, 120, 200), args.rounds, args.model)
        path = args.out / "surveys_cpu.csv"
        columns = ("what", "format", "contender", "ms", "ratio")
    write_csv(path, found, where, replacing="file_gib" if args.memory else "what")
    print(f"\n{markdown(found, columns)}\n\n{path}")


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        _child(Path(sys.argv[2]))
    else:
        main()
