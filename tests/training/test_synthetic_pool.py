"""Synthetic tiles beside labelled ones: which are in the pool, their fraction of each batch, and resumed runs."""

import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import saltzoo
from saltzoo.data import SurveyAugment, Tiles, synthetic_tiles
from saltzoo.training import Recipe, SyntheticPart, Trainer, fit
from saltzoo.training.process import Process
from saltzoo.training.sampling import Sampler
from saltzoo.training.synthetic_pool import SyntheticPool

SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
TILES = synthetic_tiles(20, seed=3, size=40)
CPU = Process(torch.device("cpu"))
POOL = {"share": 0.5, "count": 6, "seed": 9}


def recipe_of(**more):
    table = {"model": {"name": "unet", "options": SMALL}, "epochs": 3, "batch_size": 4, "split": "coverage"}
    return Recipe.from_dict({**table, "synthetic": POOL, **more})


def pool_of(**options):
    part = SyntheticPart(**{"count": 5, "seed": 9, **options})
    images = torch.zeros(part.count, 40, 40, dtype=torch.uint8)
    return SyntheticPool(part, images, images > 0), images


def held(images, among):
    """Return the index in a series of each image of a pool."""
    return [int((among.images == image.numpy()).all((1, 2)).nonzero()[0][0]) for image in images]


SERIES = synthetic_tiles(40, seed=9, size=40)


def test_a_pool_is_the_beginning_of_its_series():
    pool, images = pool_of()
    assert [pool.draw(epoch) for epoch in (0, 1, 7)] == [5, 0, 0]
    np.testing.assert_array_equal(images.numpy(), SERIES.images[:5])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_an_epoch_decides_what_a_pool_holds(renewed, epochs):
    """Whatever was held before, the pool has `count` tiles, the newest of the epoch, each at its own position."""
    pool, images = pool_of(renewed=renewed)
    for epoch in epochs:
        pool.draw(epoch)
        window = range(epoch * renewed, epoch * renewed + 5)
        assert held(images, SERIES) == sorted(window, key=lambda i: i % 5)


def test_only_the_new_tiles_are_drawn():
    pool, _ = pool_of(renewed=2)
    assert [pool.draw(epoch) for epoch in (0, 1, 2, 4, 4, 0)] == [5, 2, 2, 4, 0, 5]


@settings(max_examples=40, deadline=None)
@given(
    own=st.integers(3, 8),
    world=st.integers(1, 3),
    pseudo=st.integers(1, 30),
    count=st.integers(1, 30),
    seed=st.integers(0, 3),
    both=st.booleans(),
)
def test_batches_have_their_parts_of_all_kinds(own, world, pseudo, count, seed, both):
    """A step has both kinds of further tiles; each is taken as often as every other of its kind, but for a round."""
    student = {"teachers": ["local-dir:x"], "share": 1 / own} if both else None
    more = {} if student is None else {"student": student}
    recipe = recipe_of(batch_size=own * world, seed=seed, synthetic={"share": 1 / own, "count": count}, **more)
    pseudo = pseudo if both else 0
    alone, taken = Sampler.of(recipe, CPU, labelled=40, pseudo=pseudo), []
    places = [Process(torch.device("cpu"), rank, world) for rank in range(world)]
    for epoch in range(4):
        whole = alone.epoch(epoch, CPU)
        parts = [Sampler.of(recipe, place, labelled=40, pseudo=pseudo).epoch(epoch, place) for place in places]
        for part in parts:
            assert ((part >= 40) & (part < 40 + pseudo)).sum(1).tolist() == [int(both)] * len(part)
            assert (part >= 40 + pseudo).sum(1).tolist() == [1] * len(part)
        assert torch.equal(torch.cat(parts, 1).sort(1).values, whole.sort(1).values)
        assert whole.max() < 40 + pseudo + count
        taken += [whole[whole >= 40 + pseudo]]
    times = torch.bincount(torch.cat(taken) - 40 - pseudo, minlength=count)
    assert times.max() - times.min() <= 1


