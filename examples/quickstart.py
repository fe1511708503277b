"""Segment tiles and look at the result, with no network and no data.

    python examples/quickstart.py                                        # synthetic tiles -> quickstart.png
    python examples/quickstart.py --model local-dir:runs/train/model     # with a checkpoint that you trained
    python examples/quickstart.py --model local-dir:PATH --images a.png b.png   # -> a_mask.png, a_overlay.png, ...

No weights are published yet. So without --model a U-Net is fitted, in about a minute, to the very tiles that it then
segments: that shows every part at work, and is no measure of quality. examples/train.py trains for unseen tiles.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import saltzoo
from saltzoo.data import Tiles
from saltzoo.losses import bce_loss


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help='a checkpoint, such as "local-dir:PATH" or "hf-hub:org/name"')
    parser.add_argument("--images", nargs="+", type=Path, help="gray pictures to segment instead of synthetic tiles")
    parser.add_argument("--steps", type=int, default=60, help="of fitting, without --model")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the pictures")
    return parser.parse_args(argv)


def fit(tiles: Tiles, *, steps: int) -> saltzoo.Segmenter:
    """A U-Net that knows these few tiles by heart."""
    torch.manual_seed(0)
    model = saltzoo.create_model("unet", encoder="resnet18", attention="scse", decoder_channels=(64, 48, 32, 16, 16))
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    # The rate falls to zero, so that the statistics of batch norm catch up with the weights.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    images = model.preprocess(torch.from_numpy(tiles.images)[:, None] / 255)  # N 1 H W
    masks = torch.from_numpy(tiles.require_masks())  # N H W
    for step in range(steps):
        x, y = (images, masks) if step % 2 else (images.flip(-1), masks.flip(-1))
        loss = bce_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 10 == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    return model


def read_gray(path: Path) -> np.ndarray:
    """H W, uint8, or uint16 of a 16-bit picture."""
    with Image.open(path) as picture:
        if picture.mode.startswith("I"):
            return np.asarray(picture).astype(np.uint16)
        return np.asarray(picture.convert("L"))


def load(name: str) -> saltzoo.Segmenter:
    """A checkpoint, or published weights by their name."""
    return saltzoo.create_model(name, pretrained=":" not in name)


def segment_pictures(model: saltzoo.Segmenter, paths: list[Path], out: Path) -> None:
    """Writes NAME_mask.png (255 where there is salt) and NAME_overlay.png for each picture, of any size."""
    if len({path.stem for path in paths}) < len(paths):
        raise ValueError("two of the --images have one name, and so would their masks: rename one, or give them apart")
    for path in paths:
        picture = read_gray(path)
        try:
            probability = saltzoo.predict(model, picture, tta="hflip")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if probability.ndim > 2:
            raise ValueError(f"this model tells {len(probability)} classes apart: give one with a single class, salt")
        mask = probability > 0.5
        gray = picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8)
        saltzoo.draw.save_png(mask.astype(np.uint8) * 255, out / f"{path.stem}_mask.png")
        saltzoo.draw.save_png(saltzoo.draw.overlay(gray, mask), out / f"{path.stem}_overlay.png")
        print(f"{path}: {mask.mean():.0%} salt -> {out / path.stem}_mask.png, {path.stem}_overlay.png")


def segment_tiles(model: saltzoo.Segmenter, tiles: Tiles, out: Path) -> None:
    """Writes quickstart.png: in orange what the model finds, outlined in blue the truth."""
    truths = tiles.require_masks()
    masks = saltzoo.predict(model, tiles.images, tta="hflip") > 0.5
    overlays = [
        saltzoo.draw.overlay(image, mask, truth=truth)
        for image, mask, truth in zip(tiles.images, masks, truths, strict=True)
    ]
    path = saltzoo.draw.save_png(saltzoo.draw.contact_sheet(overlays, columns=6), out / "quickstart.png")
    print(f"score {saltzoo.metrics.salt_map(masks, truths):.3f} on {len(tiles)} tiles\npicture: {path}")


def main(argv: list[str] | None = None) -> None:
    """Makes or loads a model, and segments."""
    args = parse_args(argv)
    try:
        if args.images and not args.model:
            raise ValueError("--images needs --model: a U-Net fitted to a dozen synthetic tiles knows nothing of yours")
        if args.images:
            segment_pictures(load(args.model), args.images, args.out)
        elif args.model:
            segment_tiles(load(args.model), saltzoo.data.synthetic_tiles(24, seed=2), args.out)
        else:
            print(f"no --model: fitting a U-Net to the dozen synthetic tiles it segments, {args.steps} steps")
            tiles = saltzoo.data.synthetic_tiles(12, seed=2)
            segment_tiles(fit(tiles, steps=args.steps), tiles, args.out)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
