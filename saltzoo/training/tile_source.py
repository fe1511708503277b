"""The tiles of a training run: the competition's, those of one's own pictures, or synthetic ones."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..data import Tiles, read_folder, read_tgs, synthetic_tiles
from .recipe import Recipe


@dataclass(frozen=True)
class TileSource:
    """Tiles with what the card of a model says about them.

    Attributes:
        tiles: labelled tiles.
        unlabelled: tiles for the recipe's student; None without one.
        data: name of the data.
        license: licence of weights that are trained on them.
    """

    tiles: Tiles
    unlabelled: Tiles | None
    data: str
    license: str


def read_tiles(
    recipe: Recipe,
    *,
    data: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    value_range: tuple[float, float] | None = None,
    synthetic: int = 400,
) -> TileSource:
    """Read the tiles of a folder of the competition or of one's own pictures, or generate synthetic ones.

    Args:
        recipe: recipe, whose student needs unlabelled tiles, whose seed generates synthetic ones, and whose classes
            and `ignore_index` are those of the masks.
        data: folder of the TGS Salt challenge, or its train.zip; None for another source.
        images: folder of pictures, as `saltzoo.data.read_folder` takes it; None for another source.
        masks: folder of their masks.
        value_range: samples (black, white) of the pictures; None for the full scale of unsigned ones.
        synthetic: number of synthetic tiles, where neither `data` nor `images` is given.

    Raises:
        ValueError: if the source is not clear, or a file of it cannot be read.
        OSError: if a folder or file is missing.
    """
    if (images is None) != (masks is None) or (images is not None and data is not None):
        raise ValueError("own pictures need both --images and --masks, and no --data")
    if value_range is not None and images is None:
        raise ValueError("--value-range is of --images, which are missing: give --images and --masks, or leave it out")
    if images is not None:
        classes = max(recipe.num_classes, 2) if recipe.num_classes > 1 or recipe.ignore_index is not None else None
        tiles = read_folder(images, masks, value_range=value_range, classes=classes, ignore_index=recipe.ignore_index)
        return TileSource(tiles, None, str(images), "other")
    student = recipe.student is not None
    if data is not None:
        place = Path(data)
        test = place.parent if place.suffix == ".zip" else place
        unlabelled = read_tgs(test, split="test") if student else None
        # The competition's rules forbid commercial use of its data and of models trained on it.
        return TileSource(read_tgs(data), unlabelled, "TGS Salt Identification Challenge", "cc-by-nc-4.0")
    unlabelled = synthetic_tiles(synthetic, seed=recipe.seed + 1) if student else None
    tiles = synthetic_tiles(synthetic, seed=recipe.seed)
    return TileSource(tiles, unlabelled, f"{synthetic} synthetic tiles of saltzoo", "apache-2.0")
