"""Options by class: weights, subsets, smoothing, soft labels; against torch, SMP and MONAI, and by identities."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from _loss_cases import IGNORED, batch, gradient

from saltzoo.losses import (
    BCEDiceLoss,
    BCELoss,
    bce_dice_loss,
    bce_loss,
    ce_loss,
    create_loss,
    dice_loss,
    focal_loss,
    jaccard_loss,
    lovasz_softmax,
    tversky_loss,
)

WEIGHT = [0.5, 2.0, 0.0, 3.0]
OVERLAPS = (dice_loss, jaccard_loss, tversky_loss)
every_overlap = pytest.mark.parametrize("loss", OVERLAPS, ids=lambda loss: loss.__name__)
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


def alike(ours, theirs, logits, target, *, peer_target=None):
    got = gradient(ours, logits, target)
    want = gradient(theirs, logits, target if peer_target is None else peer_target)
    for mine, peer in zip(got, want, strict=True):
        torch.testing.assert_close(mine, peer)


@every_reduction
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_weighted_cross_entropy_equals_torch(reduction, smoothing, ignored):
    logits, target = batch(4, ignored=ignored)
    index = IGNORED if ignored else None
    options = {"label_smoothing": smoothing, "reduction": reduction}
    ours = partial(ce_loss, weight=WEIGHT, ignore_index=index, **options)
    theirs = partial(F.cross_entropy, weight=torch.tensor(WEIGHT), ignore_index=IGNORED, **options)
    alike(ours, theirs, logits, target)


@every_reduction
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_cross_entropy_of_soft_labels_equals_torch(reduction, weight):
    logits, _ = batch(4)
    shares = batch(4, seed=1)[0].softmax(1)
    options = {"label_smoothing": 0.1, "reduction": reduction}
    ours = partial(ce_loss, weight=weight, **options)
    theirs = partial(F.cross_entropy, weight=None if weight is None else torch.tensor(weight), **options)
    alike(ours, theirs, logits, shares)


@every_reduction
def test_one_hot_masks_of_any_dtype_are_labels(reduction):
    logits, labels = batch(4)
    want = ce_loss(logits, labels, reduction=reduction)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64):
        hot = F.one_hot(labels, 4).movedim(-1, 1).to(dtype)
        torch.testing.assert_close(ce_loss(logits, hot, reduction=reduction), want)


def test_a_soft_pixel_is_ignored_where_all_channels_say_so():
    logits, target = batch(4, ignored=0.3)
    hot = F.one_hot(target.where(target != IGNORED, 0), 4).movedim(-1, 1).float()
    soft = hot.where((target != IGNORED)[:, None], float(IGNORED))
    noisy = logits.where((target != IGNORED)[:, None], torch.nan)
    got = gradient(partial(ce_loss, ignore_index=IGNORED), noisy, soft)
    want = gradient(partial(ce_loss, ignore_index=IGNORED), logits, target)
    for mine, peer in zip(got, want, strict=True):
        torch.testing.assert_close(mine, peer)


def test_soft_labels_are_probabilities():
    logits, shares = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 1 / 3)
    ce_loss(logits, shares.bfloat16())
    with pytest.raises(ValueError, match=r"sum to 1 at each pixel, got sums of 0\.5 to 0\.5: divide"):
        ce_loss(logits, shares / 2)
    with pytest.raises(ValueError, match=r"target must be 0 to 1, got -1 to 1"):
        ce_loss(logits, torch.tensor([1.0, 1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2))


@every_reduction
def test_focal_loss_without_focus_is_the_weighted_cross_entropy(reduction):
    logits, target = batch(4, ignored=0.3)
    options = {"weight": WEIGHT, "ignore_index": IGNORED, "reduction": reduction}
    alike(partial(focal_loss, gamma=0, **options), partial(ce_loss, **options), logits, target)


@pytest.mark.parametrize("task", [-3, 4])
def test_weighted_focal_loss_equals_monai(task):
    monai = pytest.importorskip("monai.losses")
    logits, target = batch(task)
    weight = WEIGHT[: abs(task)]
    theirs = monai.FocalLoss(weight=weight, use_softmax=task > 1, to_onehot_y=task > 1, reduction="none")
    want = theirs(logits, target[:, None] if task > 1 else target)
    got = focal_loss(logits, target, weight=weight, reduction="none")
    torch.testing.assert_close(got, want.sum(1) if task > 1 else want)


@pytest.mark.parametrize("task", [-3, 4])
@every_overlap
def test_weighted_overlap_losses_equal_monai(loss, task):
    monai = pytest.importorskip("monai.losses")
    logits, target = batch(task)
    target[..., 0, :4] = torch.arange(4) if task > 1 else 1
    weight = [0.5, 2.0, 0.25, 3.0][: abs(task)]
    options = {"smooth_nr": 1e-3, "smooth_dr": 1e-3, "to_onehot_y": task > 1, "reduction": "none"}
    options |= {"softmax": True} if task > 1 else {"sigmoid": True}
    if loss is tversky_loss:
        want = monai.TverskyLoss(alpha=0.3, beta=0.7, **options)(logits, target[:, None] if task > 1 else target)
        want = want * torch.tensor(weight)  # MONAI's has no weights
    else:
        theirs = monai.DiceLoss(jaccard=loss is jaccard_loss, weight=weight, **options)
        want = theirs(logits, target[:, None] if task > 1 else target)[:, :, 0, 0]
    more = {"smooth": 1e-3 if loss is not jaccard_loss else 5e-4, "weight": weight}
    got = loss(logits, target, reduction="none", **more)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(loss(logits, target, **more), (want.sum(1) / sum(weight)).mean())


@every_overlap
def test_a_subset_equals_smp(loss):
    smp = pytest.importorskip("segmentation_models_pytorch").losses
    logits, target = batch(4)
    target[:, 0, :4] = torch.arange(4)
    theirs = {
        dice_loss: smp.DiceLoss("multiclass", classes=[1, 3], smooth=1.0),
        jaccard_loss: smp.JaccardLoss("multiclass", classes=[1, 3], smooth=1.0),
        tversky_loss: smp.TverskyLoss("multiclass", classes=[1, 3], smooth=1.0, alpha=0.3, beta=0.7),
    }[loss]
    smooth = 2.0 if loss is dice_loss else 1.0  # SMP's Dice is a Tversky loss of two halves
    alike(partial(loss, classes=[1, 3], per_image=False, smooth=smooth), theirs, logits, target)


@pytest.mark.parametrize("task", [-3, 4])
@every_overlap
def test_a_subset_is_its_columns(loss, task):
    logits, target = batch(task, ignored=0.3)
    options = {"ignore_index": IGNORED, "empty": "skip"}
    columns = loss(logits, target, reduction="none", **options)
    subset = loss(logits, target, classes=[2, 1], reduction="none", **options)
    assert torch.equal(subset, columns[:, [2, 1]])
    there = torch.stack(
        [(target == c).flatten(1).any(1) if task > 1 else (target[:, c] == 1).flatten(1).any(1) for c in (2, 1)], 1
    )
    images = there.any(1)
    want = ((subset * torch.tensor([1.0, 3.0])).sum(1) / (there * torch.tensor([1.0, 3.0])).sum(1))[images].mean()
    torch.testing.assert_close(loss(logits, target, classes=[2, 1], weight=[1, 3], **options), want)
    one = loss(logits, target, classes=(1,), reduction="none", **options)
    assert torch.equal(one, columns[:, 1:2])


def bce_dice_by_loops(logits, target, *, classes, per_image, empty, reduction):
    """Return the sum of both losses, one image and channel after the other, with smooth = 1."""
    terms, pixels, scores = [], [], []
    groups = [[n] for n in range(len(logits))] if per_image else [list(range(len(logits)))]
    for images in groups:
        row, dices = [], []
        for c in classes:
            x, y = logits[images, c].flatten(), target[images, c].flatten()
            x, y = x[y != IGNORED], y[y != IGNORED].double()
            p = x.sigmoid()
            crosses = -(y * p.log() + (1 - y) * (1 - p).log())
            if y.sum() == 0 and empty == "mean":
                dice = p.sum() / (len(p) + 1)
            else:
                dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
            counted = y.sum() > 0 or empty != "skip"
            pixels.append(crosses)
            row.append(crosses.mean() + dice * counted)
            dices += [dice] if counted else []
        terms.append(torch.stack(row))
        scores += [torch.stack(dices).mean()] if dices else []
    if reduction == "mean":
        return torch.cat(pixels).mean() + torch.stack(scores).mean()
    return torch.stack(terms) if reduction == "none" else torch.stack(terms).sum()


@every_reduction
@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("empty", ["mean", "smooth", "skip"])
@pytest.mark.parametrize("classes", [[1], (2, 0), [0, 1, 2]])
def test_bce_dice_of_some_channels_equals_loops(reduction, per_image, empty, classes):
    logits, target = batch(-3, ignored=0.2, dtype=torch.float64)
    options = {"classes": classes, "per_image": per_image, "empty": empty, "reduction": reduction}
    logits = logits.clone().requires_grad_()
    got = bce_dice_loss(logits, target, ignore_index=IGNORED, **options)
    want = bce_dice_by_loops(logits, target, **options)
    assert got.shape == want.shape
    torch.testing.assert_close(got, want)
    slope, by_loops = (torch.autograd.grad(loss.sum(), logits)[0] for loss in (got, want))
    torch.testing.assert_close(slope, by_loops)
    assert torch.equal(BCEDiceLoss(ignore_index=IGNORED, **options)(logits, target), got)


def test_bce_dice_of_the_only_channel_is_that_of_the_mask():
    logits, target = batch(1)
    for x in (logits, logits[:, None]):
        assert torch.equal(bce_dice_loss(x, target, classes=[0]), bce_dice_loss(logits, target))


def test_equal_weights_change_nothing():
    for loss in (*OVERLAPS, ce_loss, focal_loss, lovasz_softmax):
        logits, target = batch(4, ignored=0.2)
        want = loss(logits, target, ignore_index=IGNORED)
        torch.testing.assert_close(loss(logits, target, weight=[3] * 4, ignore_index=IGNORED), want)
        nothing = loss(logits, target % 2, weight=[0, 0, 1, 0], empty="skip") if loss in OVERLAPS else None
        assert nothing is None or nothing == 0


def test_labels_of_weight_0_cost_nothing():
    logits, target = batch(4)
    for loss in (ce_loss, focal_loss, lovasz_softmax):
        value, slope = gradient(partial(loss, weight=[0, 0, 1, 0]), logits, target % 2)
        assert value == 0
        assert (slope == 0).all()


def lovasz_of_class(p, y):
    """Return the Lovász extension of one class, as the authors' code computes it."""
    errors, order = (y - p).abs().sort(descending=True)
    y = y[order]
    intersection, union = y.sum() - y.cumsum(0), y.sum() + (1 - y).cumsum(0)
    jaccard = 1 - intersection / union
    return errors @ torch.cat([jaccard[:1], jaccard.diff()])


