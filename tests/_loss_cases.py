"""Every loss in each of its forms, with batches of its task."""

from functools import partial

import torch

from saltzoo.losses import (
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
    topology_loss,
    tversky_loss,
)

IGNORED = 255


def edges(x):
    """Return maps of an image: its gray values and their differences along both axes."""
    gray = x[:, :1]
    return gray, gray[..., 1:] - gray[..., :-1], gray[..., 1:, :] - gray[..., :-1, :]


MASKS = {
    "bce": bce_loss,
    "bce-weighted": partial(bce_loss, pos_weight=3.0),
    "focal": focal_loss,
    "focal-alpha": partial(focal_loss, gamma=0.5, alpha=0.25),
    "dice": dice_loss,
    "dice-log": partial(dice_loss, log=True),
    "dice-smooth": partial(dice_loss, empty="smooth"),
    "dice-skip": partial(dice_loss, smooth=0.0, empty="skip"),
    "generalized-dice": generalized_dice_loss,
    "jaccard": jaccard_loss,
    "tversky": tversky_loss,
    "bce-dice": bce_dice_loss,
    "lovasz": lovasz_hinge,
    "lovasz-symmetric": partial(lovasz_hinge, symmetric=True),
    "lovasz-elu-symmetric": partial(lovasz_hinge, margin="elu", symmetric=True),
    "bootstrapped": partial(bootstrapped_bce, k=7),
    "bootstrapped-share": partial(bootstrapped_bce, k=0.4),
}
LABELS = {
    "ce": ce_loss,
    "ce-smoothed": partial(ce_loss, label_smoothing=0.1),
    "focal": focal_loss,
    "dice": dice_loss,
    "dice-skip": partial(dice_loss, smooth=0.0, empty="skip"),
    "generalized-dice": generalized_dice_loss,
    "jaccard-log": partial(jaccard_loss, log=True),
    "lovasz-softmax": lovasz_softmax,
    "lovasz-softmax-all": partial(lovasz_softmax, classes="all"),
    "bootstrapped": partial(bootstrapped_ce, k=7),
    "bootstrapped-share": partial(bootstrapped_ce, k=0.4),
}
MULTILABEL = ("bce", "dice", "generalized-dice", "dice-skip", "bce-dice", "lovasz-symmetric", "bootstrapped-share")
TWO_CLASSES = ("ce", "focal", "dice", "lovasz-softmax", "lovasz-softmax-all")
TOPOLOGY = partial(topology_loss, features=edges, normalize=False)

CASES = {
    **{f"binary {name}": (loss, 1) for name, loss in MASKS.items()},
    **{f"multilabel {name}": (MASKS[name], -3) for name in MULTILABEL},
    **{f"two classes {name}": (LABELS[name], 2) for name in TWO_CLASSES},
    **{f"four classes {name}": (loss, 4) for name, loss in LABELS.items()},
}
"""Name -> loss and task. Task 1 is binary, -C is multilabel with C channels, C > 1 is multiclass."""

PIXELWISE = ("bce", "ce", "focal")
"""Beginnings of the names of losses with one value a pixel; all others have one an image."""


def is_pixelwise(name):
    """Return whether the case gives one value a pixel with `reduction="none"`."""
    form = name.split(" ")[-1]
    return form.startswith(PIXELWISE) and form != "bce-dice"


def batch(task, seed=0, size=(4, 5, 7), ignored=0.0, dtype=torch.float32):
    """Return logits and an integer target with 255 at ignored pixels. The first mask is empty, the second full."""
    rng = torch.Generator().manual_seed(seed)
    count, *area = size
    shape = (count, *([abs(task)] if task != 1 else []), *area)
    logits = 2 * torch.randn(shape, generator=rng, dtype=torch.float64)
    target_shape = (count, *area) if task > 1 else shape
    target = (torch.rand(target_shape, generator=rng) < 0.4).long()
    if task > 2:
        target = torch.randint(task, target_shape, generator=rng)
    target[0] = 0
    target[1:2] = 1
    target[torch.rand(target_shape, generator=rng) < ignored] = IGNORED
    return logits.to(dtype), target


def gradient(loss, logits, target):
    """Return the loss and the gradient of its sum with respect to the logits."""
    logits = logits.clone().requires_grad_()
    value = loss(logits, target)
    return value.detach(), torch.autograd.grad(value.sum(), logits)[0]


def logits_of(target, task, size):
    """Return logits of absolute value `size` that predict the target exactly."""
    if task > 1:
        chosen = torch.nn.functional.one_hot(target, task).movedim(-1, 1)
        return size * (2.0 * chosen - 1)
    return size * (2.0 * target - 1)
