"""Time `predict_tiled` by the overlap of its tiles, and measure what a smaller one costs.

    python benchmarks/overlap.py

The picture is an inline of a synthetic survey, 1000 samples of 2000 traces, whose salt is known. Overlaps alternate in
one process. `ratio` is the time of the largest overlap divided by that of each, `iou` compares the mask at .5 with
the true one, and `seam` is the mean difference of neighbouring probabilities across the places where tiles begin, end
or weigh the same, divided by that of all neighbours: 1 where seams are invisible.

Writes results/overlap_cpu.csv.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from measure.report import Row, conditions, describe, markdown, write_csv
from measure.timing import Spread, alternate, ratios

import saltzoo
from saltzoo.data import SyntheticSurvey
from saltzoo.inference._axis import stride_of, tile_starts

DEVICE = torch.device("cpu")
Floats = npt.NDArray[np.float32]


def section(height: int, width: int, seed: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return amplitudes and mask of a synthetic line, height x width."""
    amplitudes, mask = SyntheticSurvey((1, width, height), seed=seed).slab(0, 1)
    return amplitudes[0].T.copy(), mask[0].T == 1


def seam(probabilities: Floats, tile: tuple[int, int], overlap: float) -> float:
    """Return the mean difference of neighbours at the seams, along the axis where it is larger; NaN for one tile.

    Example:
        >>> values = np.zeros((4, 8), np.float32)
        >>> values[:, 4:] = 1
        >>> seam(values, (4, 4), 0)  # one difference of seven along the rows
        7.0
    """
    steps = []
    for axis, side in enumerate(tile):
        size = probabilities.shape[axis]
        starts = tile_starts(size, side, stride_of(side, overlap, None))
        places = {start for start in starts if start} | {start + side for start in starts if start + side < size}
        places |= {(left + side + right) // 2 for left, right in pairwise(starts)}
        differences = np.abs(np.diff(probabilities, axis=axis)).mean(1 - axis, dtype=float)
        if places and differences.any():
            steps.append(float(differences[[place - 1 for place in sorted(places)]].mean() / differences.mean()))
    return max(steps, default=float("nan"))


def measured(name: str, overlaps: list[float], *, height: int, width: int, seed: int, rounds: int) -> list[Row]:
    """Return a row for each overlap."""
    model = saltzoo.create_model(name, pretrained=True)
    image, truth = section(height, width, seed)
    tile = model.tile_size or (101, 101)
    found = {
        overlap: saltzoo.predict_tiled(model, image, normalize="survey", overlap=overlap, tile=tile)
        for overlap in overlaps
    }
    runs = {
        f"{overlap:g}": lambda overlap=overlap: saltzoo.predict_tiled(
            model, image, normalize="survey", overlap=overlap, tile=tile
        )
        for overlap in overlaps
    }
    seconds = alternate(runs, rounds=rounds, device=DEVICE)
    slowest = seconds[f"{max(overlaps):g}"]
    rows: list[Row] = []
    for overlap, probabilities in found.items():
        mask = probabilities > 0.5
        sizes = zip(image.shape, tile, strict=True)
        tiles = [len(tile_starts(size, side, stride_of(side, overlap, None))) for size, side in sizes]
        rows.append(
            {
                "model": name,
                "overlap": overlap,
                "height": height,
                "width": width,
                "tiles": tiles[0] * tiles[1],
                **Spread.of(seconds[f"{overlap:g}"]).cells("s"),
                **ratios(slowest, seconds[f"{overlap:g}"]).cells("ratio"),
                "iou": round(float((mask & truth).sum() / (mask | truth).sum()), 4),
                "seam": round(seam(probabilities, tile, overlap), 3),
                "seed": seed,
                "rounds": rounds,
            }
        )
    return rows


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="saltnet_s.wide2", help="name of weights")
    parser.add_argument("--overlaps", nargs="+", type=float, default=[0.0, 0.25, 0.5], help="fractions of a tile")
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--width", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="number of the synthetic survey")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="number of CPU threads")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    where = conditions(DEVICE)
    print(describe(where), flush=True)
    size = {"height": args.height, "width": args.width, "seed": args.seed}
    found = measured(args.model, args.overlaps, **size, rounds=args.rounds)
    path = args.out / "overlap_cpu.csv"
    write_csv(path, found, where, replacing="model")
    print(f"\n{markdown(found, ('overlap', 'tiles', 's', 'ratio', 'iou', 'seam'))}\n\n{path}")


if __name__ == "__main__":
    main()
