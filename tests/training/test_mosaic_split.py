"""The split of a recipe that keeps neighbouring tiles in one fold."""

import json

import numpy as np

from saltzoo.data import Tiles, find_neighbours, synthetic_tile
from saltzoo.training import Recipe, fit
from saltzoo.training.held_out import folds_in_training, unseen

TINY = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}


def tiles_cut_from_sections():
    """Four tiles of 50 x 50 that touch from each of twelve sections."""
    sections = [synthetic_tile(seed, size=101)[0] for seed in range(12)]
    images = np.concatenate(
        [np.stack([x[:50, :50], x[:50, 50:100], x[50:100, :50], x[50:100, 50:100]]) for x in sections]
    )
    return Tiles(tuple(f"t{k:02d}" for k in range(len(images))), images, images > 128)


def test_neighbours_are_in_one_fold_in_any_order():
    tiles = tiles_cut_from_sections()
    recipe = Recipe.from_dict({"model": {"name": "unet"}, "split": "mosaic", "folds": 3})
    folds, pairs = recipe.split_tiles(tiles), find_neighbours(tiles)
    assert len(pairs) > 12
    np.testing.assert_array_equal(folds[pairs.first], folds[pairs.second])
    by_id = Recipe.from_dict({"model": {"name": "unet"}, "folds": 3}).split_tiles(tiles)
    assert (by_id[pairs.first] != by_id[pairs.second]).any()
    order = np.random.default_rng(0).permutation(len(tiles))
    np.testing.assert_array_equal(recipe.split_tiles(tiles.select(order)), folds[order])


def test_a_run_is_scored_on_whole_mosaics(tmp_path):
    tiles = tiles_cut_from_sections()
    recipe = Recipe.from_dict(
        {"model": {"name": "unet", "options": TINY}, "split": "mosaic", "folds": 3, "fold": 1, "epochs": 1}
        | {"batch_size": 4}
    )
    fit(recipe, tiles, tmp_path / "run", tell=lambda line: None)
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    folds, pairs = folds_in_training(config, tiles), find_neighbours(tiles)
    held = tiles.select(folds == 1)
    assert 0 < len(held) < len(tiles)
    assert {metric["held_out"] for metric in config["metrics"]} == {held.fingerprint}
    assert unseen(config, held) == "yes"
    assert ((folds == 1)[pairs.first] == (folds == 1)[pairs.second]).all()
