"""Recipes: what a file says, what is refused, and what changes while a network trains."""

import inspect
import math
import re
from pathlib import Path

import pytest
import torch

import saltzoo
from saltzoo.losses import bce_loss, lovasz_hinge
from saltzoo.training import Curve, Recipe, ScheduledSum, agreement, rate_factor, read_recipe
from saltzoo.training.objective import build_objective
from saltzoo.training.recipe_parts import LossPart, StudentPart
from saltzoo.training.trainer import build_optimizer

RECIPES = sorted((Path(__file__).parents[1] / "examples" / "recipes").glob("*.toml"))
SMALL = {"model": {"name": "saltnet_s"}}
TAUGHT = {"teachers": ["saltnet_s.tgs"]}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_examples_can_be_run(path):
    recipe = read_recipe(path)
    assert path.stem.partition(".")[0] in (recipe.model.name, f"{recipe.model.name}_student")
    assert path.stem.partition(".")[0].endswith("_student") == (recipe.student is not None)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    with torch.device("meta"):
        model = saltzoo.create_model(recipe.model.name, **recipe.model.options, **recipe.model.training_options)
        build_optimizer(recipe.optimizer, model)
    loss, mask = build_objective(recipe)
    logits, target = torch.randn(2, 1, 9, 9), (torch.rand(2, 9, 9) < 0.5).float()
    for mask.progress in (0.0, 0.5, 1.0):
        assert loss(logits, target).isfinite()


def test_without_more_it_is_bce_into_symmetric_lovasz():
    _, mask = build_objective(Recipe.from_dict(SMALL))
    logits, target = torch.randn(2, 1, 9, 9), (torch.rand(2, 9, 9) < 0.5).float()
    bce, lovasz = bce_loss(logits, target), lovasz_hinge(logits, target, margin="elu", symmetric=True)
    for mask.progress, want in ((0.0, bce), (0.05, bce), (0.075, 0.6 * bce + 0.5 * lovasz), (0.7, 0.2 * bce + lovasz)):
        torch.testing.assert_close(mask(logits, target), want)


def test_a_loss_of_no_weight_is_not_computed():
    mask = ScheduledSum([LossPart("bce_loss"), LossPart("ce_loss", 0.0)])  # which would refuse these logits
    assert mask(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"epoch": 3}, ValueError, "the recipe has no key 'epoch': did you mean 'epochs'?"),
        ({"model": {"options": {}}}, ValueError, "model of the recipe needs name"),
        ({"model": {"name": 3}}, TypeError, "name of model of the recipe must be str, got 3"),
        ({"model": "saltnet_s"}, TypeError, "model of the recipe is a table of ModelPart, got 'saltnet_s'"),
        ({"epochs": True}, TypeError, "epochs of the recipe must be int, got True"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"amp": "fp16"}, ValueError, "amp of the recipe must be one of 'off', 'bf16', got 'fp16'"),
        ({"folds": 1}, ValueError, "folds must be at least 2, got 1"),
        ({"losses": []}, ValueError, "a recipe needs a loss"),
        ({"losses": [{"name": "bce_loss", "weight": [[0.5, 1], [0.1, 0]]}]}, ValueError, "of rising progress in 0..1"),
        ({"losses": [{"name": "bce_loss", "weight": "much"}]}, TypeError, "weight of losses of the recipe must be"),
        ({"optimizer": {"lr": 0}}, ValueError, "optimizer.lr must be above 0, got 0"),
        ({"optimizer": {"betas": [0.9]}}, TypeError, "betas of optimizer of the recipe must be"),
        ({"rate": {"warmup": 1.0}}, ValueError, "rate.warmup is a share of all steps, 0 up to 1, got 1.0"),
        ({"rate": {"cycles": 0}}, ValueError, "rate.cycles must be at least 1, got 0"),
        ({"augment": {"flip": 2}}, ValueError, "flip is a probability"),
        ({"student": "saltnet_s.tgs"}, TypeError, "student of the recipe is a table of StudentPart"),
        ({"student": {}}, ValueError, "student of the recipe needs teachers"),
        ({"student": {"teachers": []}}, ValueError, "a student needs a teacher"),
        ({"student": {"teachers": "saltnet_s.tgs"}}, TypeError, "teachers of student of the recipe must be tuple[str"),
        ({"student": {**TAUGHT, "teacher": 1}}, ValueError, "has no key 'teacher': did you mean 'teachers'?"),
        ({"student": {**TAUGHT, "share": 1.0}}, ValueError, "student.share is the pseudo-labelled part of a batch"),
        ({"student": {**TAUGHT, "share": 0}}, ValueError, "between 0 and 1, got 0"),
        ({"student": {**TAUGHT, "tta": "vflip"}}, ValueError, "must be one of 'none', 'hflip', got 'vflip'"),
        ({"student": {**TAUGHT, "sure": 90}}, ValueError, "sure is a share of 0 to 1, got 90"),
        ({"student": {**TAUGHT, "low": 0.6}}, ValueError, "low must be 0 to .5, high .5 to 1, got 0.6 and 0.8"),
    ],
)
def test_what_is_no_recipe(changes, error, words, tmp_path):
    with pytest.raises(error, match=re.escape(words)):
        Recipe.from_dict({**SMALL, **changes})


def test_a_student_is_a_table_or_nothing():
    assert Recipe.from_dict(SMALL).student is None
    assert Recipe.from_dict(SMALL).to_dict()["student"] is None
    recipe = Recipe.from_dict({**SMALL, "student": {**TAUGHT, "min_iou": 1}})
    assert recipe.student == StudentPart(("saltnet_s.tgs",), min_iou=1)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    options = inspect.signature(agreement).parameters
    for name in ("sure", "low", "high", "min_iou", "empty_share"):
        assert getattr(Recipe.from_dict({**SMALL, "student": TAUGHT}).student, name) == options[name].default


def test_a_file_is_named(tmp_path):
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


def test_cycles_start_again_and_end_at_zero():
    recipe = Recipe.from_dict({**SMALL, "epochs": 12, "rate": {"warmup": 0.0, "cycles": 3}})
    rates = [rate_factor(epoch / 12, warmup=0.0, cycles=3) for epoch in range(13)]
    assert [rates[i] for i in (0, 4, 8)] == [1, 1, 1]
    assert rates[2] == pytest.approx(0.5)
    assert rates[12] == pytest.approx(0)
    assert [epoch for epoch in range(12) if recipe.ends_cycle(epoch)] == [3, 7, 11]
    assert not any(Recipe.from_dict(SMALL).ends_cycle(epoch) for epoch in range(40))


def test_a_curve_goes_in_straight_lines():
    curve = Curve.of([[0.2, 1.0], [0.4, 3.0], [1.0, 0.0]])
    assert [curve(p) for p in (0.0, 0.2, 0.3, 0.4, 0.7, 1.0)] == pytest.approx([1, 1, 2, 3, 1.5, 0])
    assert Curve.of(0.3)(0.9) == 0.3
    for wrong in ([], [[0.1]], [[0.5, 1], [0.5, 2]], [[-0.1, 1]], [[0.1, math.nan]], [[0.1, 1], [1.1, 2]]):
        with pytest.raises(ValueError, match="curve"):
            Curve.of(wrong)
