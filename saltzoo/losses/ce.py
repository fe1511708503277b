"""Cross-entropy of classes on logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ._inputs import LabelInputs, label_inputs
from ._options import Reduction, check_common, shown_options
from ._reduce import reduce_pixels


def ce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the cross-entropy of classes, in nats. It is computed in float32, or in float64 for float64 logits.

    An empty mask, all of it background, is treated like any other: each of its pixels gets a gradient.

    Args:
        logits: raw scores, (N, C, H, W), any floating dtype; C is 2 or more.
        target: labels 0 to C - 1, (N, H, W), uint8 or any signed integer dtype.
        label_smoothing: share of the target that is spread evenly over all classes, 0 to 1.
        ignore_index: label of pixels that are left out of the loss and of its mean. None ignores nothing, not even
            torch's -100.
        reduction: "mean" over valid pixels, "sum", or "none": (N, H, W), 0 at ignored pixels.

    Returns:
        A scalar, or (N, H, W). A batch without valid pixels gives 0 with gradient 0, where torch gives NaN.

    Raises:
        TypeError: if the logits are not floating point, or the labels are not integers.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if a label leaves 0 to C - 1.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[[0, 255]]])
        >>> round(ce_loss(torch.zeros(1, 2, 1, 2), labels, ignore_index=255).item(), 4)
        0.6931
    """
    _check_options(label_smoothing, ignore_index, reduction)
    inputs = label_inputs(logits, target, ignore_index=ignore_index)
    return ce_of(inputs, label_smoothing=label_smoothing, reduction=reduction)


def ce_of(inputs: LabelInputs, *, label_smoothing: float = 0.0, reduction: Reduction) -> Tensor:
    """Return the cross-entropy of inputs that are checked already."""
    logits, labels, valid = inputs
    if valid is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction=reduction)
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    return reduce_pixels(loss.masked_fill(~valid, 0), valid, reduction)


def _check_options(label_smoothing: float, ignore_index: int | None, reduction: Reduction) -> None:
    check_common(ignore_index, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be 0 to 1, got {label_smoothing}")


class CELoss(nn.Module):
    """`ce_loss` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(
        self, *, label_smoothing: float = 0.0, ignore_index: int | None = None, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        _check_options(label_smoothing, ignore_index, reduction)
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `ce_loss` with the module's options."""
        return ce_loss(
            logits,
            target,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
