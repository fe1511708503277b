"""Measure how much a score rises if tiles that touch are in both parts: folds by id against folds by mosaic.

    python benchmarks/splits.py --data DIR --runs runs/splits --epochs 8

Every tile is scored by a network that did not train on it: by one of five whose folds are drawn by id, where its
neighbours may have been training tiles, and by one of five whose folds keep neighbours together. All ten start from
weights that never saw a real tile, and have the same recipe. Tiles without a neighbour are the control: what changes
for them is not the leak. A run that is complete in --runs is read instead of repeated. Writes splits_DEVICE.csv and
prints its table.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import saltzoo
from saltzoo.benchmark.report import Row, conditions, markdown, slug, write_csv
from saltzoo.data import NeighbourPairs, Tiles, find_neighbours, read_tgs
from saltzoo.metrics import salt_map
from saltzoo.training import Recipe, fit
from saltzoo.zoo.sources import load_weights

START = "saltnet_s.synthetic"
SPLITS = ("id", "mosaic")
DATA = "TGS Salt Identification Challenge"
COLUMNS = ("tiles", "count", "by_id", "by_mosaic", "difference", "standard_error")

Scores = npt.NDArray[np.float64]


def main() -> None:
    """Train the missing runs, score all tiles, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the competition's files")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs, one for each split and fold")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    tiles, device = read_tgs(args.data), torch.device(args.device)
    tiles = tiles.select(np.argsort(tiles.ids))
    scores = {split: np.zeros(len(tiles)) for split in SPLITS}
    for fold in range(args.folds):
        for split in SPLITS:
            recipe = _recipe(split, epochs=args.epochs, folds=args.folds, fold=fold)
            out = args.runs / f"{split}_{fold}"
            own = recipe.split_tiles(tiles) == fold
            scores[split][own] = _scores(recipe, tiles, own, out, device)
    by_id = _recipe("id", epochs=args.epochs, folds=args.folds, fold=0).split_tiles(tiles)
    touched = touching_other_folds(find_neighbours(tiles), by_id)
    groups = {"all": np.full(len(tiles), True), "with a training neighbour": touched, "without": ~touched}
    settings = {"model": "saltnet_s", "start": START, "epochs": args.epochs, "folds": args.folds, "tta": "none"}
    rows = [{**compared(name, scores["id"][own], scores["mosaic"][own]), **settings} for name, own in groups.items()]
    path = args.out / f"splits_{slug(device)}.csv"
    write_csv(path, rows, conditions(device))
    print(f"{markdown(rows, COLUMNS)}\n\n{path}")


def _recipe(split: str, *, epochs: int, folds: int, fold: int) -> Recipe:
    return Recipe.from_dict(
        {
            "model": {"name": "saltnet_s", "grow_from": START},
            "optimizer": {"lr": 2e-3},
            "average": {"decay": 0.998},
            "epochs": epochs,
            "batch_size": 16,
            "split": split,
            "folds": folds,
            "fold": fold,
        }
    )


def _scores(recipe: Recipe, tiles: Tiles, own: npt.NDArray[np.bool_], out: Path, device: torch.device) -> Scores:
    """Return the score of each tile of a recipe's fold, by its network; train it first if it is not complete."""
    if not _is_complete(out, recipe):
        fit(recipe, tiles, out, device=device, data=DATA, resume=(out / "last.pt").exists())
    model = saltzoo.create_model(f"local-dir:{out / 'model'}", pretrained=True).to(device)
    validation = tiles.select(own)
    guesses = saltzoo.predict(model, torch.from_numpy(validation.images).to(device)) > 0.5
    masks = torch.from_numpy(validation.require_masks()).to(device)
    return np.asarray(salt_map(guesses, masks, reduction="none").cpu(), dtype=np.float64)


def _is_complete(out: Path, recipe: Recipe) -> bool:
    """Return whether a folder holds a finished run of a recipe.

    Raises:
        ValueError: if it holds a finished run of another one.
    """
    if not (out / "model").exists():
        return False
    config = load_weights(f"local-dir:{out / 'model'}").config
    # "auto" became what the device can do, so that it does not count.
    if replace(Recipe.from_saved(config["recipe"]), amp="auto") != replace(recipe, amp="auto"):
        raise ValueError(f"{out} holds a run with other options: give another --runs")
    return str(config["metrics"][0]["epoch"]) == f"{recipe.epochs} of {recipe.epochs}"


def touching_other_folds(pairs: NeighbourPairs, folds: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which tiles touch a tile of another fold, which trained the network that scores them."""
    touched = np.full(len(folds), False)
    across = folds[pairs.first] != folds[pairs.second]
    touched[pairs.first[across]] = True
    touched[pairs.second[across]] = True
    return touched


def compared(name: str, by_id: Scores, by_mosaic: Scores) -> Row:
    """Return the means over tiles, their difference, and its standard error over tiles."""
    difference = by_id - by_mosaic
    return {
        "tiles": name,
        "count": len(difference),
        "by_id": round(float(by_id.mean()), 4),
        "by_mosaic": round(float(by_mosaic.mean()), 4),
        "difference": round(float(difference.mean()), 4),
        "standard_error": round(float(difference.std(ddof=1)) / math.sqrt(len(difference)), 4),
    }


if __name__ == "__main__":
    main()