def test_the_pools_have_orders_of_their_own():
    recipe = recipe_of(
        batch_size=3,
        student={"teachers": ["local-dir:x"], "share": 0.34},
        synthetic={"share": 0.34, "count": 40},
    )
    ours, pseudo, synthetic = Sampler.of(recipe, CPU, labelled=40, pseudo=40).epoch(0, CPU).T
    orders = {tuple(order.tolist()) for order in (ours, pseudo - 40, synthetic - 80)}
    assert len(orders) == 3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"synthetic": {"share": 0.1}}, "synthetic.share=0.1 makes 0 of the 4 tiles per step and process synthetic"),
        ({"synthetic": {"share": 0.9}}, "synthetic.share=0.9 makes 4 of the 4 tiles"),
        (
            {"synthetic": {"share": 0.5}, "student": {"teachers": ["local-dir:x"], "share": 0.5}},
            "student.share=0.5 makes 2 of the 4 tiles per step and process pseudo-labelled, with 2 others, and there",
        ),
    ],
)
def test_impossible_shares_raise(more, words):
    with pytest.raises(ValueError, match=words):
        Sampler.of(recipe_of(**more), CPU, labelled=20, pseudo=5)


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        (synthetic_tiles(10, seed=9, size=40), r"synthetic\.seed must be another than .* series 9 too"),
        (Tiles(TILES.ids, TILES.images[:, :33], TILES.masks[:, :33]), "must be square, 32 x 32 .* got 33 x 40"),
        (Tiles(TILES.ids, TILES.images[:, :9, :9], TILES.masks[:, :9, :9]), "must be square, 32 x 32 .* got 9 x 9"),
    ],
)
def test_unsuitable_tiles_raise(tmp_path, tiles, words):
    with pytest.raises(ValueError, match=words):
        fit(recipe_of(), tiles, tmp_path / "run", tell=lambda line: None)
    assert not (tmp_path / "run").exists()


def test_a_model_that_reads_depths_raises():
    tiles = Tiles(TILES.ids, TILES.images, TILES.masks, depths=np.full(20, 500, np.float32))
    options = {"in_chans": 2, "scalar_channel": "bottleneck", "base_channels": 2}
    recipe = recipe_of(model={"name": "resunet_101", "options": options})
    with pytest.raises(ValueError, match="depths, which synthetic tiles have not"):
        Trainer(recipe, tiles)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"synthetic": {"renewed": 5000}}, "synthetic.renewed must be at most synthetic.count=4000, got 5000"),
        ({"synthetic": {"share": 1.0}}, "synthetic.share must be above 0 and below 1"),
        ({"synthetic": {"count": 0}}, "synthetic.count must be at least 1"),
        ({"synthetic": {"seeds": 1}}, "Did you mean 'seed'"),
        ({"survey": {"polarity": 2}}, "polarity must be at least 0 and at most 1"),
    ],
)
def test_wrong_tables_raise(table, words):
    with pytest.raises(ValueError, match=words):
        recipe_of(**table)


def test_steps_take_synthetic_tiles_through_both_augmentations(monkeypatch):
    seen, survey, trainer = [], SurveyAugment.__call__, Trainer(recipe_of(survey={}), TILES)

    def spy(self, images, masks, *, generator):
        seen.append((images * 255).round().byte())
        return survey(self, images, masks, generator=generator)

    monkeypatch.setattr(SurveyAugment, "__call__", spy)
    trainer.epoch(0)
    assert len(seen) == trainer.steps == 10  # two of the 20 labelled tiles a step
    for images in seen:
        assert all(position < 20 for position in held(images[:2], TILES))
        assert all(position < 6 for position in held(images[2:], SERIES))


def rows_of(out):
    with open(out / "log.csv", newline="") as file:
        return [row[:3] for row in csv.reader(file)]


@pytest.mark.slow
def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    recipe, told = recipe_of(survey={}, synthetic={**POOL, "renewed": 2}), []

    def stop(line):
        told.append(line)
        if line.startswith("epoch 2:"):
            raise KeyboardInterrupt

    whole = fit(recipe, TILES, tmp_path / "whole", tell=lambda line: None)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, TILES, tmp_path / "parts", tell=stop)
    assert fit(recipe, TILES, tmp_path / "parts", resume=True, tell=lambda line: None) == whole
    assert any(line.startswith("synthetic tiles: 6 drawn in ") for line in told)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")
    models = [saltzoo.create_model(f"local-dir:{tmp_path / name / 'model'}") for name in ("whole", "parts")]
    for one, other in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(one, other)
    config = json.loads((tmp_path / "whole" / "model" / "config.json").read_text())
    assert config["recipe"]["synthetic"] == {**POOL, "renewed": 2}
    assert Recipe.from_saved(config["recipe"]).survey == SurveyAugment()


def test_runs_without_these_tables_resume_from_states_that_lack_them(tmp_path):
    """A state of an older version has no such keys."""
    table = {"model": {"name": "unet", "options": SMALL}, "batch_size": 4, "split": "coverage", "epochs": 1}
    recipe = Recipe.from_dict(table)
    fit(recipe, TILES, tmp_path / "run", tell=lambda line: None)
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    for key in ("survey", "synthetic"):
        assert state["identity"]["recipe"].pop(key) is None
    torch.save(state, tmp_path / "run" / "last.pt")
    fit(recipe, TILES, tmp_path / "run", resume=True, tell=lambda line: None)
