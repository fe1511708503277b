"""`saltzoo validate`, `submit` and `train` on a small folder in the competition's layout."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_recipe import RECIPE

import saltzoo
from saltzoo.cli import loading, main, tiles
from saltzoo.data import Tiles, folds_by_id, read_tgs, synthetic_tiles
from saltzoo.training import Trainer, fit, read_recipe


def write(folder: Path, made: Tiles, *, masks: bool) -> None:
    (folder / "images").mkdir(parents=True)
    for name, image in zip(made.ids, made.images, strict=True):
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
    if masks:
        (folder / "masks").mkdir()
        for name, mask in zip(made.ids, made.require_masks(), strict=True):
            Image.fromarray(mask).save(folder / "masks" / f"{name}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tgs")
    write(folder / "train", synthetic_tiles(18, seed=1), masks=True)
    write(folder / "test", synthetic_tiles(5, seed=2), masks=False)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def trained(data, recipe, tmp_path_factory):
    """The folder of a run of fold 1, made by the command. Tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", str(recipe), "--data", str(data), "--out", str(out), "--fold", "1", "--seed", "3"]
    assert main([*words, "--device", "cpu"]) == 0
    return out


def scores_by_hand(model, held_out, *, tta=None, threshold=0.5):
    masks = saltzoo.predict(model, held_out.images, tta=tta) > threshold
    truths = held_out.require_masks()
    inter, union = (masks & truths).sum((1, 2)), (masks | truths).sum((1, 2))
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1)).mean()


def test_train_is_fit_with_the_options_of_the_line(trained, data, recipe, tmp_path):
    from dataclasses import replace

    asked = replace(read_recipe(recipe), fold=1, seed=3)
    name = "TGS Salt Identification Challenge"
    fit(asked, read_tgs(data), tmp_path / "run", data=name, license="cc-by-nc-4.0", tell=lambda line: None)
    found = saltzoo.create_model(f"local-dir:{trained / 'model'}").state_dict()
    for key, value in saltzoo.create_model(f"local-dir:{tmp_path / 'run' / 'model'}").state_dict().items():
        assert torch.equal(value, found[key])
    config = json.loads((trained / "model" / "config.json").read_text())
    assert (config["license"], config["recipe"]["fold"], config["recipe"]["seed"]) == ("cc-by-nc-4.0", 1, 3)
    assert config["metrics"][0]["data"] == name


def test_train_says_where_the_model_is(recipe, tmp_path, capsys):
    words = ["train", str(recipe), "--synthetic", "18", "--out", str(tmp_path / "run"), "--device", "cpu", "--json"]
    assert main(words) == 0
    done = capsys.readouterr()
    found = json.loads(done.out)
    assert found["out"] == str(tmp_path / "run" / "model")
    assert 0 <= found["salt_map"] <= 1
    assert "epoch 1: loss" in done.err
    assert main(words) == 1  # a run is there
    assert "error: " in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on(recipe, tmp_path, capsys, monkeypatch):
    epoch, count = Trainer.epoch, []

    def stopped(trainer, number):
        count.append(number)
        if len(count) == 2:
            raise KeyboardInterrupt
        return epoch(trainer, number)

    monkeypatch.setattr(Trainer, "epoch", stopped)
    words = ["train", str(recipe), "--synthetic", "18", "--out", str(tmp_path / "run"), "--device", "cpu"]
    words += ["--epochs", "2"]
    assert main(words) == 130
    assert "holds the last epoch that was written; run the same command with --resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert "score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "give one of --data, --images with --masks, and --synthetic"),
        (["--synthetic", "9", "--data", "x"], 2, "give one of --data"),
        (["--images", "x"], 1, "error: own pictures need both --images and --masks"),
        (["--synthetic", "9", "--value-range", "0", "1"], 1, "error: --value-range is of --images"),
        (["--synthetic", "9", "--fold", "first"], 2, "--fold must be a number or 'all', got 'first'"),
        (["--synthetic", "9", "--fold", "7"], 1, "error: fold must be 0 to 2, got 7"),
        (["--data", "nowhere"], 1, "error: nowhere does not exist"),
        (["--synthetic", "9", "--device", "mps:0"], 2, "--device must be one that torch finds here"),
    ],
)
def test_wrong_training_lines_write_nothing(recipe, tmp_path, capsys, monkeypatch, words, status, message):
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(recipe), "--out", "run", *words]) == status
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_missing_says_where_recipes_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "saltnet_s.tgs3.toml", "--synthetic", "9"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "RECIPE must be a TOML file, and saltnet_s.tgs3.toml does not exist: write one, or copy one of" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tta", [None, "hflip"])
def test_validate_scores_the_fold_that_was_held_out(trained, data, capsys, tta):
    words = ["validate", "--model", f"local-dir:{trained / 'model'}", "--data", str(data), "--device", "cpu"]
    assert main([*words, "--json", *(["--tta", tta] if tta else [])]) == 0
    found = json.loads(capsys.readouterr().out)
    labelled = read_tgs(data)
    held_out = labelled.select(folds_by_id(labelled.ids, n_folds=3) == 1)
    assert (found["fold"], found["tiles"], found["unseen"], found["tta"]) == (1, len(held_out), "yes", tta)
    model = saltzoo.create_model(f"local-dir:{trained / 'model'}")
    assert found["iou"] == pytest.approx(scores_by_hand(model, held_out, tta=tta), abs=1e-6)
    (metric,) = [
        one
        for one in json.loads((trained / "model" / "config.json").read_text())["metrics"]
        if one["name"] == ("salt_map_hflip" if tta else "salt_map")
    ]
    assert found["salt_map"] == pytest.approx(metric["value"], abs=5.1e-5)


