"""IoU, Dice and pixel accuracy against sets of pixels, against SMP where it is right, and its defects."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.metrics import DiceScore, IoUScore, PixelAccuracy, dice_score, iou_score, pixel_accuracy
from saltzoo.metrics._average import fixed_point

SCORES = {iou_score: IoUScore, dice_score: DiceScore, pixel_accuracy: PixelAccuracy}
FORMS = ["binary", "channels", "labels"]
every_score = pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)
overlaps = pytest.mark.parametrize("score", [iou_score, dice_score], ids=lambda score: score.__name__)


def batch(form, seed=0, count=4, size=4, classes=3, ignored=0.0):
    rng = np.random.default_rng(seed)
    shape = (count, classes, size, size) if form == "channels" else (count, size, size)
    present = classes if form == "labels" else 2
    low = (count,) + (1,) * (len(shape) - 1)
    target = rng.integers(0, rng.integers(1, present + 1, low), shape)
    pred = np.where(rng.random(shape) < rng.choice([0, 0.3, 1], low), rng.integers(0, present, shape), target)
    return pred, np.where(rng.random(shape) < rng.choice([0, ignored, 1.0] if ignored else [0], low), 255, target)


def sets(mask, valid, form, classes):
    """Return the set of valid pixels of each image and class."""
    images = []
    for image, ok in zip(mask, valid, strict=True):
        if form == "labels":
            images.append([set(np.flatnonzero((image == k) & ok)) for k in range(classes)])
        else:
            planes = zip(image.reshape(-1, *image.shape[-2:]), ok.reshape(-1, *ok.shape[-2:]), strict=True)
            images.append([set(np.flatnonzero((plane > 0) & good)) for plane, good in planes])
    return images


def ratio(score, p, t, valid):
    """Return numerator and denominator of one class."""
    if score is iou_score:
        return len(p & t), len(p | t)
    if score is dice_score:
        return 2 * len(p & t), len(p) + len(t)
    return valid - len(p ^ t), valid


def mean(values):
    seen = [x for x in values if not math.isnan(x)]
    return sum(seen) / len(seen) if seen else math.nan


def brute_force(score, pred, target, form, classes, average, empty):
    """Return scores of images and classes, or of classes, and their mean, from sets of pixels."""
    valid = target != 255
    pred, target = sets(pred, valid, form, classes), sets(target, valid, form, classes)
    counts = [
        valid.reshape(len(valid), -1, valid.shape[-2] * valid.shape[-1]).sum(-1)[n].tolist() for n in range(len(valid))
    ]
    if form == "labels":
        counts = [c * classes for c in counts]
    parts = [
        [(*ratio(score, a, b, c), c) for a, b, c in zip(p, t, count, strict=True)]
        for p, t, count in zip(pred, target, counts, strict=True)
    ]
    if score is pixel_accuracy and form == "labels":
        # A wrong pixel is missing from the set of one class and extra in that of another.
        parts = [
            [(sum(len(a & b) for a, b in zip(p, t, strict=True)), c[0], c[0])]
            for p, t, c in zip(pred, target, counts, strict=True)
        ]
    if average == "micro":
        parts = [[tuple(map(sum, zip(*column, strict=True))) for column in zip(*parts, strict=True)]]

    def value(numerator, denominator, count):
        if denominator:
            return numerator / denominator
        return 1.0 if count and empty == "perfect" else math.nan

    table = [[value(*part) for part in row] for row in parts]
    return table, mean([mean(row) for row in table])


@every_score
@pytest.mark.parametrize("form", FORMS)
@given(
    st.integers(0, 10**9),
    st.sampled_from(["micro", "per_image"]),
    st.sampled_from(["perfect", "skip"]),
    st.sampled_from([0.0, 0.4]),
)
@settings(max_examples=15, deadline=None)
def test_equals_sets_of_pixels(score, form, seed, average, empty, ignored):
    pred, target = batch(form, seed, ignored=ignored)
    table, want = brute_force(score, pred, target, form, 3, average, empty)
    options = {"average": average, "num_classes": 3 if form == "labels" else None, "ignore_index": 255}
    if score is not pixel_accuracy:
        options["empty"] = empty
    got = score(pred, target, **options, reduction="none").numpy()
    assert got == pytest.approx(np.array(table).reshape(got.shape), nan_ok=True, rel=1e-6)
    columns = len(table[0])
    assert got.shape == (() if average == "micro" else (4,)) + ((columns,) if columns > 1 else ())
    assert score(pred, target, **options).item() == pytest.approx(want, nan_ok=True, rel=1e-6)
    metric = SCORES[score](**options)
    for p, t in zip(pred, target, strict=True):
        metric.update(p[None], t[None])
    if (target == 255).all():
        with pytest.raises(ValueError, match="no image"):
            metric.compute()
    else:
        # Fixed point rounds the score of an image by at most 1.2e-10.
        assert metric.compute() == pytest.approx(want, nan_ok=True, rel=0, abs=2.4e-10)


@overlaps
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("average", "theirs"), [("micro", "macro"), ("per_image", "macro-imagewise")])
def test_equals_smp(score, form, average, theirs):
    smp = pytest.importorskip("segmentation_models_pytorch").metrics
    rng = torch.Generator().manual_seed(0)
    shape = {"binary": (5, 1, 9, 11), "channels": (5, 3, 9, 11), "labels": (5, 9, 11)}[form]
    pred, target = (torch.randint(0, 3 if form == "labels" else 2, shape, generator=rng) for _ in range(2))
    options = {"num_classes": 3} if form == "labels" else {}
    mode = {"binary": "binary", "channels": "multilabel", "labels": "multiclass"}[form]
    counts = smp.get_stats(pred, target, mode=mode, **options)
    their_score = smp.iou_score if score is iou_score else smp.f1_score
    want = their_score(*counts, reduction=theirs)
    torch.testing.assert_close(score(pred, target, average=average, **options), want)
    if average == "per_image":
        want = their_score(*counts, reduction="none").squeeze(-1 if form == "binary" else ())
        torch.testing.assert_close(score(pred, target, average=average, reduction="none", **options), want)


@overlaps
def test_a_perfect_prediction_is_perfect(score):
    """SMP scores .333: it counts the two absent classes of three as 0."""
    labels = torch.ones(2, 5, 5, dtype=torch.long)
    for average in ("micro", "per_image"):
        for empty in ("perfect", "skip"):
            assert score(labels, labels, num_classes=3, average=average, empty=empty) == 1
            assert SCORES[score](num_classes=3, average=average, empty=empty).update(labels, labels).compute() == 1
    smp = pytest.importorskip("segmentation_models_pytorch").metrics
    counts = smp.get_stats(labels, labels, mode="multiclass", num_classes=3)
    assert smp.iou_score(*counts, reduction="macro", zero_division=0) == pytest.approx(1 / 3)


@overlaps
def test_empty_tiles_score_as_requested(score):
    """Many libraries score a correctly empty tile 0, as SMP does on request."""
    empty, salt = torch.zeros(3, 1, 4, 4, dtype=torch.long), torch.ones(1, 1, 4, 4, dtype=torch.long)
    pred = target = torch.cat([empty, salt])
    smp = pytest.importorskip("segmentation_models_pytorch").metrics
    counts = smp.get_stats(pred, target, mode="binary")
    assert smp.iou_score(*counts, reduction="micro-imagewise", zero_division=0) == 0.25
    assert score(pred, target, average="per_image") == 1
    skipped = score(pred, target, average="per_image", empty="skip", reduction="none")
    torch.testing.assert_close(skipped, torch.tensor([math.nan, math.nan, math.nan, 1]), equal_nan=True)
    wrong = torch.cat([empty[:2], salt, 1 - salt])
    assert score(wrong, target, average="per_image", reduction="none").tolist() == [1, 1, 0, 0]
    assert score(wrong, target, average="per_image", empty="skip") == 0
    assert score(empty, empty) == 1
    assert score(empty, empty, empty="skip").isnan()
    assert math.isnan(SCORES[score](empty="skip").update(empty, empty).compute())


@every_score
def test_a_mask_of_255_is_a_mask(score):
    """SMP multiplies the values, so a mask of 0 and 255, as image files hold it, gets a wrong IoU."""
    mask = torch.tensor([[[[0, 255], [255, 0]]]])
    smp = pytest.importorskip("segmentation_models_pytorch").metrics
    assert smp.get_stats(mask, mask, mode="binary")[1].item() < 0  # number of false positives
    assert score(mask, mask) == score(mask.bool(), mask) == 1


@every_score
def test_ignored_pixels_do_not_dilute(score):
    """Dividing by all pixels would score .5 if half of an image is ignored and the other half is right."""
    target = torch.tensor([[[1, 1, 255, 255]]])
    pred = torch.tensor([[[1, 1, 1, 0]]])
    for average in ("micro", "per_image"):
        assert score(pred, target, average=average, ignore_index=255) == 1
    assert score(pred, target) < 1


@every_score
@pytest.mark.parametrize("form", FORMS)
def test_more_wrong_pixels_never_score_more(score, form):
    _, target = batch(form, 5, size=6)
    target = torch.from_numpy(target)
    options = {"num_classes": 3} if form == "labels" else {}
    truth = target[1:2]
    order = torch.randperm(truth.numel(), generator=torch.Generator().manual_seed(0))
    for average in ("micro", "per_image"):
        scores = []
        pred = truth.clone().flatten()
        for pixel in order:
            scores.append(score(pred.view_as(truth), truth, average=average, **options).item())
            pred[pixel] = (pred[pixel] + 1) % (3 if form == "labels" else 2)
        assert scores[0] == 1
        if form != "labels" or score is pixel_accuracy:
            # With several classes an error can raise the mean, by definition.
            assert scores == sorted(scores, reverse=True)
        assert scores[-1] < 0.5


def test_dice_and_iou_of_an_image_determine_each_other():
    pred, target = batch("binary", 3, count=20)
    iou = iou_score(pred, target, average="per_image", reduction="none")
    dice = dice_score(pred, target, average="per_image", reduction="none")
    torch.testing.assert_close(dice, 2 * iou / (1 + iou))


def test_fixed_point_is_exact_enough_and_far_from_overflow():
    pred, target = torch.tensor([[[1, 1, 0]]]), torch.ones(1, 1, 3, dtype=torch.long)
    metric = IoUScore(average="per_image")
    for _ in range(50):
        metric.update(pred, target)
    assert metric.compute() == pytest.approx(2 / 3, abs=1.2e-10, rel=0)
    pixels = torch.tensor([2**30])
    assert fixed_point(2 * pixels - 1, 2 * pixels).item() == 2**32 - 2  # the dice of an image of 2**30 pixels


def test_unknown_options():
    masks = torch.ones(1, 2, 2).bool()
    for score in SCORES:
        with pytest.raises(ValueError, match=r"unknown average 'macro': choose one of 'micro', 'per_image'"):
            score(masks, masks, average="macro")
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            SCORES[score](num_classes=1)
    for call in (iou_score, dice_score):
        with pytest.raises(ValueError, match=r"unknown empty 'nan': choose one of 'perfect', 'skip'"):
            call(masks, masks, empty="nan")
