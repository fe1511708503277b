"""Several classes: softmax losses on labels, mean IoU, unknown pixels, and what is refused before training."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import saltzoo
from saltzoo.data import Tiles, synthetic_tiles
from saltzoo.losses import ce_loss, create_loss, list_losses, lovasz_softmax
from saltzoo.training import LossPart, Recipe, Trainer, cross_validate, fit
from saltzoo.training.assemble import build_loss
from saltzoo.training.classes import LABEL_LOSSES, MASK_LOSSES, check_losses, with_labels
from saltzoo.training.evaluation import evaluate
from saltzoo.training.process import Process
from saltzoo.training.recipe_parts import BCE_INTO_LOVASZ, CE_INTO_LOVASZ

SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
STILL = {"flip": 0.0, "affine": 0.0, "photometric": 0.0}
CPU = Process(torch.device("cpu"))


def with_discs(count, *, classes, size=40, seed=3):
    """Return synthetic tiles with labels: background, salt and, from class 2, a disc of its own gray level each."""
    tiles = synthetic_tiles(count, seed=seed, size=size)
    rng = np.random.default_rng(seed)
    images, labels = tiles.images.copy(), tiles.masks.astype(np.uint8)
    y, x = np.mgrid[:size, :size]
    for image, label in zip(images, labels, strict=True):
        for c in range(2, classes):
            row, column = rng.uniform(8, size - 8, 2)
            disc = (y - row) ** 2 + (x - column) ** 2 < 49
            image[disc], label[disc] = 255 * (c - 1) // classes, c
    return Tiles(tiles.ids, images, labels)


TILES = with_discs(20, classes=3)


def recipe_of(classes=3, *, options=None, **more):
    model = {"name": "unet", "options": {**SMALL, "num_classes": classes, **(options or {})}}
    return Recipe.from_dict({"model": model, "epochs": 2, "batch_size": 8, "amp": "off", **more})


def run(recipe, tiles, out, **options):
    return fit(recipe, tiles, out, **{"tell": lambda line: None, **options})


def held_out(recipe, tiles):
    return tiles.select(recipe.split_tiles(tiles) == recipe.fold)


def iou_by_hand(guess, truth, classes, ignored=None):
    """Return the IoU of each class by counting with numpy, NaN for 0 / 0."""
    valid = truth != (-1 if ignored is None else ignored)
    found = []
    for c in range(classes):
        both, either = ((guess == c) & (truth == c) & valid).sum(), (((guess == c) | (truth == c)) & valid).sum()
        found.append(both / either if either else math.nan)
    return found


def guess_of(out, tiles):
    return saltzoo.predict(saltzoo.create_model(f"local-dir:{out / 'model'}"), tiles.images).argmax(1)


# A run from start to end


def test_scores_are_those_of_the_checkpoint_in_card_log_and_picture(tmp_path):
    told, recipe = [], recipe_of()
    scores = run(recipe, TILES, tmp_path, tell=told.append)
    valid = held_out(recipe, TILES)
    ious = iou_by_hand(guess_of(tmp_path, valid), valid.masks, 3)
    assert [*scores] == ["mean_iou", "mean_iou_hflip", "iou_class_0", "iou_class_1", "iou_class_2"]
    assert [scores[f"iou_class_{c}"] for c in range(3)] == pytest.approx(ious)
    assert scores["mean_iou"] == pytest.approx(np.mean(ious))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert {metric["name"]: metric["value"] for metric in config["metrics"]} == scores
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"| mean_iou | {scores['mean_iou']:.4f} | " in card
    assert "salt_map" not in card + "".join(told)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    last = [float(rows[-1][f"iou_class_{c}"]) for c in range(3)]
    assert last == pytest.approx(ious, abs=1e-5)
    assert float(rows[-1]["score"]) == pytest.approx(np.mean(ious), abs=1e-5)
    assert f"(IoU {' '.join(f'{iou:.3f}' for iou in last)})" in told[-2]
    with Image.open(tmp_path / "predictions.png") as picture:
        colors = np.unique(np.asarray(picture).reshape(-1, 3), axis=0).astype(int)
    assert (np.ptp(colors, axis=1) > 30).any()  # not gray


@pytest.mark.slow
@pytest.mark.parametrize(
    "classes", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(5, marks=pytest.mark.slow)]
)
def test_a_batch_is_learnt_by_heart(classes):
    tiles = with_discs(4, classes=classes, seed=7)
    options = {"decoder_channels": [32, 32, 16, 16, 16]}
    table = {"epochs": 80, "batch_size": 4, "augment": STILL, "average": {"kind": "none"}, "optimizer": {"lr": 1e-2}}
    trainer = Trainer(recipe_of(classes, options=options, **table), tiles)
    for epoch in range(80):
        trainer.epoch(epoch)
    assert min(iou_by_hand(saltzoo.predict(trainer.model, tiles.images).argmax(1), tiles.masks, classes)) > 0.95


def test_bool_masks_are_two_classes(tmp_path):
    tiles = synthetic_tiles(20, seed=3, size=40)
    run(recipe_of(2), tiles, tmp_path / "bool")
    run(recipe_of(2), replace(tiles, masks=tiles.masks.astype(np.uint8)), tmp_path / "labels")
    assert_same_run(tmp_path / "bool", tmp_path / "labels")


def assert_same_run(ours, theirs):
    logs = [[row[:3] + row[4:] for row in csv.reader((out / "log.csv").open())] for out in (ours, theirs)]
    assert logs[0] == logs[1]
    wanted = saltzoo.create_model(f"local-dir:{theirs / 'model'}").state_dict()
    for name, tensor in saltzoo.create_model(f"local-dir:{ours / 'model'}").state_dict().items():
        assert torch.equal(tensor, wanted[name]), name


def stop(line):
    if line.startswith("epoch 1:"):
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_killed_run_resumes_with_the_same_bits(tmp_path, kind):
    recipe = recipe_of(average={"kind": kind, "start": 0.0} if kind == "swa" else {"kind": kind}, ignore_index=255)
    tiles = with_unknown(TILES)
    scores = run(recipe, tiles, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tiles, tmp_path / "parts", tell=stop)
    order = np.random.default_rng(0).permutation(len(tiles))
    with pytest.raises(ValueError, match="20 with another mask"):
        run(recipe, replace(tiles, masks=(tiles.masks == 0).astype(np.uint8)), tmp_path / "parts", resume=True)
    with pytest.raises(ValueError, match=r"recipe\.ignore_index 255 and not 254"):
        run(replace(recipe, ignore_index=254), tiles, tmp_path / "parts", resume=True)
    assert run(recipe, tiles.select(order), tmp_path / "parts", resume=True) == scores
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_class_that_a_fold_lacks_has_no_score(tmp_path):
    recipe = recipe_of(4)  # nobody has class 3, and the network may guess it
    bias = torch.tensor([0.0, 0.0, 0.0, -1e4])
    model = saltzoo.create_model("unet", **SMALL, num_classes=4)
    with torch.no_grad():
        for module in model.head.modules():
            if isinstance(module, torch.nn.Conv2d) and module.out_channels == 4:
                module.bias.copy_(bias)
    score = evaluate(model, TILES, CPU, num_classes=4)
    assert math.isnan(score.class_iou[3])
    assert score.value == pytest.approx(np.nanmean(score.class_iou))
    assert list(score.named()) == ["mean_iou", "iou_class_0", "iou_class_1", "iou_class_2"]
    labels = TILES.masks.copy()
    labels[(recipe.split_tiles(TILES) == 0)[:, None, None] & (labels == 2)] = 0
    scores = run(recipe, replace(TILES, masks=labels), tmp_path)
    assert scores["mean_iou"] >= 0
    assert run(recipe, replace(TILES, masks=labels), tmp_path, resume=True) == scores


def test_cross_validation_averages_over_the_folds_that_have_a_class(tmp_path):
    recipe, tiles = recipe_of(folds=2, epochs=1), with_unknown(TILES)
    scores = cross_validate(replace(recipe, ignore_index=255), tiles, tmp_path, tell=lambda line: None)
    sizes = np.bincount(recipe.split_tiles(tiles))
    of_folds = []
    for fold in (0, 1):
        config = json.loads((tmp_path / f"fold{fold}" / "model" / "config.json").read_text())
        of_folds.append({metric["name"]: metric["value"] for metric in config["metrics"]})
    for name, score in scores.items():
        there = [(one[name], size) for one, size in zip(of_folds, sizes, strict=True) if name in one]
        assert score == pytest.approx(np.average([v for v, _ in there], weights=[w for _, w in there]))


# Unknown pixels


def with_unknown(tiles, value=255):
    """Return the tiles with a band of unknown pixels in each."""
    masks = tiles.masks.astype(np.uint8)
    masks[:, 10:16] = value
    return replace(tiles, masks=masks)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("losses", [None, ["dice_loss", "focal_loss", "tversky_loss", "jaccard_loss"]])
def test_the_labels_of_unknown_pixels_have_no_influence(tmp_path, classes, losses):
    """What stands at unknown pixels, which must be one value, changes neither weights nor scores."""
    tiles = TILES if classes == 3 else synthetic_tiles(20, seed=3, size=40)
    table = {} if losses is None else {"losses": [{"name": name} for name in losses]}
    all_scores = []
    for value in (255, 77):
        recipe = recipe_of(classes, ignore_index=value, epochs=1, **table)
        all_scores.append(run(recipe, with_unknown(tiles, value), tmp_path / str(value)))
    assert all_scores[0] == all_scores[1]
    assert_same_run(tmp_path / "255", tmp_path / "77")


@pytest.mark.parametrize("classes", [1, 3])
def test_the_image_at_unknown_pixels_has_no_influence_on_the_loss(classes):
    """A network of one pixel's view: the loss and its gradient with the image changed there are the same."""
    recipe = recipe_of(classes, ignore_index=255)
    loss, mask = build_loss(recipe)
    mask.weights[:] = [0.5, 0.5]
    masks = torch.from_numpy(with_unknown(TILES if classes == 3 else synthetic_tiles(4, seed=3, size=40)).masks[:4])
    net = torch.nn.Conv2d(1, classes, 1)
    images = torch.from_numpy(TILES.images[:4]).float()[:, None] / 255
    changed = images.where((masks != 255)[:, None], torch.rand(4, 1, 40, 40))
    assert not torch.equal(images, changed)
    results = []
    for x in (images, changed):
        net.zero_grad()
        value = loss(net(x), masks)
        value.backward()
        results.append((value.item(), net.weight.grad.clone()))
    assert results[0][0] == results[1][0]
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("classes", [1, 3])
def test_unknown_pixels_do_not_count_in_the_score(classes):
    tiles = with_unknown(TILES if classes == 3 else synthetic_tiles(20, seed=3, size=40))
    model = saltzoo.create_model("unet", **SMALL, num_classes=classes)
    score = evaluate(model, tiles, CPU, num_classes=classes, ignore_index=255)
    guess = saltzoo.predict(model, tiles.images)
    if classes == 3:
        assert score.class_iou == pytest.approx(iou_by_hand(guess.argmax(1), tiles.masks, 3, 255), nan_ok=True)
    else:  # tiles without the band
        both = [np.concatenate([x[:, :10], x[:, 16:]], 1) for x in (guess > 0.5, tiles.masks == 1)]
        assert score.value == pytest.approx(float(saltzoo.metrics.salt_map(*both)))


