"""Folds that are empty, of one tile, of no salt or of nothing but salt: a run ends well, or does not begin."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo.data import Tiles, folds_by_id, synthetic_tiles
from saltzoo.metrics import salt_map
from saltzoo.training import Recipe, cross_validate, fit
from saltzoo.training import evaluation as evaluation_module
from saltzoo.training.evaluation import evaluate
from saltzoo.training.process import Process

SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
TILES = synthetic_tiles(12, seed=3, size=40)
FOLDS = folds_by_id(TILES.ids, n_folds=2)


def recipe_of(**more):
    table = {"model": {"name": "unet", "options": SMALL}, "epochs": 2, "batch_size": 2, "folds": 2}
    return Recipe.from_dict({**table, **more})


def run(recipe, tiles, out, **options):
    return fit(recipe, tiles, out, **{"tell": lambda line: None, **options})


def filled(where, value):
    """Return the tiles with the masks of some set to one value."""
    masks = TILES.masks.copy()
    masks[where] = value
    return replace(TILES, masks=masks)


def some(*, validating, training):
    """Return given numbers of tiles of fold 0 and of fold 1."""
    chosen = np.sort([*np.flatnonzero(FOLDS == 0)[:validating], *np.flatnonzero(FOLDS == 1)[:training]])
    return TILES.select(chosen.astype(np.int64))


EVERY = np.ones(12, dtype=bool)
WORKS = {
    "a validating fold without salt": filled(FOLDS == 0, False),
    "a validating fold of nothing but salt": filled(FOLDS == 0, True),
    "training tiles without salt": filled(FOLDS == 1, False),
    "training tiles of nothing but salt": filled(FOLDS == 1, True),
    "no salt at all": filled(EVERY, False),
    "nothing but salt": filled(EVERY, True),
    "one validating tile": some(validating=1, training=5),
    "two training tiles": some(validating=3, training=2),
}


@pytest.mark.parametrize("case", WORKS)
def test_a_run_ends_with_the_score_of_its_checkpoint(case, tmp_path):
    tiles, recipe = WORKS[case], recipe_of()
    scores = run(recipe, tiles, tmp_path)
    held_out = tiles.select(folds_by_id(tiles.ids, n_folds=2) == 0)
    model = saltzoo.create_model(f"local-dir:{tmp_path / 'model'}")
    score = salt_map(saltzoo.predict(model, held_out.images) > 0.5, held_out.masks)
    assert scores["salt_map"] == pytest.approx(float(score))
    assert (tmp_path / "predictions.png").exists()
    assert run(recipe, tiles, tmp_path, resume=True) == scores


@pytest.mark.slow
@pytest.mark.parametrize("case", ["no salt at all", "nothing but salt"])
@pytest.mark.parametrize("average", ["swa", "none"])
def test_other_averages_and_a_cross_validation_end_too(case, average, tmp_path):
    scores = cross_validate(recipe_of(average={"kind": average}), WORKS[case], tmp_path, tell=lambda line: None)
    assert all(0 <= score <= 1 for score in scores.values())


def test_one_labelled_tile_beside_pseudo_labels_is_enough(tmp_path):
    """Batch norms are re-estimated on the labelled tiles, and torch refuses a batch of one."""
    torch.manual_seed(1)
    teacher = saltzoo.create_model("unet", **SMALL)
    saltzoo.save_pretrained(teacher, tmp_path / "teacher")
    taught = {"teachers": [f"local-dir:{tmp_path / 'teacher'}"], "low": 0.5, "high": 0.5, "min_iou": 0.0}
    recipe = recipe_of(average={"kind": "swa"}, student={**taught, "empty_share": 0.0}, epochs=1)
    unlabelled = synthetic_tiles(4, seed=4, size=40)
    scores = run(recipe, some(validating=2, training=1), tmp_path / "run", unlabelled=unlabelled)
    assert 0 <= scores["salt_map"] <= 1


def many_in_fold(fold, *, count=4):
    """Return tiles of 2 folds that are all in one."""
    names = [f"t{i}" for i in range(200)]
    ids = [name for name, at in zip(names, folds_by_id(names, n_folds=2), strict=True) if at == fold][:count]
    return Tiles(tuple(ids), TILES.images[:count], TILES.masks[:count])


NONE = synthetic_tiles(0, size=40)
REFUSED = {
    "no tiles": ({}, NONE, "tiles must hold tiles to train on and to score, got none"),
    "no masks": ({}, Tiles(TILES.ids, TILES.images), "these tiles have no masks: read a labelled split"),
    "an empty validating fold": (
        {"fold": 0},
        many_in_fold(1),
        r"fold 0 of 2 holds none of the 4 tiles, so nothing is left to score \(tiles in each fold: \[0, 4\]\): "
        r'split = "coverage", which fills every fold, or add tiles',
    ),
    "an empty training fold": (
        {"fold": 1},
        many_in_fold(1),
        r"fold 1 of 2 holds all of the 4 tiles, so nothing is left to train on",
    ),
    "one tile": ({}, TILES.select([0]), r"fold . of 2 holds (none|all) of the 1 tiles"),
    "one of many folds empty": (
        {
            "folds": 40,
            "fold": int(np.flatnonzero(np.bincount(folds_by_id(TILES.ids, n_folds=40), minlength=40) == 0)[0]),
        },
        TILES,
        r"holds none of the 12 tiles.*validate fold \d+, or give fewer folds, or add tiles",
    ),
    "fewer tiles than folds": (
        {"folds": 5, "split": "coverage"},
        TILES.select([0, 1]),
        "folds must be at most the number of tiles, 2, got 5: give fewer folds",
    ),
    "too few for a batch": (
        {"batch_size": 8},
        some(validating=2, training=3),
        "there are only 3 training tiles: give a smaller batch_size",
    ),
    "several classes": (
        {"model": {"name": "unet", "options": {**SMALL, "num_classes": 3}}},
        TILES,
        "masks must be uint8, the class of each pixel, for num_classes=3 in model.options, got bool",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("train", [fit, cross_validate])
def test_what_cannot_work_is_refused_before_training(case, train, tmp_path):
    options, tiles, words = REFUSED[case]
    told = []
    if train is cross_validate:
        words = {"an empty training fold": "fold 0 of 2 holds none", "one tile": "fold 0 of 2 holds (none|all)"}.get(
            case, words.replace("validate fold \\d+, or ", "")
        )
    with pytest.raises(ValueError, match=words):
        train(recipe_of(**options), tiles, tmp_path / "run", tell=told.append)
    assert not [line for line in told if line.startswith("epoch")]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("train", [fit, cross_validate])
def test_an_id_that_occurs_twice_is_refused(train, tmp_path):
    with pytest.raises(ValueError, match=r"unique.*synthetic_3_000000"):
        train(recipe_of(), Tiles((*TILES.ids[:11], TILES.ids[0]), TILES.images, TILES.masks), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cross_validation_refuses_an_empty_fold_and_a_used_folder_before_the_first_run(tmp_path):
    told = []
    tiles = Tiles(("t0", "t3", "t5", "t11"), TILES.images[:4], TILES.masks[:4])
    assert folds_by_id(tiles.ids, n_folds=3).tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="fold 2 of 3 holds none of the 4 tiles"):
        cross_validate(recipe_of(folds=3), tiles, tmp_path / "a", tell=told.append)
    with pytest.raises(ValueError, match="there are only 2 training tiles"):
        cross_validate(recipe_of(batch_size=5), some(validating=2, training=6), tmp_path / "b", tell=told.append)
    run(recipe_of(epochs=1), TILES, tmp_path / "c" / "fold1", fold=1)
    with pytest.raises(ValueError, match="fold1 holds a run already"):
        cross_validate(recipe_of(), TILES, tmp_path / "c", tell=told.append)
    assert told == []


def test_cross_validation_refuses_a_teacher_of_one_fold_before_the_first_run(tmp_path):
    held_out = TILES.select(FOLDS == 0)
    card = {"name": "salt_map", "value": 0.5, "data": "tiles", "fold": "0 of 2", "held_out": held_out.fingerprint}
    saltzoo.save_pretrained(saltzoo.create_model("unet", **SMALL), tmp_path / "start", metrics=[card])
    model = {"name": "unet", "options": SMALL, "grow_from": f"local-dir:{tmp_path / 'start'}"}
    told = []
    with pytest.raises(ValueError, match=r"was trained without fold 0 of 2 .* has seen validation tiles of this run"):
        cross_validate(recipe_of(model=model), TILES, tmp_path / "run", tell=told.append)
    assert told == []


def test_a_process_without_validating_tiles_adds_nothing(monkeypatch):
    model = saltzoo.create_model("unet", **SMALL)
    seen = []
    monkeypatch.setattr(evaluation_module.SaltMAP, "sync", lambda self: seen.append(self._state) or self)
    cpu = torch.device("cpu")
    whole = evaluate(model, TILES.select([4]), Process(cpu, 0, 2))
    assert 0 <= whole.value <= 1
    with pytest.raises(ValueError, match="has seen no image"):  # alone: the other process has it
        evaluate(model, TILES.select([4]), Process(cpu, 1, 2))
    assert seen[1] is None
