"""The student stage: pseudo-labels, their fraction of each batch, and teachers of another fold."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import saltzoo
from saltzoo.data import Augment, Tiles, stratified_folds, synthetic_tiles
from saltzoo.draw import save_png
from saltzoo.training import Recipe, StudentPart, Trainer, agreement, fit
from saltzoo.training import student as student_module
from saltzoo.training import trainer as trainer_module
from saltzoo.training.process import Process
from saltzoo.training.sampling import Sampler
from saltzoo.training.student import pseudo_label
from saltzoo.zoo import register_weights, sources
from saltzoo.zoo.spec import WeightsSpec

SCRIPT = Path(__file__).parents[2] / "examples" / "train.py"
SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
TILES = synthetic_tiles(20, seed=3, size=40)
UNLABELLED = synthetic_tiles(7, seed=4, size=40)
CPU = Process(torch.device("cpu"))
ALL_PASS = {"low": 0.5, "high": 0.5, "min_iou": 0.0, "empty_share": 0.0}
"""Options of `agreement` with which every tile passes."""


HELD_OUT = [TILES.select(stratified_folds(TILES.coverage) == fold).fingerprint for fold in range(5)]


def save_teacher(folder, *, seed=1, fold="0 of 5", held_out=None, data="tiles", **options):
    """Save an untrained network with logits spread widely around zero, and return its source."""
    torch.manual_seed(seed)
    model = saltzoo.create_model("unet", **SMALL, **options)
    with torch.no_grad():
        logits = model.eval()(model.preprocess(torch.from_numpy(TILES.images)[:, None] / 255))
        scale = 3 / logits.std()
        model.head.conv.weight *= scale
        model.head.conv.bias.sub_(logits.mean()).mul_(scale)
    conditions = {"data": data, "fold": fold, "held_out": held_out or HELD_OUT[int(fold[0])]} if fold else {}
    saltzoo.save_pretrained(model, folder, metrics=[{"name": "salt_map", "value": 0.5, **conditions}])
    return f"local-dir:{folder}"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher") / "model")


def recipe_of(*teachers, student=None, model=None, **more):
    taught = {"teachers": list(teachers), **ALL_PASS, **(student or {})} if teachers else None
    network = {"name": "unet", "options": SMALL, **(model or {})}
    table = {"model": network, "epochs": 2, "batch_size": 8, "split": "coverage", **more}
    return Recipe.from_dict(table if taught is None else {**table, "student": taught})


def run(recipe, out, *, unlabelled=UNLABELLED, tell=lambda line: None, **options):
    return fit(recipe, TILES, out, unlabelled=unlabelled, tell=tell, **options)


def log_rows(out):
    with open(out / "log.csv", newline="") as file:
        return [row[:3] for row in csv.reader(file)]


def checkpoint_of(out):
    return saltzoo.create_model(f"local-dir:{out / 'model'}")


@pytest.fixture
def batches(monkeypatch):
    """Record the tiles, masks and generator seed of each step of a trainer, and replace the step itself."""
    seen, augment = [], Augment.__call__

    def spy(self, images, masks, *, generator, **options):
        seen.append(((images * 255).round().byte().numpy(), masks.numpy().copy(), generator.initial_seed()))
        return augment(self, images, masks, generator=generator, **options)

    monkeypatch.setattr(Augment, "__call__", spy)
    monkeypatch.setattr(Trainer, "_step", lambda self, x, y: torch.zeros(()))
    return seen


def positions(images, among):
    """Return the position of each image among others, or -1."""
    same = (images[:, None] == among[None]).all((2, 3))
    return np.where(same.any(1), same.argmax(1), -1)


def shuffled(count, seed):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


# Pseudo-labels


def test_labels_are_those_on_which_teachers_agree(tmp_path, teacher):
    teachers = (teacher, save_teacher(tmp_path / "other", seed=2))
    options = {"low": 0.3, "high": 0.7, "min_iou": 0.1, "empty_share": 0.0}
    for tta in ("none", "hflip"):
        predicted = [
            saltzoo.predict(saltzoo.create_model(one), UNLABELLED.images, tta=None if tta == "none" else tta)
            for one in teachers
        ]
        mean = np.mean(predicted, 0)
        sure = float(np.median(((mean <= 0.3) | (mean >= 0.7)).mean((1, 2)))) + 1e-3  # half the tiles are below it
        want = agreement(np.stack(predicted).astype(np.float16), sure=sure, **options)
        got = pseudo_label(StudentPart(teachers, tta=tta, sure=sure, **options), UNLABELLED, CPU)
        assert got.ids == tuple(UNLABELLED.ids[i] for i in want.indices)
        assert 0 < len(got) < len(UNLABELLED)
        np.testing.assert_array_equal(got.images, UNLABELLED.images[want.indices])
        np.testing.assert_array_equal(got.masks, want.masks)


def test_masks_of_unlabelled_tiles_are_not_used(teacher):
    part = StudentPart((teacher,), **ALL_PASS)
    bare = Tiles(UNLABELLED.ids, UNLABELLED.images)
    np.testing.assert_array_equal(pseudo_label(part, UNLABELLED, CPU).masks, pseudo_label(part, bare, CPU).masks)


@pytest.mark.parametrize("chunk", [2, 512])
def test_processes_share_the_predictions(monkeypatch, teacher, chunk):
    monkeypatch.setattr(student_module, "CHUNK", chunk)
    part, partial = StudentPart((teacher,), **ALL_PASS), []
    monkeypatch.setattr(student_module.dist, "all_reduce", lambda given: partial.append(given.clone()))
    for rank in range(3):
        pseudo_label(part, UNLABELLED, Process(torch.device("cpu"), rank, 3))
    for position in range(len(UNLABELLED)):
        filled = [bool(given[0, position].any()) for given in partial]
        assert filled == [rank == position % 3 for rank in range(3)]
    whole = saltzoo.predict(saltzoo.create_model(teacher), UNLABELLED.images, tta="hflip")
    np.testing.assert_allclose(sum(partial)[0].numpy(), whole, atol=1e-3)


def test_a_teacher_with_several_classes_raises(tmp_path):
    part = StudentPart((save_teacher(tmp_path / "two", num_classes=2),))
    with pytest.raises(ValueError, match=r"two' has 2 classes: give one with salt alone"):
        pseudo_label(part, UNLABELLED, CPU)


def test_an_error_says_that_no_tile_is_kept(tmp_path, teacher):
    recipe = recipe_of(teacher, student={"low": 0.0, "high": 1.0, "sure": 1.0})
    with pytest.raises(ValueError, match="no tile can be kept: of 7,"):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Tiles of a step


def test_without_a_student_the_order_is_that_of_the_seed(batches):
    recipe = recipe_of(batch_size=5, seed=2)
    trainer = Trainer(recipe, TILES)
    for epoch in (0, 1):
        trainer.epoch(epoch)
    want = torch.cat([shuffled(20, 2000), shuffled(20, 2001)]).view(8, 5)
    assert trainer.steps == 4
    for step, (images, masks, seed) in enumerate(batches):
        np.testing.assert_array_equal(positions(images, TILES.images), want[step])
        np.testing.assert_array_equal(masks, TILES.masks[want[step]])
        assert seed == 2000 + step // 4
    assert len(batches) == 8


@pytest.mark.parametrize(("share", "pseudo_per_step"), [(0.5, 3), (0.3, 2), (0.8, 5)])
def test_each_batch_has_its_fraction_of_pseudo_labelled_tiles(batches, teacher, share, pseudo_per_step):
    recipe = recipe_of(teacher, student={"share": share}, batch_size=6, seed=2)
    pseudo = pseudo_label(recipe.student, UNLABELLED, CPU)
    assert len(pseudo) == 7
    trainer = Trainer(recipe, TILES, pseudo=pseudo)
    for epoch in range(3):
        trainer.epoch(epoch)
    labelled_per_step = 6 - pseudo_per_step
    steps = 20 // labelled_per_step
    assert len(batches) == 3 * steps

    labelled, learnt = [], []
    for images, masks, _ in batches:
        ours, theirs = positions(images, TILES.images), positions(images, pseudo.images)
        assert ((ours >= 0) == (np.arange(6) < labelled_per_step)).all()
        assert ((theirs >= 0) == (np.arange(6) >= labelled_per_step)).all()
        np.testing.assert_array_equal(masks[:labelled_per_step], TILES.masks[ours[:labelled_per_step]])
        np.testing.assert_array_equal(masks[labelled_per_step:], pseudo.masks[theirs[labelled_per_step:]])
        labelled += ours[:labelled_per_step].tolist()
        learnt += theirs[labelled_per_step:].tolist()

    an_epoch = steps * labelled_per_step
    for epoch in range(3):  # labelled tiles are in the order of a run without a student
        part = labelled[epoch * an_epoch : (epoch + 1) * an_epoch]
        assert part == shuffled(20, 2000 + epoch)[:an_epoch].tolist()
    rounds = [learnt[start : start + 7] for start in range(0, len(learnt) - 6, 7)]
    assert all(sorted(one) == list(range(7)) for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_pseudo_labels_move_the_weights(teacher):
    recipe = recipe_of(teacher, epochs=1, optimizer={"lr": 0.01})
    pseudo = pseudo_label(recipe.student, UNLABELLED, CPU)
    weights = []
    for masks in (pseudo.masks, pseudo.masks, ~pseudo.masks):
        changed = Tiles(pseudo.ids, pseudo.images, masks)
        trainer = Trainer(recipe, TILES, pseudo=changed)
        trainer.epoch(0)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2], atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(
    own=st.integers(2, 5),
    world=st.integers(1, 3),
    own_pseudo=st.integers(1, 4),
    labelled=st.integers(15, 40),
    pseudo=st.integers(1, 50),
    seed=st.integers(0, 3),
)
def test_processes_together_take_what_one_would(own, world, own_pseudo, labelled, pseudo, seed):
    own_pseudo = min(own_pseudo, own - 1)
    recipe = recipe_of("local-dir:x", student={"share": own_pseudo / own}, batch_size=own * world, seed=seed)
    sizes = {"labelled": labelled, "pseudo": pseudo}
    alone = Sampler.of(recipe, CPU, **sizes)
    learnt = []
    for epoch in range(3):
        whole = alone.epoch(epoch, CPU)
        places = [Process(torch.device("cpu"), rank, world) for rank in range(world)]
        parts = [Sampler.of(recipe, place, **sizes).epoch(epoch, place) for place in places]
        for part in parts:
            assert ((part < labelled).sum(1) == own - own_pseudo).all()
            assert ((part >= labelled).sum(1) == own_pseudo).all()
        assert torch.equal(torch.cat(parts, 1).sort(1).values, whole.sort(1).values)
        assert torch.equal(whole, alone.epoch(epoch, CPU))
        learnt += (whole[:, (own - own_pseudo) * world :] - labelled).flatten().tolist()
        ours = whole[:, : (own - own_pseudo) * world].flatten()
        assert len(set(ours.tolist())) == len(ours)
        assert labelled - len(ours) < (own - own_pseudo) * world
    rounds = [learnt[start : start + pseudo] for start in range(0, len(learnt), pseudo)]
    assert all(sorted(one) == list(range(pseudo)) for one in rounds[:-1])
    assert len(set(rounds[-1])) == len(rounds[-1])


def test_no_two_seeds_and_epochs_have_one_order():
    labelled, learnt = set(), set()
    for seed in range(3):
        sampler = Sampler(seed, labelled=40, labelled_per_step=4, pseudo=40, pseudo_per_step=4)  # a round an epoch
        for epoch in range(20):
            ours, theirs = sampler.epoch(epoch, CPU).split(4, dim=1)
            labelled.add(tuple(ours.flatten().tolist()))
            learnt.add(tuple(theirs.flatten().tolist()))
    assert len(labelled) == len(learnt) == 60


def test_no_two_processes_and_epochs_have_one_noise(monkeypatch, batches):
    monkeypatch.setattr(trainer_module, "DistributedDataParallel", lambda model: model)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda buffer, rank: None)
    of_dropout = set()
    for rank in range(3):
        monkeypatch.setattr(Process, "current", lambda device, rank=rank: Process(torch.device(device), rank, 3))
        trainer = Trainer(recipe_of(batch_size=6, seed=2), TILES)
        for epoch in (0, 1):
            trainer.epoch(epoch)
            of_dropout.add(torch.initial_seed())
    assert len({seed for *_, seed in batches}) == len(of_dropout) == 6


@pytest.mark.parametrize(
    ("batch_size", "share", "world", "words"),
    [
        (6, 0.5, 4, r"batch_size must be a multiple of 4 process\(es\), got 6"),
        (1, 0.5, 1, r"student\.share=0\.5 makes 1 of the 1 tiles per step and process pseudo-labelled"),
        (4, 0.1, 1, r"share=0\.1 makes 0 of the 4 tiles .*some of each kind"),
        (42, 0.5, 1, r"takes 21 labelled tiles a step, but there are only 20 training tiles"),
    ],
)
def test_impossible_batch_sizes_raise(batch_size, share, world, words):
    recipe = recipe_of("local-dir:x", student={"share": share}, batch_size=batch_size)
    with pytest.raises(ValueError, match=words):
        Sampler.of(recipe, Process(torch.device("cpu"), 0, world), labelled=20, pseudo=7)


def test_pseudo_labels_and_student_go_together():
    for recipe, pseudo in ((recipe_of(), UNLABELLED), (recipe_of("local-dir:x"), None)):
        with pytest.raises(ValueError, match="a recipe with a student needs pseudo-labelled tiles, and one without"):
            Trainer(recipe, TILES, pseudo=pseudo)


# Whole runs


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


def stop_at(start):
    def tell(line):
        if line.startswith(start):
            raise KeyboardInterrupt(line)

    return tell


def stop_at_first_but(start):
    def tell(line):
        if not line.startswith(start):
            raise KeyboardInterrupt(line)

    return tell


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


# Errors


@pytest.mark.parametrize("role", ["a teacher", "model.grow_from"])
@pytest.mark.parametrize("fold", ["1 of 5", "0 of 10"])
def test_weights_of_another_fold_raise(tmp_path, teacher, role, fold):
    other = save_teacher(tmp_path / "other", fold=fold)
    recipe = recipe_of(teacher, other) if role == "a teacher" else recipe_of(teacher, model={"grow_from": other})
    words = (
        rf"other', {role}, was trained without fold {fold} of 'tiles', so it has seen validation tiles of this run "
        r"\(fold 0 of 5\), .*"
        rf"Give weights that were trained without fold 0 of 5, or validate fold {fold}"
    )
    with pytest.raises(ValueError, match=words):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_the_same_fold_of_other_tiles_raise(tmp_path):
    """Fold 0 of a larger set of tiles holds other tiles."""
    other = save_teacher(tmp_path / "other", held_out="160 tiles, ids 00c0ffee")
    words = rf"160 tiles, ids 00c0ffee of 'tiles', so it has seen validation tiles of this run \({HELD_OUT[0]}\)"
    with pytest.raises(ValueError, match=words):
        run(recipe_of(other), tmp_path / "run")


@pytest.mark.parametrize(
    "told_of",
    [{}, {"data": "other tiles", "fold": "1 of 5", "held_out": HELD_OUT[1]}, {"data": "tiles", "fold": "0 of 5"}],
    ids=["nothing", "other-data", "fold-without-its-tiles"],
)
def test_weights_whose_card_does_not_say_what_was_held_out_are_reported(tmp_path, teacher, told_of):
    metrics = [{"name": "salt_map", "value": 0.5, **told_of}]
    saltzoo.save_pretrained(saltzoo.create_model(teacher), tmp_path / "bare", metrics=metrics)
    recipe = recipe_of(teacher, f"local-dir:{tmp_path / 'bare'}")
    words = r"bare', a teacher, does not say in its card which tiles of 'tiles' it has not seen"
    with pytest.raises(KeyboardInterrupt, match=words):
        run(recipe, tmp_path / "run", tell=stop_at_first_but("amp:"))
    with pytest.raises(KeyboardInterrupt, match=r"^pseudo-labels: "):
        run(recipe_of(teacher), tmp_path / "run", tell=stop_at_first_but("amp:"))


def test_weights_of_synthetic_tiles_alone_have_seen_no_real_tile(tmp_path, teacher):
    metrics = [
        {"name": "salt_map", "value": 0.5, "data": "20 synthetic tiles of saltzoo", "held_out": "4 tiles, ids 00c0ffee"}
    ]
    recipe = {"model": {"name": "saltnet_s"}}
    network = saltzoo.create_model(teacher)
    saltzoo.save_pretrained(network, tmp_path / "synthetic", metrics=metrics, recipe=recipe)
    with pytest.raises(KeyboardInterrupt, match=r"^pseudo-labels: "):
        run(recipe_of(f"local-dir:{tmp_path / 'synthetic'}"), tmp_path / "run", tell=stop_at_first_but("amp:"))


@pytest.mark.parametrize(
    ("taught", "unlabelled", "words"),
    [
        (True, None, r"the recipe's student needs unlabelled tiles: give fit\(\.\.\., unlabelled=tiles\)"),
        (True, synthetic_tiles(0, size=40), "needs unlabelled tiles"),
        (False, UNLABELLED, "the recipe has no student that would use the unlabelled tiles"),
        (
            True,
            synthetic_tiles(2, seed=4, size=41),
            "unlabelled and labelled tiles must have one size, got 41 x 41 and 40 x 40 pixels",
        ),
        (True, TILES.select([3, 4]), r"2 of the unlabelled tiles have ids of labelled ones \(the first: synth.*03\)"),
    ],
)
def test_unsuitable_unlabelled_tiles_raise(tmp_path, teacher, taught, unlabelled, words):
    with pytest.raises(ValueError, match=words):
        run(recipe_of(teacher) if taught else recipe_of(), tmp_path / "run", unlabelled=unlabelled)
    assert not (tmp_path / "run").exists()


# The example


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
