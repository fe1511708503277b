"""Segment tiles, offline, and draw the result.

    python examples/quickstart.py                                    # two dozen synthetic tiles -> quickstart.png
    python examples/quickstart.py --data DIR                         # tiles of the TGS Salt competition instead
    python examples/quickstart.py --images a.png b.png --out masks   # your images -> a_mask.png, a_overlay.png, ...
    python examples/quickstart.py --model local-dir:runs/fold0/model # with your checkpoint

The weights saltnet_s.tgs are part of saltzoo. They were trained on 2560 real tiles of that competition, so synthetic
tiles are out of their domain, and images of other surveys may be too: train on those with examples/train.py. DIR holds
train.zip, or train/images and train/masks. The picture shows tiles of fold 0 of 5, stratified by coverage, which were
held out from training if DIR holds the tiles that the checkpoint's card names; benchmarks/validate.py checks this.
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
"""Number of tiles in the picture."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="saltnet_s.tgs", help="weights by name, local-dir:PATH or hf-hub:ORG/NAME")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--data", help="folder of the competition's files")
    what.add_argument("--images", nargs="+", type=Path, help="gray images of any size")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the pictures to write")
    return parser.parse_args(argv)


def load(name: str) -> saltzoo.Segmenter:
    """Load a model by the name of its weights, or a checkpoint.

    Raises:
        ValueError: if the model has several classes.
    """
    model = saltzoo.create_model(name, pretrained=":" not in name)
    classes = model.config.model_args["num_classes"] if model.config else 1
    if classes > 1:
        raise ValueError(f"{name} has {classes} classes: use a model with one class, salt")
    return model


def read_gray(path: Path) -> np.ndarray:
    """Read a gray image H W: uint8, or uint16 from a 16-bit file."""
    with Image.open(path) as picture:
        if picture.mode.startswith("I"):
            return np.asarray(picture).astype(np.uint16)
        return np.asarray(picture.convert("L"))


def segment_pictures(model: saltzoo.Segmenter, paths: list[Path], out: Path) -> None:
    """Write NAME_mask.png (255 where there is salt) and NAME_overlay.png for each image, of any size.

    Raises:
        ValueError: if two images have the same name, or the model cannot take an image.
    """
    if len({path.stem for path in paths}) < len(paths):
        raise ValueError("two of the --images have the same name, so their masks would too: rename one, or run twice")
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
    """Return tiles of fold 0 of 5, evenly spaced from the least to the most salt."""
    tiles = read_tgs(folder)
    fold = tiles.select(stratified_folds(tiles.coverage, n_folds=5, seed=0) == 0)
    ranked = np.argsort(fold.coverage, kind="stable")
    return fold.select(ranked[np.linspace(0, len(ranked) - 1, min(COUNT, len(ranked))).astype(int)])


def segment_tiles(model: saltzoo.Segmenter, tiles: Tiles, out: Path) -> None:
    """Write quickstart.png: predicted salt in orange, the outline of the true mask in blue."""
    truths = tiles.require_masks()
    masks = saltzoo.predict(model, tiles.images, tta="hflip") > 0.5
    overlays = [
        saltzoo.draw.overlay(image, mask, truth=truth)
        for image, mask, truth in zip(tiles.images, masks, truths, strict=True)
    ]
    path = saltzoo.draw.save_png(saltzoo.draw.contact_sheet(overlays, columns=6), out / "quickstart.png")
    print(f"score {saltzoo.metrics.salt_map(masks, truths):.3f} on these {len(tiles)} tiles\npicture: {path}")


def main(argv: list[str] | None = None) -> None:
    """Load a model and segment."""
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
