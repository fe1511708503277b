"""Binary cross-entropy on logits."""

import torch.nn.functional as F
from torch import Tensor, nn

from ._inputs import REDUCTIONS, Reduction, binary_inputs, check_choice, reduce_loss


def bce_loss(
    logits: Tensor, target: Tensor, *, ignore_index: int | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Binary cross-entropy of logits, in float32 (float64 stays), in nats.

    An empty mask is a mask like any other: each of its pixels gets a gradient.

    Args:
        logits: raw scores, (N, 1, H, W) or (N, H, W), any floating dtype.
        target: 0 or 1, or a probability of salt, (N, H, W) or (N, 1, H, W); bool, integer or float.
        ignore_index: pixels of this target value count neither in the loss nor in its mean.
        reduction: "mean" over valid pixels, "sum", or "none": (N, H, W), 0 at ignored pixels.

    Returns:
        A scalar, or (N, H, W). A batch without any valid pixel gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or the target is complex.
        ValueError: shapes, devices, `ignore_index` or `reduction` do not fit.

    Example:
        >>> import torch
        >>> round(bce_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)).item(), 4)
        0.6931
    """
    check_choice("reduction", reduction, REDUCTIONS)
    logits, target, valid = binary_inputs(logits, target, ignore_index=ignore_index)
    target = target.to(logits.dtype)
    if valid is None:
        return F.binary_cross_entropy_with_logits(logits, target, reduction=reduction)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return reduce_loss(loss.masked_fill(~valid, 0), valid, reduction)


class BCELoss(nn.Module):
    """`bce_loss` as a module; its options are those of the function."""

    def __init__(self, *, ignore_index: int | None = None, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_choice("reduction", reduction, REDUCTIONS)
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `bce_loss(logits, target)` with the module's options."""
        return bce_loss(logits, target, ignore_index=self.ignore_index, reduction=self.reduction)

    def extra_repr(self) -> str:
        """Options, for print."""
        return f"ignore_index={self.ignore_index}, reduction={self.reduction!r}"