def test_validate_says_that_other_tiles_were_seen(trained, data, capsys):
    words = ["validate", "--model", f"local-dir:{trained / 'model'}", "--data", str(data), "--device", "cpu"]
    assert main([*words, "--fold", "0", "--threshold", "0.3"]) == 0
    printed = capsys.readouterr().out
    assert "unseen: no\n" in printed
    assert "threshold: 0.3000\n" in printed
    assert main([*words, "--fold", "3"]) == 1
    assert "error: --fold must be 0 to 2, got 3" in capsys.readouterr().err


@pytest.mark.parametrize("twice", [False, True], ids=["two folds", "two members of one fold"])
def test_each_member_of_an_ensemble_is_scored_on_its_own_fold(trained, data, tmp_path, capsys, twice):
    labelled = read_tgs(data)
    folds = folds_by_id(labelled.ids, n_folds=3)
    runs = []
    for number, fold in enumerate((1, 1) if twice else (1, 2)):
        shutil.copytree(trained / "model", tmp_path / f"run{number}")
        config = json.loads((tmp_path / f"run{number}" / "config.json").read_text())
        config["recipe"]["fold"] = fold
        if fold == 2:
            for metric in config["metrics"]:
                metric["held_out"] = labelled.select(folds == 2).fingerprint
        (tmp_path / f"run{number}" / "config.json").write_text(json.dumps(config))
        runs.append(tmp_path / f"run{number}")
    ensemble = saltzoo.save_pretrained(saltzoo.Ensemble.from_runs(runs), tmp_path / "both")
    words = ["validate", "--model", f"local-dir:{ensemble}", "--data", str(data), "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = saltzoo.create_model(f"local-dir:{trained / 'model'}")  # all members have its weights
    held_out = labelled.select((folds == 1) | ((folds == 2) & (not twice)))
    assert (found["fold"], found["tiles"], found["unseen"]) == (1 if twice else "each", len(held_out), "yes")
    assert found["iou"] == pytest.approx(scores_by_hand(model, held_out, tta=None), abs=1e-6)
    assert main([*words, "--fold", "1"]) == 1
    assert "error: --fold must be None for an ensemble" in capsys.readouterr().err


def test_an_ensemble_of_unknown_folds_is_refused(data, tmp_path, capsys):
    model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    folder = saltzoo.save_pretrained(saltzoo.Ensemble([model]), tmp_path / "one")
    assert main(["validate", "--model", f"local-dir:{folder}", "--data", str(data), "--device", "cpu"]) == 1
    assert "member 0 of the ensemble must say which fold was held out, and has no" in capsys.readouterr().err


def test_weights_that_do_not_say_their_fold_need_one(data, tmp_path, capsys):
    model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    words = ["validate", "--model", f"local-dir:{saltzoo.save_pretrained(model, tmp_path / 'm')}", "--data", str(data)]
    assert main([*words, "--device", "cpu"]) == 1
    assert "must say which fold was held out, and has no recipe: give --fold 0 to --fold 4" in capsys.readouterr().err
    assert main([*words, "--device", "cpu", "--fold", "0"]) == 0
    assert "unseen: unknown" in capsys.readouterr().out


def decoded(runs, shape=(101, 101)):
    """Return the mask of a run-length encoding, pixel by pixel."""
    flat = [False] * (shape[0] * shape[1])
    numbers = list(map(int, runs.split()))
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start, start + length):
            assert not flat[pixel - 1]
            flat[pixel - 1] = True
    return np.array(flat).reshape(shape[::-1]).T


def test_submit_writes_the_masks_of_the_test_tiles(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tiles, "_CHUNK", 2)
    file = tmp_path / "new" / "submission.csv"
    words = ["submit", "--model", "saltnet_s.tgs", "--data", str(data), "--out", str(file), "--device", "cpu"]
    assert main([*words, "--threshold", "0.2", "--tta", "hflip", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with open(file, newline="") as opened:
        rows = list(csv.reader(opened))
    test = read_tgs(data, split="test")
    assert rows[0] == ["id", "rle_mask"]
    assert [row[0] for row in rows[1:]] == list(test.ids)
    model = saltzoo.create_model("saltnet_s.tgs", pretrained=True)
    masks = saltzoo.predict(model, test.images, tta="hflip") > 0.2
    assert masks.any()
    for row, mask in zip(rows[1:], masks, strict=True):
        np.testing.assert_array_equal(decoded(row[1]), mask)
    assert found == {
        "file": str(file),
        "tiles": 5,
        "empty": sum(not mask.any() for mask in masks),
        "threshold": 0.2,
        "min_size": 0,
    }
    before = file.read_bytes()
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert main([*words, "--overwrite"]) == 0
    assert file.read_bytes() != before


def test_devices():
    assert loading.device_of("cpu") == torch.device("cpu")
    assert loading.device_of(None).type in ("cpu", "cuda")
