"""Recipes: reading, errors, and schedules."""

import inspect
import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import saltzoo
from saltzoo.losses import bce_loss, lovasz_hinge
from saltzoo.training import AveragePart, Curve, Recipe, StudentPart, agreement, rate_factor, read_recipe
from saltzoo.training.assemble import build_loss, build_optimizer
from saltzoo.training.techniques.schedule import cycle_ends

RECIPES = sorted((Path(__file__).parents[2] / "examples" / "recipes").glob("*.toml"))
SMALL = {"model": {"name": "saltnet_s"}}
TAUGHT = {"teachers": ["saltnet_s.tgs"]}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_example_recipe_builds(path):
    recipe = read_recipe(path)
    assert path.stem.partition(".")[0] == recipe.model.name
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    with torch.device("meta"):
        model = saltzoo.create_model(recipe.model.name, **recipe.model.options, **recipe.model.training_options)
        build_optimizer(recipe.optimizer, model)
    loss, mask = build_loss(recipe)
    logits, target = torch.randn(2, 1, 9, 9), (torch.rand(2, 9, 9) < 0.5).float()
    for progress in (0.0, 0.5, 1.0):
        mask.weights[:] = [part.curve(progress) for part in recipe.losses]
        assert loss(logits, target).isfinite()


def test_the_default_loss_is_bce_then_symmetric_lovasz():
    recipe = Recipe.from_dict(SMALL)
    _, mask = build_loss(recipe)
    logits, target = torch.randn(2, 1, 9, 9), (torch.rand(2, 9, 9) < 0.5).float()
    bce, lovasz = bce_loss(logits, target), lovasz_hinge(logits, target, margin="elu", symmetric=True)
    for progress, want in ((0.0, bce), (0.05, bce), (0.075, 0.6 * bce + 0.5 * lovasz), (0.7, 0.2 * bce + lovasz)):
        mask.weights[:] = [part.curve(progress) for part in recipe.losses]
        torch.testing.assert_close(mask(logits, target), want)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"epoch": 3}, ValueError, "the recipe has no key 'epoch'. Did you mean 'epochs'?"),
        ({"model": {"options": {}}}, ValueError, "model of the recipe needs name"),
        ({"model": {"name": 3}}, TypeError, "name of model of the recipe must be str, got 3"),
        ({"model": "saltnet_s"}, TypeError, "model of the recipe must be a table of ModelPart, got 'saltnet_s'"),
        ({"epochs": True}, TypeError, "epochs of the recipe must be int (at least 1), got True"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"amp": "fp16"}, ValueError, "amp of the recipe must be one of 'auto', 'off', 'bf16', got 'fp16'"),
        ({"folds": 1}, ValueError, "folds must be at least 2, got 1"),
        ({"losses": []}, ValueError, "a recipe needs a loss"),
        (
            {"losses": [{"name": "bce_loss", "weight": [[0.5, 1], [0.1, 0]]}]},
            ValueError,
            "of increasing progress in 0..1",
        ),
        ({"losses": [{"name": "bce_loss", "weight": "much"}]}, TypeError, "weight of losses of the recipe must be"),
        ({"optimizer": {"lr": 0}}, ValueError, "optimizer.lr must be above 0, got 0"),
        ({"optimizer": {"betas": [0.9]}}, TypeError, "betas of optimizer of the recipe must be"),
        ({"folds": 4, "fold": 4}, ValueError, "fold must be 0 to 3, got 4"),
        ({"fold": -1}, ValueError, "fold must be 0 to 4, got -1"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 0.5}, TypeError, "seed of the recipe must be int (at least 0), got 0.5"),
        ({"optimizer": {"lr": math.nan}}, ValueError, "optimizer.lr must be above 0, got nan"),
        ({"optimizer": {"lr": math.inf}}, ValueError, "optimizer.lr must be a finite number, as checkpoints hold no"),
        ({"optimizer": {"clip_norm": math.inf}}, ValueError, "optimizer.clip_norm must be a finite number"),
        ({"optimizer": {"clip_norm": -1}}, ValueError, "optimizer.clip_norm must be at least 0, got -1"),
        ({"optimizer": {"weight_decay": -0.1}}, ValueError, "optimizer.weight_decay must be at least 0, got -0.1"),
        ({"optimizer": {"betas": [0.9, 1]}}, ValueError, "optimizer.betas must be at least 0 and below 1, got 1"),
        ({"optimizer": {"betas": [-0.1, 0.9]}}, ValueError, "optimizer.betas must be at least 0 and below 1, got -0.1"),
        ({"optimizer": {"momentum": 1.0}}, ValueError, "optimizer.momentum must be at least 0 and below 1, got 1.0"),
        ({"optimizer": {"encoder_scale": 0}}, ValueError, "optimizer.encoder_scale must be above 0, got 0"),
        ({"optimizer": {"scales": {"head": -1}}}, ValueError, "optimizer.scales.head must be above 0, got -1"),
        ({"supervision": {"map_weight": math.nan}}, ValueError, "supervision.map_weight must be a finite number"),
        (
            {"model": {"name": "unet", "options": {"a": [1, math.inf]}}},
            ValueError,
            "model.options.a.1 must be a finite",
        ),
        ({"losses": [{"name": "bce_loss", "options": {"b": -math.inf}}]}, ValueError, "losses.0.options.b must be a"),
        ({"losses": [{"name": "bce_loss", "weight": math.nan}]}, ValueError, "the values of a curve must be finite"),
        ({"augment": {"shift": math.inf}}, ValueError, "shift must be a finite number"),
        ({"average": {"decay": 1}}, ValueError, "average.decay must be above 0 and below 1, got 1"),
        ({"average": {"decay": 0}}, ValueError, "average.decay must be above 0 and below 1, got 0"),
        (
            {"average": {"kind": "swa", "start": 1.0}},
            ValueError,
            "average.start must be at least 0 and below 1, got 1.0",
        ),
        ({"average": {"start": -0.1}}, ValueError, "average.start must be at least 0 and below 1, got -0.1"),
        (
            {"average": {"kind": "none", "reestimate_batch_norm": True}},
            ValueError,
            'needs an average, and average.kind is "none"',
        ),
        ({"frozen_until": 1}, ValueError, "frozen_until must be at least 0 and below 1, got 1"),
        ({"rate": {"warmup": 1.0}}, ValueError, "rate.warmup must be at least 0 and below 1, got 1.0"),
        ({"rate": {"cycles": 0}}, ValueError, "rate.cycles must be at least 1, got 0"),
        ({"epochs": 3, "rate": {"cycles": 4}}, ValueError, "each of rate.cycles=4 cycles must have an epoch"),
        (
            {"epochs": 8, "rate": {"warmup": 0.5, "cycles": 5}},
            ValueError,
            "leaves 4 of epochs=8: give at most 4 cycles, or more",
        ),
        ({"augment": {"flip": 2}}, ValueError, "flip must be at least 0 and at most 1"),
        ({"student": "saltnet_s.tgs"}, TypeError, "student of the recipe must be a table of StudentPart"),
        ({"student": {}}, ValueError, "student of the recipe needs teachers"),
        ({"student": {"teachers": []}}, ValueError, "a student needs a teacher"),
        ({"student": {"teachers": "saltnet_s.tgs"}}, TypeError, "teachers of student of the recipe must be tuple[str"),
        ({"student": {**TAUGHT, "teacher": 1}}, ValueError, "has no key 'teacher'. Did you mean 'teachers'?"),
        ({"student": {**TAUGHT, "share": 1.0}}, ValueError, "student.share must be above 0 and below 1, got 1.0"),
        ({"student": {**TAUGHT, "share": 0}}, ValueError, "student.share must be above 0 and below 1, got 0"),
        ({"student": {**TAUGHT, "tta": "vflip"}}, ValueError, "must be one of 'none', 'hflip', got 'vflip'"),
        ({"student": {**TAUGHT, "sure": 90}}, ValueError, "sure must be at least 0 and at most 1, got 90"),
        (
            {"student": {**TAUGHT, "low": 0.6}},
            ValueError,
            "low must be in 0..0.5 and high in 0.5..1, got low=0.6 and high=0.8",
        ),
    ],
)
def test_wrong_recipes_raise(changes, error, words, tmp_path):
    with pytest.raises(error, match=re.escape(words)):
        Recipe.from_dict({**SMALL, **changes})