def test_a_first_validation_tile_without_labels_and_a_fold_without_any(tmp_path):
    recipe = recipe_of(ignore_index=255, epochs=1)
    validates = np.flatnonzero(recipe.split_tiles(TILES) == 0)
    one, every = TILES.masks.copy(), TILES.masks.copy()
    one[validates[0]], every[validates] = 255, 255
    assert "mean_iou" in run(recipe, replace(TILES, masks=one), tmp_path / "one")
    with pytest.raises(ValueError, match="validation tiles must hold a pixel whose label is known"):
        run(recipe, replace(TILES, masks=every), tmp_path / "every")
    assert not (tmp_path / "every").exists()


# Losses


def test_the_default_loss_of_several_classes():
    recipe = recipe_of(3)
    assert recipe.losses == CE_INTO_LOVASZ
    _, mask = build_loss(recipe)
    logits, labels = torch.randn(2, 3, 9, 9), torch.randint(3, (2, 9, 9))
    first, then = ce_loss(logits, labels), lovasz_softmax(logits, labels)
    for progress, want in ((0.0, first), (0.05, first), (0.075, 0.6 * first + 0.5 * then), (0.7, 0.2 * first + then)):
        mask.weights[:] = [part.curve(progress) for part in recipe.losses]
        torch.testing.assert_close(mask(logits, labels), want)


