"""Every loss under torch.vmap, torch.func.grad and torch.compile, against other libraries that run without them."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from _loss_cases import IGNORED, TOPOLOGY, batch, edges, gradient

from saltzoo.losses import (
    BCELoss,
    DiceLoss,
    WeightedSum,
    bce_dice_loss,
    bce_loss,
    bootstrapped_bce,
    bootstrapped_ce,
    ce_loss,
    dice_loss,
    focal_loss,
    generalized_dice_loss,
    jaccard_loss,
    lovasz_hinge,
    lovasz_softmax,
    tversky_loss,
)

pytestmark = pytest.mark.slow
WEIGHT = [0.5, 2.0, 1.0, 3.0]


def smp(name, *args, **options):
    return getattr(pytest.importorskip("segmentation_models_pytorch").losses, name)(*args, **options)


def smp_lovasz(mode):
    loss = smp("LovaszLoss", mode, per_image=True, ignore_index=IGNORED)
    return lambda x, y: loss(x.float(), y).double()


def monai(name, task, **options):
    """Return MONAI's loss of logits and targets in our shapes."""
    more = {"softmax": True, "to_onehot_y": True} if task > 1 else {"sigmoid": True}
    if name == "FocalLoss":
        more = {"use_softmax": task > 1, "to_onehot_y": task > 1}
    loss = getattr(pytest.importorskip("monai.losses"), name)(**more, **options)
    return lambda x, y: loss(x[:, None] if task == 1 else x, y if task < 0 else y[:, None])


def torch_bce(x, y, **options):
    keep = y != IGNORED
    pixels = F.binary_cross_entropy_with_logits(x, y.where(keep, 0).to(x.dtype), reduction="none", **options)
    return (pixels * keep).sum() / keep.sum()


def torch_ce(x, y, **options):
    return F.cross_entropy(x, y, ignore_index=IGNORED, **options)


def torchvision_focal(x, y):
    return pytest.importorskip("torchvision.ops").sigmoid_focal_loss(x, y.to(x.dtype), 0.25, 1.5, reduction="mean")


def hardest(x, y, *, labels):
    loss = F.cross_entropy(x, y, reduction="none") if labels else torch_bce_pixels(x, y)
    return loss.flatten(1).topk(7).values.mean()


def torch_bce_pixels(x, y):
    return F.binary_cross_entropy_with_logits(x, y.to(x.dtype), reduction="none")


def maps_apart(x, y):
    pairs = zip(edges(x.sigmoid()[:, None]), edges(y[:, None].to(x.dtype)), strict=True)
    return sum(F.mse_loss(a, b) for a, b in pairs)


def two_logits(x):
    return torch.stack([torch.zeros_like(x), x], 1)


