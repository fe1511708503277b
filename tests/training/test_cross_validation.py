"""Cross-validation: which network scores which tile, and resuming."""

import json

import pytest

import saltzoo
from saltzoo.data import folds_by_id, synthetic_tiles
from saltzoo.metrics import SaltMAP
from saltzoo.training import Recipe, cross_validate, fit
from saltzoo.training.history import minutes_to

SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
RECIPE = Recipe.from_dict({"model": {"name": "unet", "options": SMALL}, "folds": 2, "epochs": 2, "batch_size": 4})
TILES = synthetic_tiles(13, seed=3, size=40)
FOLDS = folds_by_id(TILES.ids, n_folds=2)


def test_every_tile_is_scored_once_by_a_network_that_has_not_seen_it(tmp_path):
    told = []
    scores = cross_validate(RECIPE, TILES, tmp_path, tell=told.append)
    assert [line for line in told if line.startswith("fold")] == ["fold 0 of 2", "fold 1 of 2"]
    assert len({(fold == FOLDS).sum() for fold in (0, 1)}) == 2  # unequal, or a mean of means would pass
    metric = SaltMAP()
    for fold in (0, 1):
        folder = tmp_path / f"fold{fold}" / "model"
        held_out = TILES.select(fold == FOLDS)
        (card, _) = json.loads((folder / "config.json").read_text())["metrics"]
        assert (card["fold"], card["held_out"]) == (f"{fold} of 2", held_out.fingerprint)
        masks = saltzoo.predict(saltzoo.create_model(f"local-dir:{folder}"), held_out.images) > 0.5
        metric.update(masks, held_out.require_masks())
    assert scores["salt_map"] == pytest.approx(metric.compute(), abs=1e-9)


@pytest.mark.slow
def test_cross_validation_is_resumed(tmp_path):
    whole = cross_validate(RECIPE, TILES, tmp_path / "whole", tell=lambda line: None)

    def stop(line):
        if line.startswith("epoch 1") and len(told) > 3:
            raise KeyboardInterrupt
        if not line.startswith("amp:"):
            told.append(line)

    told = []
    with pytest.raises(KeyboardInterrupt):
        cross_validate(RECIPE, TILES, tmp_path / "stopped", tell=stop)
    assert (tmp_path / "stopped" / "fold1" / "last.pt").exists()
    told = []
    assert cross_validate(RECIPE, TILES, tmp_path / "stopped", resume=True, tell=told.append) == whole
    assert [line.partition(":")[0] for line in told if line.startswith("epoch")] == ["epoch 2"]


def test_save_every(tmp_path):
    recipe = Recipe.from_dict({**RECIPE.to_dict(), "epochs": 4})

    def run(out, **options):
        lines = []
        scores = fit(recipe, TILES, out, tell=lines.append, **options)
        return scores, [line.partition(":")[0] for line in lines if line.startswith("epoch")]

    def stop(line):
        if line.startswith("epoch 3"):
            raise KeyboardInterrupt

    often, _ = run(tmp_path / "often")
    seldom, epochs = run(tmp_path / "seldom", save_every=3)
    assert seldom == often
    assert epochs == [f"epoch {n}" for n in (1, 2, 3, 4)]
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        fit(Recipe.from_dict({**RECIPE.to_dict(), "epochs": 5}), TILES, stopped, save_every=2, tell=stop)
    assert len((stopped / "log.csv").read_text().split()) == 1 + 2  # the third was not written
    with pytest.raises(ValueError, match="save_every must be at least 1, got 0"):
        run(tmp_path / "never", save_every=0)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"save_every": 1.5}, TypeError, "save_every must be a whole number of at least 1, got 1.5"),
        ({"save_every": True}, TypeError, "save_every must be a whole number of at least 1, got True"),
        ({"fold": True}, TypeError, "fold must be int, got True"),
        ({"fold": 1.0}, TypeError, "fold must be int, got 1.0"),
        ({"seed": "7"}, TypeError, "seed must be int"),
    ],
)
def test_numbers_of_another_type_are_refused(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        fit(RECIPE, TILES, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["file", "file/run", "file/a/run"])
@pytest.mark.parametrize("call", [fit, cross_validate])
def test_a_file_is_no_folder_of_a_run(tmp_path, call, place):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"out must be a folder, got .* where .*file is a file: choose another folder"):
        call(RECIPE, TILES, tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"


def test_minutes_to_the_first_epoch_with_a_score():
    history = [(1, 0.9, 0.70, 60.0), (2, 0.8, 0.81, 30.0), (3, 0.8, 0.79, 30.0), (4, 0.8, 0.85, 60.0)]
    assert [minutes_to(history, score) for score in (0.7, 0.75, 0.8, 0.83, 0.9)] == [1.0, 1.5, 1.5, 3.0, None]


def test_fold_and_seed_come_from_the_recipe_or_the_call(tmp_path):
    recipe = Recipe.from_dict({**RECIPE.to_dict(), "epochs": 1, "fold": 1, "seed": 7})
    metrics = {}
    for name, options in (("recipe", {}), ("call", {"fold": 0, "seed": 3})):
        fit(recipe, TILES, tmp_path / name, tell=lambda line: None, **options)
        config = json.loads((tmp_path / name / "model" / "config.json").read_text())
        metrics[name] = (config["metrics"][0]["fold"], config["metrics"][0]["seed"])
        assert (config["recipe"]["fold"], config["recipe"]["seed"]) == (int(metrics[name][0][0]), metrics[name][1])
    assert metrics == {"recipe": ("1 of 2", 7), "call": ("0 of 2", 3)}
