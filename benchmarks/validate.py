"""Score a checkpoint on the fold of tiles that was held out from its training, and on synthetic tiles.

    python benchmarks/validate.py --model saltnet_s.tgs --data DIR --fold 0
    python benchmarks/validate.py --model local-dir:runs/fold0/model --data DIR --fold 0
    python benchmarks/validate.py --model unet_efficientnet_lite0_scse_hc.tgs_folds --data DIR   # each on its own fold

DIR is the competition's download. The folds are those of the checkpoint's recipe; without one, five by id. Synthetic
tiles are the first 200 of seed 2, of which examples/quickstart.py shows 24. Masks are cut at .5, at the tiles' original
size. Prints the competition's score, IoU and Dice (means over tiles; a tile that is empty in both masks scores 1), and
the shares of empty and of non-empty tiles recognised as such, with and without mirrored tiles. Writes them with their
conditions to results/validate_DEVICE.csv and replaces earlier scores of the same model.

*unseen* is "yes" if the checkpoint's card names exactly these tiles as held out, or says that it was trained on other
data; "no" if it names other tiles, so that the model may have been trained on some of these and the score is too high;
"unknown" if it names none.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

import saltzoo
from saltzoo.benchmark.report import Row, conditions, describe, markdown, slug, write_csv
from saltzoo.contracts import SegmentationModel
from saltzoo.data import Tiles, read_tgs, synthetic_tiles
from saltzoo.metrics import dice_score, empty_accuracy, iou_score, salt_map
from saltzoo.training.held_out import SYNTHETIC, held_out_parts, unseen_parts
from saltzoo.zoo.sources import load_weights

COLUMNS = (
    *("model", "data", "fold", "tta", "tiles", "unseen"),
    *("salt_map", "iou", "dice", "empty", "nonempty", "tiles_per_s"),
)

TGS = "TGS Salt Identification Challenge"


def scores(guesses: Tensor, masks: Tensor, seconds: float) -> Row:
    """Return all scores of masks N H W."""
    right = empty_accuracy(guesses, masks)
    return {
        "tiles": len(masks),
        "salt_map": round(salt_map(guesses, masks).item(), 6),
        "iou": round(iou_score(guesses, masks, average="per_image").item(), 6),
        "dice": round(dice_score(guesses, masks, average="per_image").item(), 6),
        "empty": round(right.empty.item(), 6),
        "nonempty": round(right.nonempty.item(), 6),
        "tiles_per_s": round(len(masks) / seconds, 1),
    }


def scores_of(parts: Sequence[tuple[SegmentationModel, Tiles]], device: torch.device, *, tta: str | None) -> Row:
    """Return the scores of masks cut at .5, computed in float32, each model on its own tiles."""
    guesses, masks, seconds = [], [], 0.0
    for model, tiles in parts:
        images = torch.from_numpy(tiles.images).to(device)
        start = time.perf_counter()
        guesses.append(saltzoo.predict(model, images, tta=tta) > 0.5)
        seconds += time.perf_counter() - start
        masks.append(torch.from_numpy(tiles.require_masks()).to(device))
    return {"tta": tta or "none", **scores(torch.cat(guesses), torch.cat(masks), seconds)}


def rows(name: str, tiles: Tiles, fold: int | None, device: torch.device) -> Iterator[Row]:
    """Yield the scores without and with mirrored tiles, on a fold (or each, of an ensemble) and on synthetic tiles."""
    model = saltzoo.create_model(name, pretrained=True).to(device)
    if isinstance(model, saltzoo.Ensemble):
        parts = held_out_parts(model, {}, tiles)
    elif fold is None:
        raise ValueError("--fold must be given for a single model: the fold that was held out from its training")
    else:
        parts = held_out_parts(model, load_weights(name).config, tiles, fold)
    own = {"model": name, "data": TGS, "fold": fold if len(parts) == 1 else "each", "unseen": unseen_parts(parts)}
    other = {"model": name, "data": SYNTHETIC, "fold": "", "unseen": "yes"}
    for tta in (None, "hflip"):
        yield {**own, **scores_of([(part.model, part.tiles) for part in parts], device, tta=tta)}
        yield {**other, **scores_of([(model, synthetic_tiles(200, seed=2))], device, tta=tta)}


def main() -> None:
    """Score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="NAME.TAG, local-dir:PATH or hf-hub:ORG/NAME")
    parser.add_argument("--data", required=True, help="folder of the competition's files")
    parser.add_argument("--fold", type=int, choices=range(5), help="fold that was held out from training")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    device = torch.device(args.device)
    where = conditions(device)
    print(describe(where), flush=True)
    tiles = read_tgs(args.data)
    found = list(rows(args.model, tiles, args.fold, device))
    path = args.out / f"validate_{slug(device)}.csv"
    write_csv(path, found, where, replacing="model")
    print(f"\n{markdown(found, COLUMNS)}\n\n{path}")


if __name__ == "__main__":
    main()
