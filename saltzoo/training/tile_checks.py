"""Which tiles train and which validate, and checks that a run with them can come to its end."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from ..data import Tiles
from .recipe import Recipe


def in_order(tiles: Tiles) -> Tiles:
    """Return the tiles sorted by id: what a run computes then does not depend on the order that a caller gives."""
    order = np.array(sorted(range(len(tiles)), key=tiles.ids.__getitem__), dtype=np.int64)
    return tiles if (order == np.arange(len(tiles))).all() else tiles.select(order)


def checked_folds(recipe: Recipe, tiles: Tiles, *, validating: range | None = None) -> npt.NDArray[np.int64]:
    """Return the fold of each tile, or raise if there is nothing to train on or to score.

    Args:
        recipe: the recipe.
        tiles: tiles of all folds.
        validating: folds that will validate; None for the recipe's alone.

    Raises:
        ValueError: if tiles have no masks or share an id, or a fold that validates holds no tile or every tile.
    """
    if not len(tiles):
        raise ValueError("tiles must hold tiles to train on and to score, got none: read or generate some")
    tiles.require_masks()
    check_unique(tiles)
    if recipe.split == "coverage" and len(tiles) < recipe.folds:
        raise ValueError(
            f"folds must be at most the number of tiles, {len(tiles)}, got {recipe.folds}: give fewer folds"
        )
    folds = recipe.split_tiles(tiles)
    sizes = np.bincount(folds, minlength=recipe.folds)
    for fold in [recipe.fold] if validating is None else validating:
        if not 0 < sizes[fold] < len(tiles):
            held = "none" if not sizes[fold] else "all"
            raise ValueError(
                f"fold {fold} of {recipe.folds} holds {held} of the {len(tiles)} tiles, so nothing is left to "
                f"{'score' if held == 'none' else 'train on'} (tiles in each fold: {sizes.tolist()}): "
                f"{_remedy(sizes, validating, recipe)}"
            )
    return folds


def check_unique(tiles: Tiles) -> None:
    """Raise if an id occurs twice: its tiles could not be told apart, and one could train and the other validate.

    Raises:
        ValueError: if so.
    """
    if len(set(tiles.ids)) < len(tiles):
        id_, times = Counter(tiles.ids).most_common(1)[0]
        raise ValueError(
            f"ids of tiles must be unique, as they decide what validates, got {id_!r} {times} times: leave repeated "
            f"tiles out, or rename them"
        )


def _remedy(sizes: npt.NDArray[np.int64], validating: range | None, recipe: Recipe) -> str:
    """Return what else would work."""
    ways = [f"validate fold {int(sizes.argmax())}"] if validating is None and 0 < sizes.max() < sizes.sum() else []
    if recipe.folds > 2:
        ways.append("give fewer folds")
    if recipe.split == "id" and sizes.sum() >= recipe.folds:
        ways.append('split = "coverage", which fills every fold')
    return ", or ".join([*ways, "add tiles"])
