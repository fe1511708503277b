"""Dice, Jaccard and Tversky losses: closed forms, SMP where it is right, plain arithmetic elsewhere, empty masks."""

import math
from functools import partial

import pytest
import torch
from _loss_cases import IGNORED, batch, gradient
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.losses import bce_dice_loss, bce_loss, dice_loss, jaccard_loss, tversky_loss

FACTORS = {dice_loss: (2, 1, 1), jaccard_loss: (1, 1, 1), tversky_loss: (1, 0.3, 0.7)}
every_overlap = pytest.mark.parametrize("loss", FACTORS, ids=lambda loss: loss.__name__)
smp = pytest.importorskip("segmentation_models_pytorch").losses


def by_hand(logits, target, factors, *, smooth, log, empty):
    """Return the losses of an image's channels, computed pixel by pixel, without those left out."""
    hit, false_positive, false_negative = factors
    if logits.ndim == 3:
        shares = (logits - logits.amax(0)).exp()
        shares = shares / shares.sum(0)
        masks = torch.stack([torch.where(target == IGNORED, target, (target == c).long()) for c in range(len(logits))])
    else:
        shares, masks = (1 / (1 + (-logits).exp()))[None], target[None]
    losses = []
    for share, mask in zip(shares, masks, strict=True):
        pairs = [(p, int(y)) for p, y in zip(share.flatten(), mask.flatten(), strict=True) if y != IGNORED]
        right, wrong, salt = 0.0 * share.sum() + smooth, 0.0 * share.sum(), sum(y for _, y in pairs)
        for p, y in pairs:
            if salt or empty == "smooth":
                right = right + hit * p * y
                wrong = wrong + false_positive * p * (1 - y) + false_negative * (1 - p) * y
            else:
                right, wrong = right + 1 - p, wrong + p
        loss = -torch.log(right / (right + wrong)) if log else 1 - right / (right + wrong)
        if salt or (empty != "skip" and pairs):
            losses.append(loss)
    return losses


