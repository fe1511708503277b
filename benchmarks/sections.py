"""Score weights on synthetic sections that, like most of their salt bodies, are larger than a tile.

    python benchmarks/sections.py --models saltnet_s.sections saltnet_s.wide2

Sections have the seeds from 0 (360 x 360) and from 100 (600 x 600); no weights were trained on them. Each is segmented
by `predict_tiled` with the tiles of the weights, and cut at .5. *IoU* is over sections with salt, *false alarms* is the
share of the pixels of sections without salt. Writes results/sections_DEVICE.csv and replaces earlier rows of the same
model.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import saltzoo
from saltzoo.benchmark.report import Row, conditions, describe, markdown, slug, write_csv
from saltzoo.contracts import SegmentationModel
from saltzoo.data import synthetic_tile
from saltzoo.zoo.members import tile_size_of

SECTIONS = ((360, range(24)), (600, range(100, 112)))
"""Sides and seeds."""

COLUMNS = ("model", "tile", "side", "with_salt", "iou", "median_iou", "without_salt", "false_alarms", "accuracy")


def row_of(model: SegmentationModel, side: int, seeds: range) -> Row:
    """Return the scores on sections of one size."""
    ious, alarms, accuracies = [], [], []
    for seed in seeds:
        section, truth = synthetic_tile(seed, size=side)
        found = saltzoo.predict_tiled(model, section) > 0.5
        accuracies.append(float((found == truth).mean()))
        if truth.any():
            ious.append(float((found & truth).sum() / np.count_nonzero(found | truth)))
        else:
            alarms.append(float(found.mean()))
    return {
        "side": side,
        "with_salt": len(ious),
        "iou": round(statistics.mean(ious), 4),
        "median_iou": round(statistics.median(ious), 4),
        "without_salt": len(alarms),
        "false_alarms": round(statistics.mean(alarms), 4),
        "accuracy": round(statistics.mean(accuracies), 4),
    }


def rows(names: list[str], device: torch.device) -> Iterator[Row]:
    """Yield two rows for each model."""
    for name in names:
        model = saltzoo.create_model(name, pretrained=True).to(device)
        height, width = tile_size_of(model)
        for side, seeds in SECTIONS:
            yield {"model": name, "tile": f"{height} x {width}", **row_of(model, side, seeds)}


def main() -> None:
    """Score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["saltnet_s.sections", "saltnet_s.wide2"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    device = torch.device(args.device)
    where = conditions(device)
    print(describe(where), flush=True)
    found = list(rows(args.models, device))
    path = args.out / f"sections_{slug(device)}.csv"
    write_csv(path, found, where, replacing="model")
    print(f"\n{markdown(found, COLUMNS)}\n\n{path}")


if __name__ == "__main__":
    main()