SMALL = {"smooth_nr": 1e-3, "smooth_dr": 1e-3}
# Name -> task of the batch, share of ignored pixels, our loss, and a function that builds the other library's.
PAIRS = {
    "bce": (1, 0.2, bce_loss, lambda: torch_bce),
    "bce by channel": (
        -3,
        0.2,
        partial(bce_loss, pos_weight=[1.0, 2.0, 3.0]),
        lambda: partial(torch_bce, pos_weight=torch.tensor([1.0, 2.0, 3.0]).double()[:, None, None]),
    ),
    "smoothed bce": (
        1,
        0,
        partial(bce_loss, label_smoothing=0.2),
        lambda: lambda x, y: smp("SoftBCEWithLogitsLoss", smooth_factor=0.1)(x, y.to(x.dtype)),
    ),
    "ce": (4, 0.2, ce_loss, lambda: torch_ce),
    "smoothed ce": (4, 0.2, partial(ce_loss, label_smoothing=0.2), lambda: partial(torch_ce, label_smoothing=0.2)),
    "weighted ce": (
        4,
        0.2,
        partial(ce_loss, weight=WEIGHT, label_smoothing=0.2),
        lambda: partial(torch_ce, weight=torch.tensor(WEIGHT).double(), label_smoothing=0.2),
    ),
    "focal": (1, 0, partial(focal_loss, gamma=1.5, alpha=0.25), lambda: torchvision_focal),
    "focal of labels": (
        4,
        0,
        partial(focal_loss, gamma=1.5),
        lambda: lambda x, y: 4 * monai("FocalLoss", 4, gamma=1.5)(x, y).double(),  # whose mean is over classes too
    ),
    "dice": (1, 0, dice_loss, lambda: monai("DiceLoss", 1, smooth_nr=1.0, smooth_dr=1.0)),
    "dice of channels": (-3, 0, dice_loss, lambda: monai("DiceLoss", -3, smooth_nr=1.0, smooth_dr=1.0)),
    "dice of the batch": (
        4,
        0,
        partial(dice_loss, per_image=False, smooth=1e-3),
        lambda: monai("DiceLoss", 4, batch=True, **SMALL),
    ),
    "dice of some": (
        4,
        0,
        partial(dice_loss, classes=[1, 3], per_image=False, smooth=2.0),
        lambda: smp("DiceLoss", "multiclass", classes=[1, 3], smooth=1.0),
    ),
    "jaccard": (
        1,
        0,
        partial(jaccard_loss, smooth=0.5),
        lambda: monai("DiceLoss", 1, jaccard=True, smooth_nr=1.0, smooth_dr=1.0),
    ),
    "log jaccard": (
        4,
        0,
        partial(jaccard_loss, log=True, per_image=False, smooth=1.0),
        lambda: smp("JaccardLoss", "multiclass", log_loss=True, smooth=1.0),
    ),
    "tversky": (
        -3,
        0,
        partial(tversky_loss, alpha=0.2, beta=0.9, smooth=1e-3),
        lambda: monai("TverskyLoss", -3, alpha=0.2, beta=0.9, **SMALL),
    ),
    "generalized dice": (
        4,
        0,
        partial(generalized_dice_loss, smooth=0),
        lambda: monai("GeneralizedDiceLoss", 4, smooth_nr=0, smooth_dr=0),
    ),
    "bce and dice": (
        -3,
        0,
        partial(bce_dice_loss, dice_weight=0.7),
        lambda: lambda x, y: torch_bce(x, y) + 0.7 * monai("DiceLoss", -3, smooth_nr=1.0, smooth_dr=1.0)(x, y),
    ),
    "bce and dice of some": (
        -3,
        0,
        partial(bce_dice_loss, classes=[2, 0]),
        lambda: (
            lambda x, y: (
                torch_bce(x[:, [2, 0]], y[:, [2, 0]])
                + monai("DiceLoss", -2, smooth_nr=1.0, smooth_dr=1.0)(x[:, [2, 0]], y[:, [2, 0]])
            )
        ),
    ),
    "weighted sum": (
        1,
        0,
        WeightedSum([BCELoss(), DiceLoss()], [0.3, 2]),
        lambda: lambda x, y: 0.3 * torch_bce(x, y) + 2 * monai("DiceLoss", 1, smooth_nr=1.0, smooth_dr=1.0)(x, y),
    ),
    "lovasz hinge": (1, 0.2, lovasz_hinge, lambda: smp_lovasz("binary")),
    "lovasz softmax": (4, 0.2, lovasz_softmax, lambda: smp_lovasz("multiclass")),
    "bootstrapped bce": (1, 0, partial(bootstrapped_bce, k=7), lambda: partial(hardest, labels=False)),
    "bootstrapped ce": (4, 0, partial(bootstrapped_ce, k=7), lambda: partial(hardest, labels=True)),
    "topology": (1, 0, TOPOLOGY, lambda: maps_apart),
}
every_pair = pytest.mark.parametrize("name", PAIRS)


