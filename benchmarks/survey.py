"""Time and measure the commands for surveys on a synthetic one with the lines of F3, 951 crosslines of 462 samples.

    python benchmarks/survey.py
    python benchmarks/survey.py --device cuda --inlines 64 --lines 64

Each command runs in a fresh process: `saltzoo synthetic`, `saltzoo predict` of one line and of several, and `saltzoo
report` of all products from the true mask. Seconds include the start of Python. Where others work on the same machine,
seconds of the processor say more than those of the clock.

Writes results/survey_cpu.csv, or that of the GPU's name.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from saltzoo.benchmark.report import Row, conditions, describe, markdown, slug, write_csv

F3 = (651, 951, 462)
"""Inlines, crosslines and samples of the survey F3."""


def run(step: str, lines: int, *words: object) -> Row:
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


def steps(folder: Path, *, inlines: int, lines: int, model: str, device: str) -> list[Row]:
    """Return a row for each command."""
    cube, truth, salt = (folder / f"{name}.sgy" for name in ("cube", "truth", "salt"))
    rows = [run("synthetic", inlines, "synthetic", cube, "--mask", truth, "--shape", inlines, *F3[1:])]
    options = ("--model", model, "--device", device, "--batch-size", 16 if device == "cpu" else 256, "--overwrite")
    rows += [
        run("predict", count, "predict", cube, "--out", salt, *options, "--lines", f"1001:{1000 + count}")
        for count in (1, lines)
    ]
    products = ("--horizons", folder / "horizons", "--bodies", folder / "b.csv", "--mask", folder / "m.sgy")
    rows.append(run("report", inlines, "report", truth, "--survey", cube, *products, "--qc", folder / "page.png"))
    sizes = {"synthetic": cube, "predict": salt, "report": truth}
    return [{**row, "model": model, "file_mib": round(sizes[row["step"]].stat().st_size / 2**20)} for row in rows]


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="saltnet_s.wide")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--inlines", type=int, default=64, help="inlines of the survey, of 651 of F3")
    parser.add_argument("--lines", type=int, default=12, help="inlines that are segmented")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    device = torch.device(args.device)
    where = conditions(device)
    print(describe(where), flush=True)
    with TemporaryDirectory() as folder:
        rows = steps(Path(folder), inlines=args.inlines, lines=args.lines, model=args.model, device=args.device)
    path = args.out / f"survey_{slug(device)}.csv"
    write_csv(path, rows, where, replacing="step")
    print(f"\n{markdown(rows, ('step', 'lines', 's', 'cpu_s', 'peak_mib', 'file_mib'))}\n\n{path}")


if __name__ == "__main__":
    main()
