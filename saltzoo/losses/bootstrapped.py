"""Bootstrapped cross-entropy: the hardest pixels alone.

Wu, Shen and van den Hengel, 2016, https://arxiv.org/abs/1605.06885; FRRN, https://arxiv.org/abs/1611.08323.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_choice
from .._torch import valid_pixels
from ._inputs import mask_inputs
from ._module import LossModule
from ._reduce import REDUCTIONS, Reduction, by_image, reduce_images
from .bce import bce_loss
from .ce import ce_loss

FRRN_K = 512 * 64


def bootstrapped_bce(
    logits: Tensor,
    target: Tensor,
    *,
    k: float = FRRN_K,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean binary cross-entropy of the K hardest pixels of each image, in float32 (float64 stays), in nats.

    An empty mask is a mask like any other; of its pixels those that look most like salt get a gradient.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or, multilabel, (N, C, H, W), where each channel has its own K
            hardest pixels; any floating dtype.
        target: 0 or 1, or a probability of salt, in the shape of the logits, where one channel may be left out.
        k: a number of pixels, or, below 1, a share of an image's valid pixels. FRRN's 512 * 64 are a sixteenth of its
            images; tiles of 101 x 101 have fewer pixels than that, and the mean is over all of them.
        ignore_index: pixels of this target value are left out.
        reduction: "mean" over images that have a valid pixel, "sum", or "none": (N,), or (N, C).

    Returns:
        A scalar, (N,) or (N, C). A batch without any valid pixel gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or the target is of no dtype that holds a mask.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a target beyond 0 to 1.

    Example:
        >>> logits = torch.tensor([[[0.0, -99.0, -99.0, -99.0]]])
        >>> round(bootstrapped_bce(logits, torch.zeros(1, 1, 4), k=2).item(), 4)  # (log 2 + 0)/2
        0.3466
    """
    _check(k, reduction)
    pixels = bce_loss(logits, target, ignore_index=ignore_index, reduction="none")
    valid = mask_inputs(logits, target, ignore_index=ignore_index).valid
    return _hardest(pixels, valid, k, reduction)


def bootstrapped_ce(
    logits: Tensor,
    target: Tensor,
    *,
    k: float = FRRN_K,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean cross-entropy of the K hardest pixels of each image, in float32 (float64 stays), in nats.

    An empty mask, all of it background, is a mask like any other.

    Args:
        logits: raw scores, (N, C, H, W), any floating dtype; C is 2 or more.
        target: labels 0 to C - 1, (N, H, W).
        k: as in `bootstrapped_bce`.
        ignore_index: pixels of this label are left out.
        reduction: "mean" over images that have a valid pixel, "sum", or "none": (N,).

    Returns:
        A scalar, or (N,). A batch without any valid pixel gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or labels not integers.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a label beyond 0 to C - 1.

    Example:
        >>> logits = torch.tensor([[[[0.0, 99.0]], [[0.0, 0.0]]]])
        >>> round(bootstrapped_ce(logits, torch.zeros(1, 1, 2).long(), k=1).item(), 4)
        0.6931
    """
    _check(k, reduction)
    pixels = ce_loss(logits, target, ignore_index=ignore_index, reduction="none")
    return _hardest(pixels, valid_pixels(target, ignore_index), k, reduction)


def _check(k: float, reduction: Reduction) -> None:
    check_choice("reduction", reduction, REDUCTIONS)
    if not (0 < k < 1 or (isinstance(k, int) and k >= 1)):
        raise ValueError(
            f"k must be a whole number of pixels, such as {FRRN_K}, or a share above 0 and below 1, got {k!r}"
        )


def _hardest(pixels: Tensor, valid: Tensor | None, k: float, reduction: Reduction) -> Tensor:
    losses = by_image(pixels, per_image=True)  # N P, or N C P
    size = losses.shape[-1]
    most = min(int(k), size) if k >= 1 else max(1, round(k * size))
    hardest = losses if k >= size else losses.topk(most).values  # of all pixels the order does not matter
    if valid is None:
        return reduce_images(hardest.mean(-1), None, reduction)
    sizes = by_image(valid, per_image=True).sum(-1)  # N, or N C
    if k >= 1:  # what is ignored is 0, and ranks behind all that is not
        kept = sizes.clamp(1, most)
    else:  # in double, as above: in float32 a product may round to another whole number
        kept = (k * sizes.double()).round().clamp(1, most).long()
        hardest = hardest.where(torch.arange(most, device=pixels.device) < kept[..., None], 0)
    return reduce_images(hardest.sum(-1) / kept, sizes > 0, reduction)


class BootstrappedBCELoss(LossModule, function=bootstrapped_bce):
    """`bootstrapped_bce` as a module; its options are those of the function."""


class BootstrappedCELoss(LossModule, function=bootstrapped_ce, classes=2):
    """`bootstrapped_ce` as a module; its options are those of the function."""