@pytest.mark.parametrize("task", [2, 4])
def test_lovasz_softmax_of_listed_classes_counts_absent_ones(task):
    logits, target = batch(task, dtype=torch.float64)
    p = logits.softmax(1).flatten(2)
    want = torch.stack(
        [
            torch.stack([lovasz_of_class(a[c], (b == c).double()) for c in range(task)])
            for a, b in zip(p, target.flatten(1), strict=True)
        ]
    )
    classes = [1] if task == 2 else [3, 1]
    got = lovasz_softmax(logits, target, classes=classes, reduction="none")
    torch.testing.assert_close(got, want[:, classes])
    weight = [2.0] if task == 2 else [2.0, 0.5]
    got = lovasz_softmax(logits, target, classes=classes, weight=weight)
    torch.testing.assert_close(got, (want[:, classes] @ torch.tensor(weight).double() / sum(weight)).mean())
    got = lovasz_softmax(logits, target, classes="all", weight=range(1, task + 1), reduction="sum")
    torch.testing.assert_close(got, (want * torch.arange(1, task + 1)).sum())


@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_positive_weights_by_channel_equal_torch(ignored):
    logits, target = batch(-3, ignored=ignored)
    ours = partial(bce_loss, pos_weight=[1.0, 2.0, 3.0], ignore_index=IGNORED if ignored else None, reduction="none")
    weight = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    valid = target != IGNORED

    def theirs(x, y):
        loss = F.binary_cross_entropy_with_logits(x, y.where(valid, 0).float(), pos_weight=weight, reduction="none")
        return loss * valid

    alike(ours, theirs, logits, target)
    torch.testing.assert_close(
        BCELoss(pos_weight=(2.0,))(logits[:, :1], target[:, :1] == 1),
        bce_loss(logits[:, 0], target[:, 0] == 1, pos_weight=2.0),
    )


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_smoothed_bce_is_smoothed_cross_entropy_of_two_classes(smoothing):
    logits, target = batch(1, ignored=0.2)
    two = torch.stack([torch.zeros_like(logits), logits], 1)
    options = {"label_smoothing": smoothing, "ignore_index": IGNORED}
    torch.testing.assert_close(bce_loss(logits, target, **options), ce_loss(two, target, **options))


