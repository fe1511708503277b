"""The student stage: pseudo-labels, and their fraction of each batch."""

import numpy as np
import pytest
import torch
from _student_runs import ALL_PASS, CPU, TILES, UNLABELLED, recipe_of, run, save_teacher
from hypothesis import given, settings
from hypothesis import strategies as st

import saltzoo
from saltzoo.data import Augment, Tiles
from saltzoo.training import StudentPart, Trainer, agreement
from saltzoo.training import student as student_module
from saltzoo.training import trainer as trainer_module
from saltzoo.training.process import Process
from saltzoo.training.sampling import Sampler
from saltzoo.training.student import pseudo_label


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher") / "model")


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
