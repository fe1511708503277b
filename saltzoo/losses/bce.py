"""Binary cross-entropy on logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .._checks import check_choice, check_finite
from ._inputs import mask_inputs
from ._module import LossModule
from ._reduce import REDUCTIONS, Reduction, reduce_pixels


def bce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    pos_weight: float = 1.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross-entropy of logits, in float32 (float64 stays), in nats.

    An empty mask is a mask like any other: each of its pixels gets a gradient.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or, multilabel, (N, C, H, W); any floating dtype.
        target: 0 or 1, or a probability of salt, in the shape of the logits, where one channel may be left out; bool,
            integer or float.
        pos_weight: factor of the loss of salt; above 1 misses cost more than false alarms.
        ignore_index: pixels of this target value count neither in the loss nor in its mean.
        reduction: "mean" over valid pixels, "sum", or "none": (N, H, W), or (N, C, H, W), 0 at ignored pixels.

    Returns:
        A scalar, or a loss a pixel. A batch without any valid pixel gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or the target is of no dtype that holds a mask.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a target beyond 0 to 1.

    Example:
        >>> import torch
        >>> round(bce_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)).item(), 4)
        0.6931
    """
    check_choice("reduction", reduction, REDUCTIONS)
    check_finite(pos_weight=pos_weight)
    if pos_weight <= 0:
        raise ValueError(f"pos_weight must be above 0, got {pos_weight}")
    logits, target, valid = mask_inputs(logits, target, ignore_index=ignore_index)
    target = target.to(logits.dtype)
    weight = None if pos_weight == 1 else logits.new_full((), pos_weight)
    if valid is None:
        return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction=reduction)
    loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")
    return reduce_pixels(loss.masked_fill(~valid, 0), valid, reduction)


class BCELoss(LossModule, function=bce_loss):
    """`bce_loss` as a module; its options are those of the function."""
