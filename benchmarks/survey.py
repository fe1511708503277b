"""Time and measure the commands for surveys on a synthetic one with the lines of F3, 951 crosslines of 462 samples.

    python benchmarks/survey.py
    python benchmarks/survey.py --device cuda --inlines 64 --lines 64

Each command runs in a fresh process: `saltzoo synthetic`, `saltzoo predict` of the first lines, and `saltzoo report`
of all products from the true mask. Seconds include the start of Python. Where others work on the same machine, seconds
of the processor say more than those of the clock.

Writes results/survey_cpu.csv, or that of the GPU's name.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from measure.memory import resident_peak_mib
from measure.report import Row, conditions, describe, markdown, slug, write_csv

from saltzoo.cli import main as saltzoo

CHILD = "--child"
"""First argument of a process that runs a command."""

F3 = (651, 951, 462)
"""Inlines, crosslines and samples of the survey F3."""


def run(step: str, lines: int, *words: object) -> Row:
    """Run a command in a fresh process and return its row."""
    command = [sys.executable, __file__, CHILD, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"step": step, "lines": lines, **json.loads(done.stdout.splitlines()[-1])}


def steps(folder: Path, *, inlines: int, lines: int, model: str, device: str) -> list[Row]:
    """Return a row for each command."""
    cube, truth, salt = (folder / f"{name}.sgy" for name in ("cube", "truth", "salt"))
    shape = (inlines, *F3[1:])
    rows = [run("synthetic", inlines, "synthetic", cube, "--mask", truth, "--shape", *shape)]
    options = ("--model", model, "--device", device, "--batch-size", 16 if device == "cpu" else 256)
    chosen = ("--lines", f"1001:{1000 + lines}")
    rows.append(run("predict", lines, "predict", cube, "--out", salt, *options, *chosen))
    products = ("--horizons", folder / "horizons", "--bodies", folder / "b.csv", "--mask", folder / "m.sgy")
    rows.append(run("report", inlines, "report", truth, "--survey", cube, *products, "--qc", folder / "page.png"))
    sizes = {"synthetic": cube, "predict": salt, "report": truth}
    return [{**row, "model": model, "file_mib": round(sizes[row["step"]].stat().st_size / 2**20)} for row in rows]


def _child(words: list[str]) -> int:
    start = time.perf_counter()
    status = saltzoo(words)
    found = {
        "s": round(time.perf_counter() - start, 2),
        "cpu_s": round(sum(os.times()[:2]), 2),
        "peak_mib": round(resident_peak_mib() or 0),
    }
    print(json.dumps(found))
    return status


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="saltnet_s.wide")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--inlines", type=int, default=64, help="inlines of the survey, of 651 of F3")
    parser.add_argument("--lines", type=int, default=4, help="inlines that are segmented")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    device = torch.device(args.device)
    where = conditions(device)
    print(describe(where), flush=True)
    with TemporaryDirectory() as folder:
        rows = steps(
            Path(folder), inlines=args.inlines, lines=args.lines, model=args.model, device=args.device
        )
    path = args.out / f"survey_{slug(device)}.csv"
    write_csv(path, rows, where, replacing="step")
    print(f"\n{markdown(rows, ('step', 'lines', 's', 'cpu_s', 'peak_mib', 'file_mib'))}\n\n{path}")


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        sys.exit(_child(sys.argv[2:]))
    main()
