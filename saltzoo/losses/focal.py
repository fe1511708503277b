"""Focal loss: cross-entropy that fades where a pixel is right. Lin et al., 2017, https://arxiv.org/abs/1708.02002."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .._checks import check_choice, check_finite
from ._inputs import are_labels, label_inputs, mask_inputs
from ._module import LossModule
from ._reduce import REDUCTIONS, Reduction, reduce_pixels


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Focal loss, -(1 - p)^gamma log(p) of the probability p given to the truth, in float32 (float64 stays), in nats.

    With `gamma=0` it is the cross-entropy: `bce_loss` of masks, `ce_loss` of labels. Both factors come from
    logarithms, so neither value nor gradient breaks down where p is 0 or 1, for any gamma.

    An empty mask is a mask like any other: each of its pixels gets a gradient, the less the surer it is right.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W), or (N, C, H, W); any floating dtype.
        target: a mask of 0 and 1 in the shape of the logits, where one channel may be left out; or labels 0 to C - 1,
            (N, H, W). A share of salt between 0 and 1 mixes the losses of salt and background.
        gamma: how fast the loss fades, 0 or more.
        alpha: factor of the loss of salt, 1 - alpha that of background, 0 to 1; None for neither. Masks only.
        ignore_index: pixels of this target value count neither in the loss nor in its mean.
        reduction: "mean" over valid pixels, "sum", or "none": the target's shape, 0 at ignored pixels.

    Returns:
        A scalar, or a loss a pixel. A batch without any valid pixel gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or the target is of no dtype that holds masks or labels.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a target out of range.

    Example:
        >>> round(focal_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)).item(), 4)  # (1/2)^2 log 2
        0.1733
    """
    check_choice("reduction", reduction, REDUCTIONS)
    check_finite(gamma=gamma)
    if gamma < 0:
        raise ValueError(f"gamma must be 0 or more, got {gamma}")
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be 0 to 1, or None, got {alpha}")
    if are_labels(logits, target):
        if alpha is not None:
            raise ValueError(f"alpha={alpha} weighs salt against background, and here are labels: leave it at None")
        logits, labels, valid = label_inputs(logits, target, ignore_index=ignore_index)
        loss = _of_labels(logits, labels, gamma)
    else:
        logits, masks, valid = mask_inputs(logits, target, ignore_index=ignore_index)
        loss = _of_masks(logits, masks.to(logits.dtype), gamma, alpha)
    if valid is not None:
        loss = loss.masked_fill(~valid, 0)
    return reduce_pixels(loss, valid, reduction)


def _of_masks(logits: Tensor, masks: Tensor, gamma: float, alpha: float | None) -> Tensor:
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)  # log p of salt, and of background
    salt, background = -yes * torch.exp(gamma * no), -no * torch.exp(gamma * yes)
    if alpha is not None:
        salt, background = alpha * salt, (1 - alpha) * background
    return masks * salt + (1 - masks) * background


def _of_labels(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    chosen = labels[:, None]  # N 1 H W
    logits = logits - logits.detach().amax(1, keepdim=True)  # a common offset would cost digits
    # By how much the truth is ahead of all others together: its probability is the sigmoid of that.
    lead = logits.gather(1, chosen)[:, 0] - logits.scatter(1, chosen, -torch.inf).logsumexp(1)  # N H W
    return -F.logsigmoid(lead) * torch.exp(gamma * F.logsigmoid(-lead))


class FocalLoss(LossModule, function=focal_loss):
    """`focal_loss` as a module; its options are those of the function."""