def test_a_student_is_a_table_or_none():
    assert Recipe.from_dict(SMALL).student is None
    assert Recipe.from_dict(SMALL).to_dict()["student"] is None
    recipe = Recipe.from_dict({**SMALL, "student": {**TAUGHT, "min_iou": 1}})
    assert recipe.student == StudentPart(("saltnet_s.tgs",), min_iou=1)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    options = inspect.signature(agreement).parameters
    for name in ("sure", "low", "high", "min_iou", "empty_share"):
        assert getattr(Recipe.from_dict({**SMALL, "student": TAUGHT}).student, name) == options[name].default


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    for text, words in (("epochs = ", "mine.toml: "), ("epochs = 3", "mine.toml: the recipe needs model")):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_recipe(path)
    with pytest.raises(FileNotFoundError):
        read_recipe(tmp_path / "none.toml")


def test_the_rate_warms_up_and_falls_to_zero():
    rates = [rate_factor(step / 1000, warmup=0.05) for step in range(1001)]
    assert rates[0] == 0
    assert rates[50] == max(rates) == 1
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[:51] == sorted(rates[:51])
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert rates[525] == pytest.approx(0.5)


def test_each_cycle_starts_at_the_peak_and_ends_at_zero():
    recipe = Recipe.from_dict({**SMALL, "epochs": 12, "rate": {"warmup": 0.0, "cycles": 3}})
    rates = [rate_factor(epoch / 12, warmup=0.0, ends=(4 / 12, 8 / 12, 1.0)) for epoch in range(13)]
    assert [rates[i] for i in (0, 4, 8)] == [1, 1, 1]
    assert rates[2] == pytest.approx(0.5)
    assert rates[12] == pytest.approx(0)
    assert [epoch for epoch in range(12) if recipe.ends_cycle(epoch)] == [3, 7, 11]
    assert not any(Recipe.from_dict(SMALL).ends_cycle(epoch) for epoch in range(40))


