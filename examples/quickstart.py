"""Segment tiles and look at the result, with no network.

    python examples/quickstart.py                                    # two dozen synthetic tiles -> quickstart.png
    python examples/quickstart.py --data DIR                         # tiles of the TGS Salt competition instead
    python examples/quickstart.py --images a.png b.png --out masks   # your pictures -> a_mask.png, a_overlay.png, ...
    python examples/quickstart.py --model local-dir:runs/fold0/model # with a checkpoint of yours

The weights, saltnet_s.tgs, come with saltzoo. They learnt from 2560 real tiles of that competition. Synthetic tiles are
foreign to them, and so may be the pictures of another survey: examples/train.py trains for those. DIR holds train.zip,
or train/images and train/masks. Shown are tiles of fold 0 of 5, which the weights have not seen if DIR holds the tiles
that their card tells of: benchmarks/validate.py says whether it does.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import saltzoo
from saltzoo.data import Tiles, read_tgs, stratified_folds, synthetic_tiles

COUNT = 24
"""Tiles of the picture."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="saltnet_s.tgs", help="weights by name, local-dir:PATH or hf-hub:ORG/NAME")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--data", help="folder of the competition's files")
    what.add_argument("--images", nargs="+", type=Path, help="gray pictures of any size")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the pictures")
    return parser.parse_args(argv)


def load(name: str) -> saltzoo.Segmenter:
    """Weights by their name, or a checkpoint; it must tell salt from all else."""
    model = saltzoo.create_model(name, pretrained=":" not in name)
    classes = model.config.model_args["num_classes"] if model.config else 1
    if classes > 1:
        raise ValueError(f"{name} tells {classes} classes apart: give a model with a single class, salt")
    return model


def read_gray(path: Path) -> np.ndarray:
    """H W, uint8, or uint16 of a 16-bit picture."""
    with Image.open(path) as picture:
        if picture.mode.startswith("I"):
            return np.asarray(picture).astype(np.uint16)
        return np.asarray(picture.convert("L"))


def segment_pictures(model: saltzoo.Segmenter, paths: list[Path], out: Path) -> None:
    """Writes NAME_mask.png (255 where there is salt) and NAME_overlay.png for each picture, of any size."""
    if len({path.stem for path in paths}) < len(paths):
        raise ValueError("two of the --images have one name, and so would their masks: rename one, or give them apart")
    for path in paths:
        picture = read_gray(path)
        try:
            mask = saltzoo.predict(model, picture, tta="hflip") > 0.5
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        gray = picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8)
        saltzoo.draw.save_png(mask.astype(np.uint8) * 255, out / f"{path.stem}_mask.png")
        saltzoo.draw.save_png(saltzoo.draw.overlay(gray, mask), out / f"{path.stem}_overlay.png")
        print(f"{path}: {mask.mean():.0%} salt -> {out / path.stem}_mask.png, {path.stem}_overlay.png")


def held_out_tiles(folder: str) -> Tiles:
    """Tiles of fold 0 of 5, from the least to the most salt, by even steps."""
    tiles = read_tgs(folder)
    fold = tiles.select(stratified_folds(tiles.coverage, n_folds=5, seed=0) == 0)
    ranked = np.argsort(fold.coverage, kind="stable")
    return fold.select(ranked[np.linspace(0, len(ranked) - 1, min(COUNT, len(ranked))).astype(int)])


def segment_tiles(model: saltzoo.Segmenter, tiles: Tiles, out: Path) -> None:
    """Writes quickstart.png: in orange what the model finds, outlined in blue the truth."""
    truths = tiles.require_masks()
    masks = saltzoo.predict(model, tiles.images, tta="hflip") > 0.5
    overlays = [
        saltzoo.draw.overlay(image, mask, truth=truth)
        for image, mask, truth in zip(tiles.images, masks, truths, strict=True)
    ]
    path = saltzoo.draw.save_png(saltzoo.draw.contact_sheet(overlays, columns=6), out / "quickstart.png")
    print(f"score {saltzoo.metrics.salt_map(masks, truths):.3f} on these {len(tiles)} tiles\npicture: {path}")


def main(argv: list[str] | None = None) -> None:
    """Loads a model, and segments."""
    args = parse_args(argv)
    try:
        model = load(args.model)
        if args.images:
            segment_pictures(model, args.images, args.out)
        else:
            tiles = held_out_tiles(args.data) if args.data else synthetic_tiles(COUNT, seed=2)
            segment_tiles(model, tiles, args.out)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
