"""Time and measure surveys: reading beside segyio, memory, and the commands.

    python benchmarks/surveys.py
    python benchmarks/surveys.py --measure memory --inlines 1000 --crosslines 1070
    python benchmarks/surveys.py --measure commands --device cuda --inlines 64 --lines 64

The first form opens a synthetic SEG-Y file in IBM's and IEEE floating point and in int16, reads slabs of inlines,
blocks of crosslines and single lines of it as float32, and segments a small cube with the same network as a plain loop
of segyio and `predict_tiled` does, in turns in one process. segyio takes the geometry from a few headers when it opens
a file, saltzoo from all: "open" compares these, "open, all headers" lets segyio read the same words, too.

The second segments lines of a file of 2 GiB, or of the given size, in a fresh process with a network of one
convolution, first inlines, then crosslines, and tells its memory. The third runs the commands on a synthetic survey
with the lines of F3, 951 crosslines of 462 samples, each in a fresh process: `saltzoo synthetic`, `saltzoo predict` of
one line and of several, and `saltzoo report` of all products from the true mask. Their seconds include the start of
Python. Where others work on the same machine, seconds of the processor say more than those of the clock.

Writes results/surveys_cpu.csv, results/surveys_memory.csv, or results/surveys_commands_cpu.csv (or that of the GPU).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import segyio
import torch
from measure.survey_commands import command_rows
from measure.survey_files import CODES, Shape, write_cube
from measure.survey_memory import memory_row

import saltzoo
from saltzoo.benchmark.report import Row, conditions, describe, markdown, slug, write_csv
from saltzoo.benchmark.timing import Spread, alternate, ratios
from saltzoo.cli.segmenting import Prediction
from saltzoo.cli.survey import segment_survey
from saltzoo.seismic import Survey, open_survey

DEVICE = torch.device("cpu")
"""Device of all measurements but those of the commands."""

_TURN = 0.05
"""Seconds of a turn of reading: many short turns, so that both meet the same state of the machine."""

SIZES = {"reading": (200, 300), "memory": (1000, 1070), "commands": (64, 951)}
"""Inlines and crosslines by what is measured."""

COLUMNS = {
    "reading": ("what", "format", "contender", "ms", "ratio"),
    "memory": ("file_gib", "imports_mib", "imports_anonymous_mib", "peak_mib", "peak_anonymous_mib", "peak_file_mib"),
    "commands": ("step", "lines", "s", "cpu_s", "peak_mib", "file_mib"),
}
KEYS = {"reading": "what", "memory": "file_gib", "commands": "step"}


def readings(survey: Survey, file: Any, slab: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return for each way to read: that of segyio and ours."""
    inlines, crosslines = survey.inlines[:slab].tolist(), survey.crosslines[:slab].tolist()
    row, column = (int(numbers[len(numbers) // 2]) for numbers in (survey.inlines, survey.crosslines))

    def floats(section: Any) -> Any:
        return np.asarray(section, np.float32)

    return {
        "inline": (lambda: floats(file.iline[row]).T, lambda: survey.line("inline", row)),
        "crossline": (lambda: floats(file.xline[column]).T, lambda: survey.line("crossline", column)),
        "slab of inlines": (lambda: floats([file.iline[k] for k in inlines]), lambda: survey[:slab]),
        "block of crosslines": (
            lambda: np.stack([floats(file.xline[k]) for k in crosslines], 1),
            lambda: survey[:, :slab],
        ),
    }


def openings(path: Path) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return for each way to open a file: that of segyio and ours."""

    def all_headers() -> None:
        with segyio.open(path) as file:
            for place in (29, 37, 189, 193):  # the words that `open_survey` reads
                file.attributes(place)[:]

    return {
        "open": (lambda: segyio.open(path).close(), lambda: open_survey(path)),
        "open, all headers": (all_headers, lambda: open_survey(path)),
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
            for what, (theirs, ours) in (openings(path) | readings(survey, file, slab=20)).items():
                assert what.startswith("open") or np.array_equal(theirs(), ours())
                turn = 0 if what.startswith("open") else _TURN  # one call: ours takes many times as long as theirs
                seconds = alternate({"segyio": theirs, "saltzoo": ours}, rounds=rounds, device=DEVICE, turn_s=turn)
                rows += timed(what, name, shape, seconds)
    return rows


def predicting_rows(folder: Path, shape: Shape, rounds: int, name: str) -> list[Row]:
    """Return rows of a plain loop over inlines, and of the command's path, with the same model."""
    source, loop, ours = (folder / f"{one}.sgy" for one in ("cube", "loop", "ours"))
    write_cube(source, shape, CODES["IBM"])
    model: Any = saltzoo.create_model(name, pretrained="." in name)
    model.eval()

    def plain_loop() -> None:
        loop.write_bytes(source.read_bytes())  # what the documentation of segyio advises for a result of equal geometry
        with segyio.open(source) as file, segyio.open(loop, "r+") as result:
            values = segyio.tools.cube(file)
            median = np.median(values)
            scaling = (float(median), 1.4826 * float(np.median(np.abs(values - median))))
            for number in file.ilines:
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


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", choices=tuple(SIZES), default="reading", help="what is measured")
    parser.add_argument("--model", help="name of the model that segments; default: saltnet_s.tgs2, commands: .wide2")
    parser.add_argument("--device", default="cpu", help="device of the commands")
    parser.add_argument("--inlines", type=int, help="inlines; default 200 for reading, 1000 for memory, else 64")
    parser.add_argument("--crosslines", type=int, help="crosslines; default 300 for reading, 1070 for memory")
    parser.add_argument("--samples", type=int, default=462, help="samples, for reading and memory")
    parser.add_argument("--lines", type=int, default=12, help="inlines that the command segments")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of segmenting; those of reading are 5 times as many"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="number of CPU threads")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    device = torch.device(args.device) if args.measure == "commands" else DEVICE
    where = conditions(device, "segyio")
    print(describe(where), flush=True)
    inlines, crosslines = SIZES[args.measure]
    shape: Shape = (args.inlines or inlines, args.crosslines or crosslines, args.samples)
    names = {"reading": slug(device), "memory": "memory", "commands": f"commands_{slug(device)}"}
    if args.measure == "commands":
        model = args.model or "saltnet_s.wide2"
        found = command_rows(inlines=shape[0], lines=args.lines, model=model, device=args.device)
    elif args.measure == "memory":
        found = [memory_row(shape)]
    else:
        with TemporaryDirectory() as folder:
            found = reading_rows(Path(folder), shape, 5 * args.rounds)
            found += predicting_rows(Path(folder), (48, 120, 200), args.rounds, args.model or "saltnet_s.tgs2")
    path = args.out / f"surveys_{names[args.measure]}.csv"
    write_csv(path, found, where, replacing=KEYS[args.measure])
    print(f"\n{markdown(found, COLUMNS[args.measure])}\n\n{path}")


if __name__ == "__main__":
    main()