def test_the_default_loss_follows_the_model_and_a_named_one_stays():
    one, three = recipe_of(1), recipe_of(3)
    assert replace(one, model=three.model).losses == CE_INTO_LOVASZ
    assert replace(three, model=one.model).losses == BCE_INTO_LOVASZ
    assert Recipe.from_dict(three.to_dict()) == three
    named = recipe_of(1, losses=[{"name": "dice_loss"}])
    assert replace(named, model=three.model).losses == (LossPart("dice_loss"),)


def test_class_weights_and_unknown_pixels_reach_the_losses():
    weight = [0.2, 1.0, 3.0]
    names = ["ce_loss", "lovasz_softmax"]
    recipe = recipe_of(3, ignore_index=255, losses=[{"name": n, "options": {"weight": weight}} for n in names])
    loss, _ = build_loss(recipe)
    labels = torch.randint(3, (2, 9, 9), generator=torch.Generator().manual_seed(0))
    labels[:, :2] = 255
    logits = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    torch_ce = torch.nn.functional.cross_entropy(logits, labels, weight=torch.tensor(weight), ignore_index=255)
    lovasz = lovasz_softmax(logits[:, :, 2:], labels[:, 2:], weight=weight)
    torch.testing.assert_close(loss(logits, labels), torch_ce + lovasz)