@every_overlap
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.0, 1.0, 7.0]),
    st.sampled_from(["mean", "smooth", "skip"]),
    st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_equals_sums_by_hand(loss, seed, task, ignored, smooth, empty, log):
    if smooth == 0 and (log or empty == "smooth"):
        return
    logits, target = batch(task, seed, size=(3, 3, 4), ignored=ignored, dtype=torch.float64)
    options = {"smooth": smooth, "log": log, "empty": empty}

    def theirs(x, y):
        images = [by_hand(a, b, FACTORS[loss], **options) for a, b in zip(x, y, strict=True)]
        means = [torch.stack(losses).mean() for losses in images if losses]
        return torch.stack(means).mean() if means else 0 * x.sum()

    ours = partial(loss, ignore_index=IGNORED, **options)
    for got, want in zip(gradient(ours, logits, target), gradient(theirs, logits, target), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("smooth", [1e-3, 5.0])
@pytest.mark.parametrize("mode", ["binary", "multilabel"])
def test_equals_smp_where_no_mask_is_empty(log, smooth, mode):
    logits, target = batch(1 if mode == "binary" else -3)
    target.flatten(-2)[..., 0] = 1
    options = {"log_loss": log, "smooth": smooth}
    x, y = (logits[:, None], target[:, None]) if mode == "binary" else (logits, target)
    pairs = [
        # SMP's Dice is a Tversky loss with two halves, smoothed accordingly.
        (partial(dice_loss, smooth=2 * smooth), smp.DiceLoss(mode, **options)),
        (partial(jaccard_loss), smp.JaccardLoss(mode, **options)),
        (partial(tversky_loss, alpha=0.2, beta=0.9), smp.TverskyLoss(mode, alpha=0.2, beta=0.9, **options)),
    ]
    for ours, theirs in pairs:
        got = gradient(
            partial(ours, **{"smooth": smooth, "log": log, "per_image": False} | ours.keywords), logits, target
        )
        want = gradient(theirs, x, y)
        torch.testing.assert_close(got[0], want[0])
        torch.testing.assert_close(got[1], want[1].view_as(got[1]))


def test_equals_smp_on_classes():
    logits, target = batch(3)
    for ours, theirs in ((partial(dice_loss, smooth=2), smp.DiceLoss), (jaccard_loss, smp.JaccardLoss)):
        want = theirs("multiclass", smooth=1.0)(logits, target)
        torch.testing.assert_close(ours(logits, target, per_image=False), want)


def test_not_the_defects_of_smp():
    """SMP's Dice of empty masks is 0 with gradient 0 whatever is predicted, and absent classes count as right."""
    logits = torch.full((2, 1, 5, 5), 9.0)
    empty = torch.zeros(2, 1, 5, 5)
    value, slope = gradient(smp.DiceLoss("binary"), logits, empty)
    assert value == 0
    assert (slope == 0).all()
    value, slope = gradient(dice_loss, logits, empty)
    assert value > 0.9
    assert (slope > 0).all()
    wrong = 9.0 * torch.nn.functional.one_hot(torch.ones(1, 5, 5).long(), 3).movedim(-1, 1)
    truth = torch.zeros(1, 5, 5).long()
    assert smp.DiceLoss("multiclass")(wrong, truth) < 0.34
    assert dice_loss(wrong, truth, empty="skip") > 0.9


@pytest.mark.parametrize(
    ("loss", "worst", "half"), [(dice_loss, 1.0, 1 / 2), (jaccard_loss, 1.0, 2 / 3), (tversky_loss, 1.0, 1 / 2)]
)
def test_closed_forms(loss, worst, half):
    """Two squares that coincide, are disjoint, or overlap by half, with an IoU of one third."""
    target = torch.zeros(3, 4, 8)
    target[..., :4] = 1
    said = torch.stack([target[0], 1 - target[0], target[0].roll(2, -1)])
    losses = loss(200 * (2 * said - 1), target, smooth=0.0, reduction="none")
    torch.testing.assert_close(losses, torch.tensor([0.0, worst, half]))
    logs = loss(200 * (2 * said - 1), target, smooth=1e-3, log=True, reduction="none")
    torch.testing.assert_close(logs[[0, 2]], torch.tensor([0.0, -math.log(1 - half)]), rtol=1e-3, atol=1e-6)
    assert logs[1] > 8


def test_tversky_is_dice_and_jaccard():
    logits, target = batch(1, ignored=0.2)
    options = {"ignore_index": IGNORED, "empty": "skip"}
    dice = dice_loss(logits, target, smooth=4.0, **options)
    torch.testing.assert_close(tversky_loss(logits, target, alpha=0.5, beta=0.5, smooth=2.0, **options), dice)
    jaccard = jaccard_loss(logits, target, smooth=4.0, **options)
    torch.testing.assert_close(tversky_loss(logits, target, alpha=1, beta=1, smooth=4.0, **options), jaccard)


@every_overlap
def test_an_empty_mask_predicted_empty_costs_nothing(loss):
    logits, target = torch.full((2, 6, 6), -200.0), torch.zeros(2, 6, 6)
    for empty in ("mean", "smooth", "skip"):
        for log in (False, True):
            value, slope = gradient(partial(loss, empty=empty, log=log), logits, target)
            assert value == 0
            assert slope.isfinite().all()
    assert loss(logits, target, smooth=0.0) == 0


@every_overlap
@pytest.mark.parametrize("empty", ["mean", "skip"])
def test_without_smoothing_nothing_is_nan(loss, empty):
    """All probabilities underflow to 0; the masks are empty, full and ignored."""
    logits = torch.full((3, 6, 6), -200.0)
    target = torch.stack([torch.zeros(6, 6), torch.ones(6, 6), torch.full((6, 6), 255.0)])
    value, slope = gradient(
        partial(loss, smooth=0.0, empty=empty, ignore_index=IGNORED, reduction="none"), logits, target
    )
    torch.testing.assert_close(value, torch.tensor([0.0, 1.0, 0.0]))
    assert slope.isfinite().all()


@every_overlap
def test_per_batch_sums_over_images(loss):
    for task in (1, 3):
        logits, target = batch(task, ignored=0.3)
        rows = logits.flatten() if task == 1 else logits.movedim(1, 0).flatten(1)
        one = rows[None, ..., None], target.flatten()[None, :, None]
        got = loss(logits, target, per_image=False, ignore_index=IGNORED, reduction="none")
        torch.testing.assert_close(got, loss(*one, ignore_index=IGNORED, reduction="none"))


@pytest.mark.parametrize("empty", ["mean", "smooth", "skip"])
@pytest.mark.parametrize("task", [1, -3])
def test_bce_dice_is_the_sum_of_both(empty, task):
    logits, target = batch(task, ignored=0.3)
    rest = {"ignore_index": IGNORED}
    options = {"smooth": 2.0, "empty": empty, **rest}
    want = bce_loss(logits, target, **rest) + 0.7 * dice_loss(logits, target, **options)
    torch.testing.assert_close(bce_dice_loss(logits, target, dice_weight=0.7, **options), want)
    each = bce_dice_loss(logits, target, dice_weight=0.7, reduction="none", **options)
    alone = [bce_loss(x[None], y[None], **rest) for x, y in zip(logits, target, strict=True)]
    if task == -3:
        alone = [
            torch.stack([bce_loss(x[None, c], y[None, c], **rest) for c in range(3)])
            for x, y in zip(logits, target, strict=True)
        ]
    want = torch.stack(alone) + 0.7 * dice_loss(logits, target, reduction="none", **options)
    torch.testing.assert_close(each, want)
