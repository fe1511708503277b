"""Segment tiles, offline, and draw the result.

    python examples/quickstart.py                                    # two dozen synthetic tiles -> quickstart.png
    python examples/quickstart.py --data DIR                         # tiles of the TGS Salt competition instead
    python examples/quickstart.py --images a.png b.png --out masks   # your images -> a_mask.png, a_overlay.png, ...
    python examples/quickstart.py --images a.tif --value-range -3000 3000   # samples (black, white) of other files
    python examples/quickstart.py --model local-dir:runs/fold0/model # with your checkpoint

The weights saltnet_s.wide2 are part of saltzoo. They were trained on real tiles of that competition, changed as surveys
differ, and on synthetic tiles of another series, so they know both; images of other surveys may be out of their domain:
train on those with examples/train.py. DIR holds train.zip, or train/images and train/masks. The picture shows tiles of
fold 0 of 5 by id, which were held out from training; benchmarks/validate.py checks this.
Files that are there already are replaced only with --overwrite, and the --images never.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

import saltzoo
from saltzoo.cli.loading import load_model
from saltzoo.cli.outputs import plan
from saltzoo.cli.segmenting import Prediction, Segmentation, segment_pictures
from saltzoo.contracts import MaskModel
from saltzoo.data import Tiles, folds_by_id, read_tgs, synthetic_tiles

COUNT = 24
"""Number of tiles in the picture."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="saltnet_s.wide2", help="weights by name, local-dir:PATH or hf-hub:ORG/NAME")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--data", help="folder of the competition's files")
    what.add_argument("--images", nargs="+", type=Path, help="gray images of any size")
    parser.add_argument(
        "--value-range",
        nargs=2,
        type=float,
        metavar=("BLACK", "WHITE"),
        help="samples of the images that are black and white; default: the full scale of 8 or 16 unsigned bits",
    )
    parser.add_argument("--page", type=int, help="page of images that have several, from 0")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the pictures to write")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    return parser.parse_args(argv)


def check_absent(file: Path, *, overwrite: bool) -> None:
    """Raise FileExistsError if a file is there already, unless it is to be replaced."""
    if os.path.lexists(file) and not overwrite:
        raise FileExistsError(f"already there: {file}. Choose another --out, or replace with --overwrite")


def segment_images(model: MaskModel, args: argparse.Namespace) -> None:
    """Write NAME_mask.png (255 where there is salt) and NAME_overlay.png for each image, as `saltzoo predict` does."""
    how = Segmentation(
        Prediction(tta="hflip"),
        value_range=tuple(args.value_range) if args.value_range else None,
        page=args.page,
        overwrite=args.overwrite,
    )
    jobs = plan(args.images, args.out, overlay=True, overwrite=args.overwrite)
    failed = segment_pictures(model, jobs, how).failed
    if failed:
        raise ValueError("; ".join(one["error"] for one in failed))


def held_out_tiles(folder: str) -> Tiles:
    """Return tiles of fold 0 of 5, evenly spaced from the least to the most salt."""
    tiles = read_tgs(folder)
    fold = tiles.select(folds_by_id(tiles.ids) == 0)
    ranked = np.argsort(fold.coverage, kind="stable")
    return fold.select(ranked[np.linspace(0, len(ranked) - 1, min(COUNT, len(ranked))).astype(int)])


def segment_tiles(model: MaskModel, tiles: Tiles, file: Path, *, overwrite: bool = False) -> None:
    """Write a picture: predicted salt in orange, the outline of the true mask in blue."""
    truths = tiles.require_masks()
    masks = saltzoo.predict(model, tiles.images, tta="hflip") > 0.5
    overlays = [
        saltzoo.draw.overlay(image, mask, truth=truth)
        for image, mask, truth in zip(tiles.images, masks, truths, strict=True)
    ]
    saltzoo.draw.save_png(saltzoo.draw.contact_sheet(overlays, columns=6), file, overwrite=overwrite)
    print(f"score {saltzoo.metrics.salt_map(masks, truths):.3f} on these {len(tiles)} tiles\npicture: {file}")


def main(argv: list[str] | None = None) -> None:
    """Load a model and segment."""
    args = parse_args(argv)
    sheet = args.out / "quickstart.png"
    try:
        if not args.images:
            check_absent(sheet, overwrite=args.overwrite)
        if not args.images and (args.value_range or args.page is not None):
            raise ValueError("--value-range and --page say how to read --images: give these too")
        model = load_model(args.model)
        if args.images:
            segment_images(model, args)
        else:
            tiles = held_out_tiles(args.data) if args.data else synthetic_tiles(COUNT, seed=2)
            segment_tiles(model, tiles, sheet, overwrite=args.overwrite)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