def test_deep_supervision_trains_on_labels(tmp_path):
    model = {"name": "saltnet_s", "options": {"num_classes": 3}, "training_options": {"deep_supervision": True}}
    recipe = Recipe.from_dict({"model": model, "epochs": 1, "batch_size": 8, "ignore_index": 255})
    scores = run(recipe, with_unknown(TILES), tmp_path)
    assert 0 <= scores["mean_iou"] <= 1
    assert guess_of(tmp_path, TILES).shape == TILES.masks.shape


def test_the_losses_that_messages_name_are_those_that_fit():
    """All but those that need other losses, or weights from the Hub."""
    for name in sorted(set(list_losses()) - {"weighted_sum", "deep_supervision", "topology_loss"}):
        for classes, fitting in {1: MASK_LOSSES, 3: LABEL_LOSSES}.items():
            recipe = recipe_of(classes, losses=[{"name": name}])
            try:
                check_losses(recipe, [create_loss(name)], (8, 8))
            except ValueError:
                assert name not in fitting
            else:
                assert name in fitting
    assert {*MASK_LOSSES, *LABEL_LOSSES} <= {*list_losses()}


REFUSED = {
    "a loss of masks": (
        recipe_of(3, losses=[{"name": "ce_loss"}, {"name": "bce_loss"}]),
        TILES,
        "loss 'bce_loss' must fit labels of 3 classes, got ValueError: .* Losses of labels .* dice_loss, .*, ce_loss",
    ),
    "a loss of labels": (
        recipe_of(1, losses=[{"name": "ce_loss"}]),
        synthetic_tiles(20, seed=3, size=40),
        "loss 'ce_loss' must fit masks of salt, got ValueError: .* Losses of masks of salt: dice_loss, .*, bce_loss",
    ),
    "other weights than classes": (
        recipe_of(3, losses=[{"name": "ce_loss", "options": {"weight": [1.0, 2.0]}}]),
        TILES,
        "loss 'ce_loss' must fit labels of 3 classes, got ValueError: weight must hold a number for each class",
    ),
    "a loss of each pixel": (
        recipe_of(3, losses=[{"name": "ce_loss", "options": {"reduction": "none"}}]),
        TILES,
        r"loss 'ce_loss' must fit .*: it returns the shape \(1, 40, 40\) and no scalar",
    ),
    "more classes than the model": (
        recipe_of(2),
        TILES,
        r"masks must hold 0 to 1, as the recipe's model has num_classes=2, got the values 0, 1, 2: set num_classes",
    ),
    "labels for one class": (recipe_of(1), TILES, "masks must hold 0 to 1, .* num_classes=1, got the values 0, 1, 2"),
    "unknown pixels without ignore_index": (
        recipe_of(3),
        with_unknown(TILES),
        "masks must hold 0 to 2, .* got the values 0, 1, 2, 255: .* ignore_index in the recipe to the value of unknown",
    ),
    "bool masks for three classes": (
        recipe_of(3),
        synthetic_tiles(20, seed=3, size=40),
        r"masks must be uint8, .* for num_classes=3 in model.options, got bool: .*read_folder\(..., classes=3\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("train", [fit, cross_validate])
def test_what_does_not_fit_is_refused_before_training(case, train, tmp_path):
    recipe, tiles, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        train(recipe, tiles, tmp_path / "run", tell=lambda line: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"ignore_index": 2}, "ignore_index must be no class, 0 to 2, got 2"),
        ({"ignore_index": -1}, "ignore_index must be at least 0 and at most 255"),
        ({"ignore_index": 256}, "ignore_index must be at least 0 and at most 255"),
        (
            {"losses": [{"name": "ce_loss", "options": {"ignore_index": 255}}]},
            "ignore_index of loss 'ce_loss' must be that of the recipe, None, got 255",
        ),
        ({"student": {"teachers": ["saltnet_s.tgs"]}}, "a student must have one class, salt, .* got num_classes=3"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(table, words):
    with pytest.raises(ValueError, match=words):
        recipe_of(3, **table)


def test_one_class_takes_labels_of_0_and_1():
    tiles = synthetic_tiles(5, seed=3, size=40)
    labels = replace(tiles, masks=tiles.masks.astype(np.uint8))
    np.testing.assert_array_equal(with_labels(recipe_of(1), labels).masks, tiles.masks)
    assert with_labels(recipe_of(1), labels).masks.dtype == np.bool_
    assert with_labels(recipe_of(1, ignore_index=255), tiles).masks.dtype == np.uint8
    with pytest.raises(ValueError, match="at most 256"):
        recipe_of(257)
