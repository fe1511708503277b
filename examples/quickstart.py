"""Segment tiles, offline, and draw the result.

    python examples/quickstart.py                                    # two dozen synthetic tiles -> quickstart.png
    python examples/quickstart.py --data DIR                         # tiles of the TGS Salt competition instead
    python examples/quickstart.py --images a.png b.png --out masks   # your images -> a_mask.png, a_overlay.png, ...
    python examples/quickstart.py --images a.tif --value-range -3000 3000   # samples (black, white) of other files
    python examples/quickstart.py --model local-dir:runs/fold0/model # with your checkpoint

The weights saltnet_s.tgs are part of saltzoo. They were trained on 2560 real tiles of that competition, so synthetic
tiles are out of their domain, and images of other surveys may be too: train on those with examples/train.py. DIR holds
train.zip, or train/images and train/masks. The picture shows tiles of fold 0 of 5, stratified by coverage, which were
held out from training if DIR holds the tiles that the checkpoint's card names; benchmarks/validate.py checks this.
Files that are there already are replaced only with --overwrite, and the --images never.
"""

from __future__ import annotations

import argparse
import os
import sys
import unicodedata
from pathlib import Path

import numpy as np

import saltzoo
from saltzoo.data import Tiles, read_tgs, stratified_folds, synthetic_tiles
from saltzoo.seismic import as_uint8, read_picture

COUNT = 24
"""Number of tiles in the picture."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="saltnet_s.tgs", help="weights by name, local-dir:PATH or hf-hub:ORG/NAME")
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


def load(name: str) -> saltzoo.Segmenter:
    """Load a model by the name of its weights, or a checkpoint.

    Raises:
        ValueError: if the model has several classes.
    """
    model = saltzoo.create_model(name, pretrained=True)
    classes = model.config.model_args["num_classes"] if model.config else 1
    if classes > 1:
        raise ValueError(f"{name} has {classes} classes: use a model with one class, salt")
    return model


def masks_and_overlays(paths: list[Path], out: Path) -> list[tuple[Path, Path]]:
    """Return the files to write for each image.

    Raises:
        ValueError: if two images would have the same files, also where capitals make no difference, or an image would
            be replaced.
    """
    of_name: dict[str, Path] = {}
    for path in paths:
        other = of_name.setdefault(unicodedata.normalize("NFC", path.stem).casefold(), path)
        if other is not path:
            raise ValueError(
                f"two of the --images have the same name, {other} and {path}, so their masks would too: rename one, "
                "or run twice with two --out"
            )
    files = [(out / f"{path.stem}_mask.png", out / f"{path.stem}_overlay.png") for path in paths]
    for file in sum(files, ()):
        if file.exists() and any(path.exists() and file.samefile(path) for path in paths):
            raise ValueError(f"{file} is one of the --images and would be replaced: choose another --out")
    return files


def check_absent(files: list[Path], *, overwrite: bool) -> None:
    """Raise FileExistsError if a file is there already, unless it is to be replaced."""
    there = [] if overwrite else [str(file) for file in files if os.path.lexists(file)]
    if there:
        raise FileExistsError(f"already there: {', '.join(there)}. Choose another --out, or replace with --overwrite")


def segment_pictures(
    model: saltzoo.Segmenter,
    paths: list[Path],
    out: Path,
    *,
    value_range: tuple[float, float] | None = None,
    page: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write NAME_mask.png (255 where there is salt) and NAME_overlay.png for each image, of any size.

    Raises:
        ValueError: if two images have the same name, the meaning of an image's samples is not clear, or the model
            cannot take an image.
        OSError: if a file is there already, or cannot be read or written.
    """
    files = masks_and_overlays(paths, out)
    check_absent([file for pair in files for file in pair], overwrite=overwrite)
    for path in paths:
        read_picture(path, value_range=value_range, page=page)  # nothing is written if one cannot be read
    for path, (mask_file, overlay_file) in zip(paths, files, strict=True):
        picture = read_picture(path, value_range=value_range, page=page)
        try:
            mask = saltzoo.predict(model, picture, tta="hflip") > 0.5
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        overlay = saltzoo.draw.overlay(as_uint8(picture), mask)
        saltzoo.draw.save_png(mask.astype(np.uint8) * 255, mask_file, overwrite=overwrite)
        saltzoo.draw.save_png(overlay, overlay_file, overwrite=overwrite)
        print(f"{path}: {mask.mean():.0%} salt -> {mask_file}, {overlay_file.name}")


def held_out_tiles(folder: str) -> Tiles:
    """Return tiles of fold 0 of 5, evenly spaced from the least to the most salt."""
    tiles = read_tgs(folder)
    fold = tiles.select(stratified_folds(tiles.coverage, n_folds=5, seed=0) == 0)
    ranked = np.argsort(fold.coverage, kind="stable")
    return fold.select(ranked[np.linspace(0, len(ranked) - 1, min(COUNT, len(ranked))).astype(int)])


def segment_tiles(model: saltzoo.Segmenter, tiles: Tiles, file: Path, *, overwrite: bool = False) -> None:
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
            check_absent([sheet], overwrite=args.overwrite)
        if not args.images and (args.value_range or args.page is not None):
            raise ValueError("--value-range and --page say how to read --images: give these too")
        model = load(args.model)
        if args.images:
            segment_pictures(
                model,
                args.images,
                args.out,
                value_range=tuple(args.value_range) if args.value_range else None,
                page=args.page,
                overwrite=args.overwrite,
            )
        else:
            tiles = held_out_tiles(args.data) if args.data else synthetic_tiles(COUNT, seed=2)
            segment_tiles(model, tiles, sheet, overwrite=args.overwrite)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
