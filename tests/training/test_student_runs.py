"""Whole runs of a student: what they report, how they resume, and what the example gives them."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from _student_runs import CPU, SCRIPT, TILES, UNLABELLED, checkpoint_of, log_rows, recipe_of, run, save_teacher, stop_at

import saltzoo
from saltzoo.data import stratified_folds, synthetic_tiles
from saltzoo.draw import save_png
from saltzoo.training import Trainer
from saltzoo.training.student import pseudo_label
from saltzoo.zoo import register_weights, sources
from saltzoo.zoo.spec import WeightsSpec


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher") / "model")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, teacher):
    out, told = tmp_path_factory.mktemp("student") / "run", []
    run(recipe_of(teacher, model={"grow_from": teacher}), out, tell=told.append)
    return out, told


def test_a_run_reports_its_pseudo_labels(unbroken, teacher):
    out, told = unbroken
    assert told[1] == "pseudo-labels: 7 of 7 tiles are kept, 0.0% of them empty"
    assert [line.partition(":")[0] for line in told[2:]] == ["epoch 1", "epoch 2", "no epoch reached a score of 0.70"]
    config = json.loads((out / "model" / "config.json").read_text())
    assert config["recipe"]["student"]["teachers"] == [teacher]


def test_a_resumed_student_equals_an_unbroken_one(tmp_path, unbroken, teacher):
    out, recipe = tmp_path / "run", recipe_of(teacher, model={"grow_from": teacher})
    with pytest.raises(KeyboardInterrupt):
        run(recipe, out, tell=stop_at("epoch 1:"))
    assert len(log_rows(out)) == 2
    run(recipe, out, resume=True)
    assert log_rows(out) == log_rows(unbroken[0])
    ours, theirs = (saltzoo.predict(checkpoint_of(one), TILES.images) for one in (out, unbroken[0]))
    np.testing.assert_array_equal(ours, theirs)


def test_a_run_is_resumed_only_with_the_same_teachers_and_tiles(tmp_path):
    out, folder = tmp_path / "run", tmp_path / "teacher"
    recipe = recipe_of(save_teacher(folder), batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, out, tell=stop_at("epoch 1:"))
    with pytest.raises(ValueError, match=r"the unlabelled tiles are not those of .*: 1 gone \(synthetic_4_000006\)"):
        run(recipe, out, resume=True, unlabelled=UNLABELLED.select(np.arange(6)))
    (out / "pseudo_labels.bin").unlink()  # the teachers are needed again, and it is another one
    save_teacher(folder, seed=5)
    with pytest.raises(ValueError, match=r"teachers \[\d+\] and not \[\d+\]: resume it with the same"):
        run(recipe, out, resume=True)


@pytest.mark.parametrize("loss", ["missing", "damaged"])
def test_a_lost_file_of_labels_is_named_beside_a_lost_teacher(tmp_path, loss):
    out, folder = tmp_path / "run", tmp_path / "teacher"
    recipe = recipe_of(save_teacher(folder), batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, out, tell=stop_at("epoch 1:"))
    labels = out / "pseudo_labels.bin"
    whole = labels.read_bytes()
    labels.unlink() if loss == "missing" else labels.write_bytes(whole[:-3])
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(
        OSError, match=rf"pseudo_labels\.bin is {loss}.* cannot be made again: .*teacher.*Put back this file"
    ):
        run(recipe, out, resume=True)
    labels.write_bytes(whole)
    run(recipe, out, resume=True)  # needs no teacher


def test_a_run_from_before_there_were_students_is_resumed(tmp_path):
    out, recipe = tmp_path / "run", recipe_of(batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, out, unlabelled=None, tell=stop_at("epoch 1:"))
    state = torch.load(out / "last.pt", weights_only=True)
    del state["identity"]["recipe"]["student"]
    torch.save(state, out / "last.pt")
    run(recipe, out, unlabelled=None, resume=True)
    assert len(log_rows(out)) == 3


def test_a_student_grown_from_a_teacher_has_new_training_heads(teacher):
    recipe = recipe_of(teacher, model={"grow_from": teacher, "training_options": {"deep_supervision": True}})
    pseudo = pseudo_label(recipe.student, UNLABELLED, CPU)
    model = Trainer(recipe, TILES, pseudo=pseudo).kept
    taught = saltzoo.create_model(teacher).state_dict()
    assert taught.keys() < model.state_dict().keys()
    for name, tensor in taught.items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_weights_may_be_named_with_their_tag(own_registry, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    register_weights(WeightsSpec("unet", "mine"))
    save_teacher(tmp_path / "unet.mine", fold="1 of 5")
    recipe = recipe_of("unet.mine", model={"grow_from": "unet.mine"}, epochs=1, batch_size=16)
    with pytest.raises(ValueError, match=r"'unet\.mine', model\.grow_from, was trained without fold 1 of 5"):
        run(recipe, tmp_path / "run", fold=0)
    run(recipe, tmp_path / "run", fold=1)
    assert len(log_rows(tmp_path / "run")) == 2


@pytest.fixture
def train(monkeypatch):
    spec = importlib.util.spec_from_file_location("train_example_of_students", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def write_recipe(path, *, taught=True):
    student = '[student]\nteachers = ["local-dir:x"]\n' if taught else ""
    path.write_text(f'epochs = 1\n[model]\nname = "unet_resnet18"\n{student}')
    return path


@pytest.mark.parametrize("taught", [True, False])
def test_the_example_reads_unlabelled_tiles_for_a_student(train, monkeypatch, tmp_path, taught):
    calls = []
    monkeypatch.setattr(
        train, "fit", lambda *given, **named: calls.append(named) or {"salt_map": 0.0, "salt_map_hflip": 0.0}
    )
    for split, seed in (("train", 1), ("test", 2)):
        for tile, image, mask in zip(*vars_of(synthetic_tiles(3, seed=seed)), strict=True):
            save_png(image, tmp_path / split / "images" / f"{tile}.png")
            if split == "train":
                save_png(mask.astype(np.uint8) * 255, tmp_path / split / "masks" / f"{tile}.png")
    options = ["--recipe", str(write_recipe(tmp_path / "recipe.toml", taught=taught)), "--device", "cpu"]
    train.main([*options, "--data", str(tmp_path)])
    train.main([*options, "--synthetic-tiles", "4", "--seed", "6"])
    unlabelled = [call["unlabelled"] for call in calls]
    if not taught:
        assert unlabelled == [None, None]
        return
    assert unlabelled[0].ids == synthetic_tiles(3, seed=2).ids
    assert unlabelled[1].ids == synthetic_tiles(4, seed=7).ids


def vars_of(tiles):
    return tiles.ids, tiles.images, tiles.masks


@pytest.mark.slow
def test_two_processes_make_and_share_the_same_labels(tmp_path):
    data = "20 synthetic tiles of saltzoo"
    held_out = synthetic_tiles(20, seed=0)
    held_out = held_out.select(stratified_folds(held_out.coverage) == 0)
    teacher = save_teacher(tmp_path / "teacher", data=data, held_out=held_out.fingerprint)
    recipe = recipe_of(teacher, epochs=1).to_dict()
    (tmp_path / "recipe.toml").write_text(toml_of(recipe))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    launch += ["--nproc-per-node", "2", str(SCRIPT), "--recipe", str(tmp_path / "recipe.toml")]
    launch += ["--synthetic-tiles", "20", "--device", "cpu", "--out", str(tmp_path / "run")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pseudo-labels: 20 of 20 tiles are kept") == 1  # one process reports
    assert done.stdout.count("epoch 1:") == 1
    masks = saltzoo.predict(checkpoint_of(tmp_path / "run"), held_out.images) > 0.5
    score = float(saltzoo.metrics.salt_map(masks, held_out.require_masks()))
    assert f"score {score:.4f}, with hflip" in done.stdout


def toml_of(recipe):
    """Return the tables that matter here as TOML, whose scalars and lists are those of JSON."""
    lines = [
        f"epochs = {recipe['epochs']}",
        f"split = {json.dumps(recipe['split'])}",
        f"batch_size = {recipe['batch_size']}",
    ]
    lines += ["[model]", f"name = {json.dumps(recipe['model']['name'])}", "[model.options]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in recipe["model"]["options"].items()]
    lines += ["[student]", *(f"{key} = {json.dumps(value)}" for key, value in recipe["student"].items())]
    return "\n".join(lines) + "\n"
