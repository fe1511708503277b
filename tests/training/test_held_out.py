"""Which tiles were held out from the training of weights."""

import pytest

from saltzoo.data import folds_by_id, stratified_folds, synthetic_tiles
from saltzoo.training import Recipe
from saltzoo.training.held_out import folds_in_training, unseen

TILES = synthetic_tiles(12, seed=3)


@pytest.mark.parametrize(
    ("recipe", "folds"),
    [
        ({}, folds_by_id(TILES.ids)),
        (None, folds_by_id(TILES.ids)),
        ({"split": "id"}, folds_by_id(TILES.ids)),
        ({"split": "id", "folds": 3}, folds_by_id(TILES.ids, n_folds=3)),
        ({"split": "coverage", "folds": 3}, stratified_folds(TILES.coverage, n_folds=3)),
        ({"epochs": 7}, stratified_folds(TILES.coverage)),  # of a version before the splits had names
    ],
)
def test_tiles_are_split_as_in_the_training(recipe, folds):
    assert folds_in_training({"recipe": recipe}, TILES).tolist() == folds.tolist()


def test_a_split_by_mosaic_keeps_neighbours_together():
    recipe = {"split": "mosaic", "folds": 3}
    found = folds_in_training({"recipe": recipe}, TILES)
    assert found.tolist() == Recipe.from_dict({"model": {"name": "saltnet_s"}, **recipe}).split_tiles(TILES).tolist()


@pytest.mark.parametrize(
    ("metrics", "word"),
    [
        ([{"held_out": TILES.fingerprint}], "yes"),
        ([{"held_out": TILES.fingerprint}, {"held_out": "5 tiles, ids 00c0ffee"}], "no"),
        ([{"held_out": "5 tiles, ids 00c0ffee"}], "no"),
        ([{"name": "salt_map"}], "unknown"),
        ([], "unknown"),
        ([{"data": "synthetic tiles", "held_out": "5 tiles, ids 00c0ffee"}], "no"),
        ([{"data": "20 synthetic tiles of saltzoo"}, {"data": "TGS", "held_out": "5 tiles, ids 00c0ffee"}], "no"),
    ],
)
def test_what_the_card_says_about_tiles(metrics, word):
    assert unseen({"metrics": metrics}, TILES) == word
    assert unseen({}, TILES) == "unknown"


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        (None, "unknown"),
        ({"model": {"name": "saltnet_s", "grow_from": None}, "student": None}, "yes"),
        ({"model": {"name": "saltnet_s", "grow_from": "saltnet_s.tgs"}}, "unknown"),
        ({"model": {"name": "saltnet_s"}, "student": {"teachers": ["saltnet_s.tgs"]}}, "unknown"),
    ],
)
def test_synthetic_weights_are_unseen_only_if_no_others_were_in_their_training(recipe, word):
    assert unseen({"recipe": recipe, "metrics": [{"data": "20 synthetic tiles of saltzoo"}]}, TILES) == word


@pytest.mark.parametrize(
    "data", ["TGS, synthetic sections", "/data/nonsynthetic", "20 synthetic tiles of saltzoo, TGS"]
)
def test_a_name_that_only_holds_the_word_is_not_that_of_synthetic_tiles(data):
    assert unseen({"recipe": {"model": {"name": "saltnet_s"}}, "metrics": [{"data": data}]}, TILES) == "unknown"
