"""Cross-entropy of classes on logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .._checks import check_choice
from ._inputs import label_inputs
from ._module import LossModule
from ._reduce import REDUCTIONS, Reduction, reduce_pixels


def ce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of classes, in float32 (float64 stays), in nats.

    An empty mask, all of it background, is a mask like any other: each of its pixels gets a gradient.

    Args:
        logits: raw scores, (N, C, H, W), any floating dtype; C is 2 or more.
        target: labels 0 to C - 1, (N, H, W), of any integer dtype up to 64 bits, signed or uint8.
        label_smoothing: share of the target that is spread evenly over all classes, 0 to 1.
        ignore_index: pixels of this label count neither in the loss nor in its mean. Without it there is none: torch's
            -100 has to be asked for.
        reduction: "mean" over valid pixels, "sum", or "none": (N, H, W), 0 at ignored pixels.

    Returns:
        A scalar, or (N, H, W). A batch without any valid pixel gives 0 with gradient 0, where torch gives NaN.

    Raises:
        TypeError: logits are not floating point, or labels not integers.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a label beyond 0 to C - 1.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[[0, 255]]])
        >>> round(ce_loss(torch.zeros(1, 2, 1, 2), labels, ignore_index=255).item(), 4)
        0.6931
    """
    check_choice("reduction", reduction, REDUCTIONS)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be 0 to 1, got {label_smoothing}")
    logits, labels, valid = label_inputs(logits, target, ignore_index=ignore_index)
    if valid is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction=reduction)
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    return reduce_pixels(loss.masked_fill(~valid, 0), valid, reduction)


class CELoss(LossModule, function=ce_loss, classes=2):
    """`ce_loss` as a module; its options are those of the function."""