@pytest.mark.parametrize("warmup", [0.0, 0.0625, 0.3])
@pytest.mark.parametrize(("epochs", "cycles"), [(1, 1), (4, 2), (7, 2), (31, 7), (40, 20)])
def test_snapshots_are_taken_at_a_low_rate(epochs, cycles, warmup):
    steps = 20
    recipe = Recipe.from_dict({**SMALL, "epochs": epochs, "rate": {"warmup": warmup, "cycles": cycles}})
    ends = [end / epochs for end in recipe.cycle_ends]
    rates = [rate_factor(step / (epochs * steps), warmup=warmup, ends=ends) for step in range(epochs * steps)]
    last = [rates[(epoch + 1) * steps - 1] for epoch in range(epochs)]
    snapshots = [epoch for epoch in range(epochs) if recipe.ends_cycle(epoch)]
    assert len(snapshots) == (0 if cycles == 1 else cycles)
    assert last[-1] < 0.05
    assert all(last[epoch] < 0.05 for epoch in snapshots)
    # The next step is the first of a cycle: it goes back to the peak as many times as there are cycles, but one.
    warm = math.ceil(warmup * len(rates))
    restarts = [step for step in range(warm + 1, len(rates)) if rates[step] - rates[step - 1] > 0.5]
    assert restarts == [(epoch + 1) * steps for epoch in snapshots[:-1]]
    assert all(rates[step] == 1 for step in restarts)
    lengths = [b - a for a, b in pairwise([warmup * epochs, *recipe.cycle_ends])]
    assert max(lengths) - min(lengths) < 2


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 0.99))
def test_there_are_at_most_as_many_cycles_as_epochs_after_the_warm_up(epochs, cycles, warmup):
    try:
        ends = cycle_ends(epochs, warmup=warmup, cycles=cycles)
    except ValueError:
        assert cycles > max(1, int(epochs * (1 - warmup) + 1e-9))
    else:
        assert len(set(ends)) == cycles
        assert list(ends) == sorted(ends)
        assert ends[0] > warmup * epochs
        assert ends[-1] == epochs


def test_fold_seed_and_average_are_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('folds = 4\nfold = 3\nseed = 7\n[model]\nname = "saltnet_s"\n[average]\nkind = "swa"\n')
    recipe = read_recipe(path)
    assert (recipe.folds, recipe.fold, recipe.seed) == (4, 3, 7)
    assert recipe.average.reestimates
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    cases = [
        ("swa", None, True),
        ("swa", False, False),
        ("ema", None, False),
        ("ema", True, True),
        ("none", None, False),
    ]
    for kind, told, wanted in cases:
        assert AveragePart(kind, reestimate_batch_norm=told).reestimates is wanted


def test_a_curve_is_piecewise_linear():
    curve = Curve.of([[0.2, 1.0], [0.4, 3.0], [1.0, 0.0]])
    assert [curve(p) for p in (0.0, 0.2, 0.3, 0.4, 0.7, 1.0)] == pytest.approx([1, 1, 2, 3, 1.5, 0])
    assert Curve.of(0.3)(0.9) == 0.3
    for wrong in ([], [[0.1]], [[0.5, 1], [0.5, 2]], [[-0.1, 1]], [[0.1, math.nan]], [[0.1, 1], [1.1, 2]]):
        with pytest.raises(ValueError, match="curve"):
            Curve.of(wrong)
