"""Time saltzoo against another library, in turns, and say first how equal their results are.

    python benchmarks/versus.py --peer smp
    python benchmarks/versus.py --peer smp --only scse lovasz --rounds 30
    python benchmarks/versus.py --peer smp --device cuda

Contenders alternate in one process, so that a busy machine slows them alike; a ratio is the median of the ratios in
each round, with the lowest and highest, and above 1 where saltzoo is faster. Memory is what torch's allocator hands
out at the peak of a training step, beyond what lay there before it. Needs `pip install -e ".[bench]"`.

Writes versus_PEER_DEVICE.csv, each line with its conditions, and replaces only the subjects that it measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from _measure import conditions, describe, markdown, slug, write_csv
from _smp import SUBJECTS, Plan

COLUMNS = (
    "subject",
    "mode",
    "shape",
    "dtype",
    "layout",
    "compile",
    "contender",
    "ms",
    "ratio",
    "peak_mib",
    "difference",
)


def main() -> None:
    """Measures one subject after the other, prints their table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=["smp"], required=True, help="segmentation_models_pytorch")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), help="default: all")
    parser.add_argument("--size", nargs="+", type=int, default=[128, 101], help="height and width of the images")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    where = conditions(device, "segmentation_models_pytorch")
    print(describe(where), flush=True)
    plan = Plan(args.device, tuple(args.size), args.batch, args.rounds)
    path = args.out / f"versus_{args.peer}_{slug(device)}.csv"
    table = []
    for subject in args.only:
        rows = list(SUBJECTS[subject](plan))
        table += rows
        write_csv(path, rows, where, replacing="subject")
    print(f"\n{markdown(table, COLUMNS)}\n\n{path}")


if __name__ == "__main__":
    main()
