"""Time saltzoo against another library in alternation, after reporting how far their results agree.

    python benchmarks/versus.py --peer smp
    python benchmarks/versus.py --peer smp --only scse lovasz --rounds 30
    python benchmarks/versus.py --peer smp --only lovasz lovasz_softmax topology salt_map confusion threshold
    python benchmarks/versus.py --peer smp --only frrn pspunet
    python benchmarks/versus.py --peer smp --device cuda

Contenders alternate in one process, so that a busy machine slows all of them. A ratio is the median of the ratios of
the rounds, with the lowest and highest; above 1, saltzoo is faster. Peak memory is the peak that torch's allocator
adds during a training step, or during both passes of a layer; saved memory is what a layer keeps from the forward to
the backward pass. GFLOP count the forward pass of one image, a multiply-add as two operations. A difference is given if
both compute the same; otherwise a note says what differs. Needs `pip install -e ".[bench]"`.

Two subjects, frrn and pspunet, have no peer: the time of a call is split among the parts of a network, with the share
of each part; GFLOP are then those of the whole call per image, backward pass included.

Writes versus_PEER_DEVICE.csv, and parts_DEVICE.csv for these two subjects, each line with its conditions, and replaces
only the subjects that it measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from measure.comparison import Plan
from subjects import parts
from subjects.alone import bam_rows, import_rows, pyramid_pooling_rows, scse_rows
from subjects.losses import lovasz_rows, lovasz_softmax_rows, topology_rows
from subjects.metrics import confusion_rows, salt_map_rows, threshold_rows
from subjects.networks import fpn_rows, pspnet_rows, unet_rows
from subjects.parts import frrn_rows, pspunet_rows

from saltzoo.benchmark.report import Row, conditions, describe, markdown, slug, write_csv

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
    "parameters",
    "gflop",
    "peak_mib",
    "saved_mib",
    "difference",
    "note",
)
VERSUS = "versus"
PARTS = "parts"
TABLES = {VERSUS: COLUMNS, PARTS: parts.COLUMNS}


@dataclass(frozen=True)
class Subject:
    """A subject that can be measured.

    Attributes:
        rows: function that measures it.
        table: table of TABLES that its rows belong to.
        sizes: default sizes of the images.
        batch: default size of the batch.
    """

    rows: Callable[[Plan], Iterator[Row]]
    table: str = VERSUS
    sizes: tuple[int, ...] = (128, 101)
    batch: int = 16


SUBJECTS = {
    "unet": Subject(unet_rows),
    "pspnet": Subject(pspnet_rows),
    "fpn": Subject(fpn_rows),
    "scse": Subject(scse_rows),
    "bam": Subject(bam_rows),
    "pyramid_pooling": Subject(pyramid_pooling_rows),
    "lovasz": Subject(lovasz_rows),
    "lovasz_softmax": Subject(lovasz_softmax_rows),
    "topology": Subject(topology_rows, sizes=(101,), batch=8),
    "salt_map": Subject(salt_map_rows),
    "confusion": Subject(confusion_rows),
    "threshold": Subject(threshold_rows),
    "import": Subject(import_rows),
    "frrn": Subject(frrn_rows, table=PARTS, sizes=(101,), batch=2),
    "pspunet": Subject(pspunet_rows, table=PARTS, sizes=(129,), batch=4),
}


def main() -> None:
    """Measure one subject after the other, print their tables and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=["smp"], required=True, help="smp: segmentation_models_pytorch")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), help="subjects; default: all")
    parser.add_argument("--size", nargs="+", type=int, help="height and width of the images; default: the subject's")
    parser.add_argument("--batch", type=int, help="default: the subject's")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSVs")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    where = conditions(device, "segmentation_models_pytorch")
    print(describe(where), flush=True)
    paths = {
        VERSUS: args.out / f"versus_{args.peer}_{slug(device)}.csv",
        PARTS: args.out / f"parts_{slug(device)}.csv",
    }
    measured: dict[str, list[Row]] = {table: [] for table in TABLES}
    for name in args.only:
        subject = SUBJECTS[name]
        plan = Plan(args.device, tuple(args.size or subject.sizes), args.batch or subject.batch, args.rounds)
        rows = list(subject.rows(plan))
        measured[subject.table] += rows
        write_csv(paths[subject.table], rows, where, replacing="subject")
    for table, rows in measured.items():
        if rows:
            print(f"\n{markdown(rows, TABLES[table])}\n\n{paths[table]}")


if __name__ == "__main__":
    main()
