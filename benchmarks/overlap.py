"""Time `predict_tiled` by the overlap of its tiles, and measure what a smaller one costs.

    python benchmarks/overlap.py

The picture is 1000 samples of 2000 traces; overlaps alternate in one process, and `ratio` is the time of the largest
one divided by that of each. The rest is measured on synthetic sections of 360 x 360, together: `iou` compares the
masks at .5 with the true ones, and `seam` is the mean difference of neighbouring probabilities across the places where
tiles begin, end or weigh the same, divided by that of all neighbours: 1 where seams are invisible.

Writes results/overlap_cpu.csv.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import saltzoo
from saltzoo.benchmark.report import Row, conditions, describe, markdown, write_csv
from saltzoo.benchmark.timing import Spread, alternate, ratios
from saltzoo.data import synthetic_tile
from saltzoo.inference._axis import stride_of, tile_starts

DEVICE = torch.device("cpu")
SIDE = 360
"""Height and width of the sections of known salt."""

Floats = npt.NDArray[np.float32]


def seam(probabilities: Floats, tile: tuple[int, int], overlap: float) -> float:
    """Return the mean difference of neighbours at the seams of pictures N H W beside that of all, for the worse axis.

    Example:
        >>> values = np.zeros((1, 4, 8), np.float32)
        >>> values[..., 4:] = 1
        >>> seam(values, (4, 4), 0)  # one difference of seven along the rows
        7.0
    """
    steps = []
    for side, values in zip(tile, (probabilities, probabilities.swapaxes(1, 2)), strict=True):
        size = values.shape[1]
        starts = tile_starts(size, side, stride_of(side, overlap, None))
        places = {start for start in starts if start} | {start + side for start in starts if start + side < size}
        places |= {(left + side + right) // 2 for left, right in pairwise(starts)}
        differences = np.abs(np.diff(values, axis=1)).mean((0, 2), dtype=float)
        if places and differences.any():
            steps.append(float(differences[[place - 1 for place in sorted(places)]].mean() / differences.mean()))
    return max(steps, default=float("nan"))


def measured(name: str, overlaps: list[float], *, height: int, width: int, sections: int, rounds: int) -> list[Row]:
    """Return a row for each overlap."""
    model = saltzoo.create_model(name, pretrained=True)
    tile = model.tile_size
    picture = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    runs = {
        f"{overlap:g}": lambda overlap=overlap: saltzoo.predict_tiled(model, picture, overlap=overlap)
        for overlap in overlaps
    }
    seconds = alternate(runs, rounds=rounds, device=DEVICE)
    slowest = seconds[f"{max(overlaps):g}"]
    known = [synthetic_tile(seed, size=SIDE) for seed in range(sections)]
    truths = np.stack([mask for _, mask in known]) == 1
    rows: list[Row] = []
    for overlap in overlaps:
        found = np.stack([saltzoo.predict_tiled(model, image, overlap=overlap) for image, _ in known])
        masks, own = found > 0.5, seconds[f"{overlap:g}"]
        sizes = zip(picture.shape, tile, strict=True)
        tiles = [len(tile_starts(size, side, stride_of(side, overlap, None))) for size, side in sizes]
        rows.append(
            {
                "model": name,
                "overlap": overlap,
                "height": height,
                "width": width,
                "tiles": tiles[0] * tiles[1],
                **Spread.of(own).cells("s"),
                **ratios(slowest, own).cells("ratio"),
                "sections": sections,
                "iou": round(float((masks & truths).sum() / (masks | truths).sum()), 4),
                "seam": round(seam(found, tile, overlap), 3),
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
    parser.add_argument("--sections", type=int, default=24, help="number of sections of known salt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="number of CPU threads")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    where = conditions(DEVICE)
    print(describe(where), flush=True)
    size = {"height": args.height, "width": args.width}
    found = measured(args.model, args.overlaps, **size, sections=args.sections, rounds=args.rounds)
    path = args.out / "overlap_cpu.csv"
    write_csv(path, found, where, replacing="model")
    print(f"\n{markdown(found, ('overlap', 'tiles', 's', 'ratio', 'iou', 'seam'))}\n\n{path}")


if __name__ == "__main__":
    main()
