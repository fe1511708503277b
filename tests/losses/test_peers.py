"""Losses and metrics against torchmetrics and MONAI, where those are right."""

import pytest
import torch
from _loss_cases import batch, gradient

from saltzoo.losses import dice_loss, focal_loss, generalized_dice_loss, jaccard_loss, tversky_loss
from saltzoo.metrics import (
    ConfusionMatrix,
    DiceScore,
    IoUScore,
    confusion_matrix,
    dice_score,
    iou_score,
    pixel_accuracy,
)

IGNORED = 255


def labels(seed, classes=4, ignored=0.0, shape=(5, 9, 11)):
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, shape, generator=rng)
    pred = torch.where(torch.rand(shape, generator=rng) < 0.6, target, torch.randint(classes, shape, generator=rng))
    target[torch.rand(shape, generator=rng) < ignored] = IGNORED
    return pred, target


@pytest.mark.parametrize("ignored", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(2))
def test_scores_of_labels_equal_torchmetrics(seed, ignored):
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    pred, target = labels(seed, ignored=ignored)
    theirs_options = {"num_classes": 4, "ignore_index": IGNORED if ignored else None}
    options = {**theirs_options, "average": "micro", "reduction": "none"}
    want = theirs.multiclass_jaccard_index(pred, target, average="none", **theirs_options)
    torch.testing.assert_close(iou_score(pred, target, **options), want)
    want = theirs.multiclass_f1_score(pred, target, average="none", **theirs_options)
    torch.testing.assert_close(dice_score(pred, target, **options), want)
    want = theirs.multiclass_accuracy(pred, target, average="micro", **theirs_options)
    torch.testing.assert_close(pixel_accuracy(pred, target, **theirs_options), want)
    want = theirs.multiclass_confusion_matrix(pred, target, **theirs_options)
    torch.testing.assert_close(confusion_matrix(pred, target, **theirs_options), want)
    scores = ConfusionMatrix(**theirs_options).update(pred, target).compute()
    mean = theirs.multiclass_jaccard_index(pred, target, average="macro", **theirs_options)
    assert scores.mean_iou == pytest.approx(mean.item())
    weighted = theirs.multiclass_jaccard_index(pred, target, average="weighted", **theirs_options)
    assert scores.frequency_weighted_iou == pytest.approx(weighted.item())


@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_scores_of_masks_equal_torchmetrics(ignored):
    theirs = pytest.importorskip("torchmetrics.classification")
    index = IGNORED if ignored else None
    ours = IoUScore(ignore_index=index), DiceScore(ignore_index=index)
    peers = theirs.BinaryJaccardIndex(ignore_index=index), theirs.BinaryF1Score(ignore_index=index)
    for seed in range(3):
        pred, target = labels(seed, classes=2, ignored=ignored)
        for mine, peer in zip(ours, peers, strict=True):
            mine.update(pred, target)
            peer.update(pred, target)
    for mine, peer in zip(ours, peers, strict=True):
        assert mine.compute() == pytest.approx(peer.compute().item())


@pytest.mark.parametrize("smooth", [1e-3, 1.0])
@pytest.mark.parametrize("task", [1, -3, 4])
def test_overlap_losses_equal_monai(task, smooth):
    monai = pytest.importorskip("monai.losses")
    logits, target = batch(task)
    target[..., 0, :4] = torch.arange(4) if task > 1 else 1  # every class is present in every image
    x = logits[:, None] if task == 1 else logits
    y = target if task < 0 else target[:, None]
    options = {"smooth_nr": smooth, "smooth_dr": smooth, "to_onehot_y": task > 1}
    options |= {"softmax": True} if task > 1 else {"sigmoid": True}
    pairs = [
        (dice_loss, monai.DiceLoss(**options), {}),
        (
            jaccard_loss,
            monai.DiceLoss(jaccard=True, **options),
            {"smooth": smooth / 2},
        ),  # MONAI doubles numerator and denominator
        (tversky_loss, monai.TverskyLoss(alpha=0.2, beta=0.9, **options), {"alpha": 0.2, "beta": 0.9}),
        (dice_loss, monai.DiceLoss(batch=True, **options), {"per_image": False}),
    ]
    for ours, theirs, more in pairs:
        got = gradient(lambda a, b, ours=ours, more=more: ours(a, b, **{"smooth": smooth} | more), logits, target)
        want = gradient(theirs, x, y)
        torch.testing.assert_close(got[0], want[0])
        torch.testing.assert_close(got[1], want[1].view_as(got[1]))


@pytest.mark.parametrize("task", [1, 2, 4])
def test_generalized_dice_equals_monai(task):
    monai = pytest.importorskip("monai.losses")
    logits, target = batch(task)
    target[0] = 0  # other classes do not occur in this image
    x = torch.stack([torch.zeros_like(logits), logits], 1) if task == 1 else logits
    peer = monai.GeneralizedDiceLoss(softmax=True, to_onehot_y=True, smooth_nr=0, smooth_dr=0, reduction="none")
    want = peer(x.double(), target[:, None].long()).flatten()
    got = generalized_dice_loss(logits.double(), target, smooth=0, reduction="none")
    torch.testing.assert_close(got, want)


def test_generalized_dice_of_channels_is_that_of_each_mask_and_its_background():
    logits, target = batch(-3)
    got = generalized_dice_loss(logits, target, reduction="none")
    each = [generalized_dice_loss(logits[:, c], target[:, c], reduction="none") for c in range(3)]
    torch.testing.assert_close(got, torch.stack(each, 1))


@pytest.mark.parametrize("gamma", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("task", [1, 3])
def test_focal_loss_equals_monai(task, gamma):
    monai = pytest.importorskip("monai.losses")
    logits, target = batch(task)
    x = logits[:, None] if task == 1 else logits
    theirs = monai.FocalLoss(gamma=gamma, use_softmax=task > 1, to_onehot_y=task > 1, reduction="none")
    want = theirs(x, target[:, None]).sum(1)
    torch.testing.assert_close(focal_loss(logits, target, gamma=gamma, reduction="none"), want)
