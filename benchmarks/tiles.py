"""Time tools for sets of tiles beside what would be used without them.

    python benchmarks/tiles.py
    python benchmarks/tiles.py --only neighbours --tiles 22000 --rounds 3

Run-length encoding is compared with a loop over pixels; the search for neighbours with scikit-learn's NearestNeighbors,
which finds the two nearest candidates on each of the four sides from the same features. Contenders alternate in one
process, after their results were compared. Writes results/tiles_cpu.csv. Needs `pip install -e ".[bench]"`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from saltzoo.benchmark.report import Row, conditions, describe, markdown, write_csv
from saltzoo.benchmark.timing import Run, Spread, alternate, ratios
from saltzoo.data import rle_encode, synthetic_tiles
from saltzoo.data.neighbours import edge_features, nearest_two

DEVICE = torch.device("cpu")
OURS = "saltzoo"
Index = npt.NDArray[np.int64]


def rle_rows(count: int, rounds: int) -> Iterator[Row]:
    """Time the encoding of masks of 101 x 101."""
    masks = np.tile(synthetic_tiles(200).require_masks() == 1, (-(-count // 200), 1, 1))[:count]
    loop = [_encode(mask) for mask in masks]
    yield from _rows(
        "rle_encode",
        masks.shape,
        {"loop over pixels": lambda: [_encode(mask) for mask in masks], OURS: lambda: rle_encode(masks)},
        f"{sum(a != b for a, b in zip(loop, rle_encode(masks), strict=True))} texts differ",
        rounds,
    )


def neighbours_rows(count: int, rounds: int) -> Iterator[Row]:
    """Time the two nearest candidates on all four sides, random tiles of 101 x 101."""
    from sklearn.neighbors import NearestNeighbors

    images = np.random.default_rng(0).integers(0, 256, (count, 101, 101), np.uint8)
    sides = [edge_features(images, below=below) for below in (False, True)]

    def theirs() -> list[Index]:
        found = []
        for a, b in sides:
            for queries, keys in ((a, b), (b, a)):
                search = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(keys)
                index = search.kneighbors(queries, return_distance=False)
                itself = index[:, 0] == np.arange(count)  # a third candidate stands in where a tile finds itself
                found.append(np.where(itself, index[:, 1], index[:, 0]))
        return found

    def ours() -> list[Index]:
        return [nearest.index for a, b in sides for nearest in nearest_two(a, b)]

    differing = sum(int((x != y).sum()) for x, y in zip(theirs(), ours(), strict=True))
    runs: dict[str, Run] = {"scikit-learn": theirs, OURS: ours}
    yield from _rows("find_neighbours", images.shape, runs, f"{differing} of {4 * count} nearest differ", rounds)


def _rows(subject: str, shape: tuple[int, ...], runs: dict[str, Run], note: str, rounds: int) -> Iterator[Row]:
    print(f"{subject} {shape}: {note}", flush=True)
    times = alternate(runs, rounds=rounds, device=DEVICE)
    peer = times[next(iter(runs))]
    for name, seconds in times.items():
        yield {
            "subject": subject,
            "shape": "x".join(map(str, shape)),
            "contender": name,
            **Spread.of(seconds).cells("s"),
            **ratios(peer, seconds).cells("ratio"),
            "note": note,
            "rounds": rounds,
        }


def _encode(mask: npt.NDArray[np.bool_]) -> str:
    runs: list[list[int]] = []
    before = False
    for number, salt in enumerate(mask.T.reshape(-1).tolist(), start=1):
        if salt and not before:
            runs.append([number, 0])
        if salt:
            runs[-1][1] += 1
        before = salt
    return " ".join(f"{first} {length}" for first, length in runs)


SUBJECTS: dict[str, Callable[[int, int], Iterator[Row]]] = {"rle": rle_rows, "neighbours": neighbours_rows}


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), help="subjects; default: all")
    parser.add_argument("--tiles", type=int, default=8000, help="number of tiles")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    where = conditions(DEVICE, "numpy", "scikit-learn")
    print(describe(where), flush=True)
    found = [row for name in args.only for row in SUBJECTS[name](args.tiles, args.rounds)]
    path = args.out / "tiles_cpu.csv"
    write_csv(path, found, where, replacing="subject")
    print(f"\n{markdown(found, ('subject', 'shape', 'contender', 's', 'ratio', 'note'))}\n\n{path}")


if __name__ == "__main__":
    main()