def test_smoothed_bce_equals_smp():
    smp = pytest.importorskip("segmentation_models_pytorch").losses
    logits, target = batch(1)
    theirs = smp.SoftBCEWithLogitsLoss(smooth_factor=0.1)  # of each side; ours is spread over both
    alike(partial(bce_loss, label_smoothing=0.2), lambda x, y: theirs(x, y.float()), logits, target)


LISTS = [
    (
        bce_loss,
        {"pos_weight": [1.0, 2.0, 3.0]},
        ValueError,
        "pos_weight must hold a number for each class.*here 1, got 3",
    ),
    (
        bce_loss,
        {"pos_weight": torch.ones(1)},
        TypeError,
        r"pos_weight must be a list of numbers.*pos_weight\.tolist\(\)",
    ),
    (bce_loss, {"pos_weight": "2"}, TypeError, "pos_weight must be a list of numbers"),
    (bce_loss, {"pos_weight": [1.0, "2"]}, TypeError, "pos_weight must hold numbers, got '2'"),
    (bce_loss, {"pos_weight": [0.0]}, ValueError, r"pos_weight must be above 0, got \[0.0\]"),
    (bce_loss, {"pos_weight": []}, ValueError, "pos_weight must hold finite numbers"),
    (bce_loss, {"pos_weight": [math.nan]}, ValueError, "pos_weight must hold finite numbers"),
    (bce_loss, {"label_smoothing": -0.1}, ValueError, "label_smoothing must be 0 to 1, got -0.1"),
    (dice_loss, {"weight": [1, 2]}, ValueError, "weight must hold a number for each class that counts, here 1, got 2"),
    (dice_loss, {"weight": [-1]}, ValueError, "weight must hold numbers of 0 or more, and one above 0"),
    (dice_loss, {"weight": [0]}, ValueError, "and one above 0"),
    (dice_loss, {"weight": 2.0}, TypeError, "weight must be a list of numbers"),
    (focal_loss, {"weight": [1, 2]}, ValueError, "here 1, got 2"),
    (
        jaccard_loss,
        {"classes": [1]},
        ValueError,
        r"classes must be different numbers from 0 to 0, one or more, got \[1\]",
    ),
    (tversky_loss, {"classes": []}, ValueError, "classes must be different numbers from 0 up"),
    (tversky_loss, {"classes": [0, 0]}, ValueError, "classes must be different numbers"),
    (bce_dice_loss, {"classes": [1]}, ValueError, "classes must be different numbers from 0 to 0"),
    (bce_dice_loss, {"classes": [1, 1]}, ValueError, "classes must be different numbers from 0 up"),
    (bce_dice_loss, {"classes": "1"}, TypeError, "classes must be a list of whole numbers"),
    (dice_loss, {"classes": 1}, TypeError, "classes must be a list of whole numbers"),
    (dice_loss, {"classes": [0.0]}, TypeError, "classes must hold whole numbers, got 0.0"),
]


@pytest.mark.parametrize(("loss", "options", "error", "words"), LISTS)
def test_lists_that_are_refused(loss, options, error, words):
    with pytest.raises(error, match=words):
        loss(*batch(1), **options)


def test_a_subset_of_labels_has_as_many_weights():
    logits, target = batch(4)
    for loss in (*OVERLAPS, lovasz_softmax):
        with pytest.raises(ValueError, match="here 2, got 4"):
            loss(logits, target, classes=[1, 2], weight=WEIGHT)
        with pytest.raises(ValueError, match="from 0 to 3"):
            loss(logits, target, classes=[4])


def test_a_recipe_gives_lists():
    loss = create_loss({"name": "dice_loss", "classes": [1, 2], "weight": [1.0, 2.0]})
    logits, target = batch(4)
    assert torch.equal(loss(logits, target), dice_loss(logits, target, classes=[1, 2], weight=[1.0, 2.0]))
    assert "classes=[1, 2], weight=[1.0, 2.0]" in repr(loss)
