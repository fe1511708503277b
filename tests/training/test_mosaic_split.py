"""The split of a recipe that keeps neighbouring tiles in one fold."""

import numpy as np

from saltzoo.data import Tiles, find_neighbours, synthetic_tile
from saltzoo.training import Recipe


def test_neighbours_are_in_one_fold_in_any_order():
    sections = [synthetic_tile(seed, size=101)[0] for seed in range(12)]
    images = np.concatenate(
        [np.stack([x[:50, :50], x[:50, 50:100], x[50:100, :50], x[50:100, 50:100]]) for x in sections]
    )
    tiles = Tiles(tuple(f"t{k:02d}" for k in range(len(images))), images, images > 128)
    recipe = Recipe.from_dict({"model": {"name": "unet"}, "split": "mosaic", "folds": 3})
    folds, pairs = recipe.split_tiles(tiles), find_neighbours(tiles)
    assert len(pairs) > 12
    np.testing.assert_array_equal(folds[pairs.first], folds[pairs.second])
    by_id = Recipe.from_dict({"model": {"name": "unet"}, "folds": 3}).split_tiles(tiles)
    assert (by_id[pairs.first] != by_id[pairs.second]).any()
    order = np.random.default_rng(0).permutation(len(tiles))
    np.testing.assert_array_equal(recipe.split_tiles(tiles.select(order)), folds[order])