def pair(name, seeds=range(3)):
    """Return our loss, the other one, and some batches of two images in which every class is present, stacked."""
    task, ignored, ours, build = PAIRS[name]
    batches = []
    for seed in seeds:
        logits, target = batch(task, seed, size=(2, 6, 7), ignored=ignored, dtype=torch.float64)
        flip = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
        target = target.where(flip, (target + 1) % (task if task > 1 else 2)) if not ignored else target
        if task > 1:
            target[..., 0, :4] = torch.arange(4)
        else:
            target[..., 0, :2] = torch.arange(2)
        batches.append((logits, target))
    ours = partial(ours, ignore_index=IGNORED) if ignored else ours
    return ours, build(), *map(torch.stack, zip(*batches, strict=True))


def close(got, want):
    torch.testing.assert_close(got, want, rtol=2e-5, atol=1e-6)  # SMP's Lovász rounds its weights to float32


def check_rows(ours, theirs, logits, target):
    """Assert that values and gradients of ours, called for all batches at once, are theirs for one after the other."""
    want = [gradient(theirs, x.clone(), y.clone()) for x, y in zip(logits, target, strict=True)]
    values, slopes = (torch.stack(parts) for parts in zip(*want, strict=True))
    close(ours(logits, target), values)
    close(torch.stack(gradient(ours, logits, target)[1].unbind()), slopes)


@every_pair
def test_plain(name):
    ours, theirs, logits, target = pair(name)
    check_rows(lambda x, y: torch.stack([ours(a, b) for a, b in zip(x, y, strict=True)]), theirs, logits, target)


@every_pair
def test_vmap(name):
    ours, theirs, logits, target = pair(name)
    check_rows(torch.vmap(ours), theirs, logits, target)
    models = [gradient(theirs, x.clone(), target[1].clone()) for x in logits]
    close(torch.vmap(ours, (0, None))(logits, target[1]), torch.stack([value for value, _ in models]))
    slope = torch.vmap(torch.func.grad(ours), (0, None))(logits, target[1])
    close(slope, torch.stack([slope for _, slope in models]))
    truths = [gradient(theirs, logits[1].clone(), y.clone()) for y in target]
    close(torch.vmap(ours, (None, 0))(logits[1], target), torch.stack([value for value, _ in truths]))
    slope = torch.vmap(torch.func.grad(ours), (None, 0))(logits[1], target)
    close(slope, torch.stack([slope for _, slope in truths]))


@every_pair
def test_compile(name):
    torch._dynamo.reset()
    ours, theirs, logits, target = pair(name)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    check_rows(lambda x, y: torch.stack([compiled(a, b) for a, b in zip(x, y, strict=True)]), theirs, logits, target)


@every_pair
def test_compiled_vmap(name):
    torch._dynamo.reset()
    ours, theirs, logits, target = pair(name)
    check_rows(torch.compile(torch.vmap(ours), fullgraph=True, backend="aot_eager"), theirs, logits, target)


@pytest.mark.parametrize("name", ["bce", "weighted ce", "dice of some", "lovasz softmax", "bootstrapped bce"])
def test_inductor(name):
    torch._dynamo.reset()
    ours, theirs, logits, target = pair(name)
    compiled = torch.compile(ours, fullgraph=True)
    check_rows(lambda x, y: torch.stack([compiled(a, b) for a, b in zip(x, y, strict=True)]), theirs, logits, target)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_soft_labels(smoothing):
    torch._dynamo.reset()
    logits, _ = batch(4, size=(6, 5, 7), dtype=torch.float64)
    shares = batch(4, seed=1, size=(6, 5, 7), dtype=torch.float64)[0].softmax(1)
    logits, shares = (x.unflatten(0, (3, 2)) for x in (logits, shares))
    ours = partial(ce_loss, weight=WEIGHT, label_smoothing=smoothing)
    theirs = partial(F.cross_entropy, weight=torch.tensor(WEIGHT).double(), label_smoothing=smoothing)
    check_rows(torch.vmap(ours), theirs, logits, shares)
    compiled = torch.compile(torch.vmap(ours), fullgraph=True, backend="aot_eager")
    check_rows(compiled, theirs, logits, shares)
