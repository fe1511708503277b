"""Train a network for sections whose salt is larger than a tile, as `saltnet_s.sections` was trained.

    python examples/train_sections.py --data DIR --out runs/sections

Tiles of 202 x 202 come from two sources: the competition's, resampled to twice their size, and synthetic sections of
606, 404 and 202 samples a side, which are cut into tiles; many of these lie within the salt. The run starts from
`saltnet_s.wide2` and holds out the competition's tiles that those weights have not seen, and a fifth of the synthetic
sections. The card gets the score of the competition's held-out tiles, at their own size. On one core with AMX it takes
about 40 minutes and a few more to draw the sections. A run that was stopped goes on if the command is repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

import saltzoo
from saltzoo.data import Tiles, read_tgs, synthetic_tile
from saltzoo.metrics import salt_map
from saltzoo.training import fit, read_recipe
from saltzoo.training.leakage import check_leakage
from saltzoo.zoo.sources import load_weights

SIDE = 202
SECTIONS = (("big", 606, 160, 50_000), ("mid", 404, 250, 60_000), ("small", 202, 500, 70_000))
"""Name, side, number and first seed of the synthetic sections."""

TGS = "TGS Salt Identification Challenge"
LICENSE = "cc-by-nc-4.0"
RECIPE = Path(__file__).parent / "recipes" / "saltnet_s.sections.toml"


def main() -> None:
    """Make the tiles, train, and write the score into the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the competition's files")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the synthetic sections that are drawn")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/sections"))
    args = parser.parse_args()

    recipe = read_recipe(args.recipe)
    if args.epochs is not None:
        recipe = replace(recipe, epochs=args.epochs)
    if recipe.split != "id":
        parser.error(
            f'the split of {args.recipe} must be "id", which keeps a section and a tile of the competition in its fold'
        )
    tgs = read_tgs(args.data)
    held_out = tgs.select(recipe.split_tiles(tgs) == recipe.fold)
    told = {"data": TGS, "fold": f"{recipe.fold} of {recipe.folds}", "held_out": held_out.fingerprint}
    check_leakage(recipe, told)  # `fit` cannot compare the joined tiles with the card of the start
    tiles = joined([resampled(tgs), *sections(args.share)])
    resume = (args.out / "last.pt").exists()
    fit(recipe, tiles, args.out, device=args.device, data=f"{TGS}, synthetic sections", license=LICENSE, resume=resume)
    write_score(args.out / "model", held_out)


def resampled(tiles: Tiles) -> Tiles:
    """Return tiles and masks at SIDE x SIDE, by bilinear interpolation; masks are cut at one half."""
    images = torch.from_numpy(tiles.images)[:, None].float()  # N 1 H W
    masks = torch.from_numpy(tiles.require_masks())[:, None].float()
    images, masks = (F.interpolate(x, size=(SIDE, SIDE), mode="bilinear")[:, 0] for x in (images, masks))
    return Tiles(tiles.ids, images.round().byte().numpy(), (masks > 0.5).numpy())


def sections(share: float) -> Iterator[Tiles]:
    """Yield the tiles of the synthetic sections, by their sizes."""
    for name, side, count, seed in SECTIONS:
        parts: list[tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.bool_]]] = []
        for number in range(max(1, round(share * count))):
            image, mask = synthetic_tile(seed + number, size=side)
            for row in range(0, side, SIDE):
                for column in range(0, side, SIDE):
                    part = np.s_[row : row + SIDE, column : column + SIDE]
                    # With such ids, tiles of one section are in one fold.
                    parts.append((f"{name}{number:05d}_r{row:06d}_c{column:06d}", image[part], mask[part]))
        ids, images, masks = zip(*parts, strict=True)
        yield Tiles(ids, np.stack(images), np.stack(masks))


def joined(parts: list[Tiles]) -> Tiles:
    """Return the tiles of several sources as one set."""
    return Tiles(
        tuple(id_ for part in parts for id_ in part.ids),
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.require_masks() for part in parts]),
    )


def write_score(folder: Path, tiles: Tiles) -> None:
    """Replace the scores in a checkpoint's card by those of the competition's held-out tiles."""
    source = f"local-dir:{folder}"
    model, card = saltzoo.create_model(source, pretrained=True), load_weights(source).config
    images, truth = torch.from_numpy(tiles.images), torch.from_numpy(tiles.require_masks())
    metrics: list[dict[str, Any]] = []
    for name, tta in (("salt_map", None), ("salt_map_hflip", "hflip")):
        value = salt_map(saltzoo.predict(model, images, tta=tta) > 0.5, truth).item()
        metrics.append({**card["metrics"][0], "name": name, "value": value, "data": TGS, "held_out": tiles.fingerprint})
        print(f"{name} on the held-out tiles of the competition: {value:.4f}")
    saltzoo.save_pretrained(
        model, folder, license=LICENSE, metrics=metrics, recipe=card["recipe"], dtype=card["recipe"]["dtype"]
    )


if __name__ == "__main__":
    main()
