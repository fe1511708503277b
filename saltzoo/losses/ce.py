"""Cross-entropy of classes on logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ._classes import by_class, check_weight
from ._inputs import LabelInputs, ShareInputs, class_inputs
from ._options import Reduction, check_common, check_smoothing, shown_options
from ._reduce import reduce_pixels, total_weight


def ce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the cross-entropy of classes, in nats. It is computed in float32, or in float64 for float64 logits.

    An empty mask, all of it background, is treated like any other: each of its pixels gets a gradient.

    Args:
        logits: raw scores, (N, C, H, W), any floating dtype; C is 2 or more.
        target: labels 0 to C - 1, (N, H, W), uint8 or any signed integer dtype; or probabilities of the classes,
            (N, C, H, W), which sum to 1 at each pixel.
        weight: factor of the loss of each class, a list of C numbers of 0 or more. As in torch the mean is then over
            the weights of the labels; over pixels if the target holds probabilities.
        label_smoothing: share of the target that is spread evenly over all classes, 0 to 1.
        ignore_index: label of pixels that are left out of the loss and of its mean; of probabilities, the value that
            all channels have there. None ignores nothing, not even torch's -100.
        reduction: "mean" over valid pixels, "sum", or "none": (N, H, W), 0 at ignored pixels.

    Returns:
        A scalar, or (N, H, W). A batch without valid pixels gives 0 with gradient 0, where torch gives NaN.

    Raises:
        TypeError: if the logits are not floating point, or the labels are not integers.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if a label leaves 0 to C - 1,
            or probabilities do not sum to 1.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[[0, 255]]])
        >>> round(ce_loss(torch.zeros(1, 2, 1, 2), labels, ignore_index=255).item(), 4)
        0.6931
    """
    _check_options(weight, label_smoothing, ignore_index, reduction)
    inputs = class_inputs(logits, target, ignore_index=ignore_index)
    return ce_of(inputs, weight=weight, label_smoothing=label_smoothing, reduction=reduction)


def ce_of(
    inputs: LabelInputs | ShareInputs,
    *,
    weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction,
) -> Tensor:
    """Return the cross-entropy of inputs that are checked already."""
    logits, target, valid = inputs
    table = None if weight is None else by_class("weight", weight, logits.shape[1], logits)
    if label_smoothing == 0 and valid is None and table is None and logits.numel() > 0:
        return F.cross_entropy(logits, target, reduction=reduction)
    if isinstance(inputs, ShareInputs):
        target = (1 - label_smoothing) * target + label_smoothing / logits.shape[1]
        loss = F.cross_entropy(logits, target, weight=table, reduction="none")
    else:
        loss = _smoothed(logits, target, table, label_smoothing)
    if valid is not None:
        loss = loss.masked_fill(~valid, 0)
    if table is None or isinstance(inputs, ShareInputs) or reduction != "mean":
        return reduce_pixels(loss, valid, reduction)
    return loss.sum() / total_weight(table[target], valid)


def _smoothed(logits: Tensor, labels: Tensor, table: Tensor | None, label_smoothing: float) -> Tensor:
    """Return the smoothed cross-entropy of each pixel, N H W. torch's own fails under torch.vmap over the labels."""
    loss = F.cross_entropy(logits, labels, weight=table, reduction="none")
    if label_smoothing == 0:
        return loss
    logs = logits.log_softmax(1)  # N C H W
    even = -(logs if table is None else logs * table[:, None, None]).mean(1)
    return (1 - label_smoothing) * loss + label_smoothing * even


def _check_options(
    weight: Sequence[float] | None, label_smoothing: float, ignore_index: int | None, reduction: Reduction
) -> None:
    check_common(ignore_index, reduction)
    check_weight(weight)
    check_smoothing(label_smoothing)


class CELoss(nn.Module):
    """`ce_loss` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(
        self,
        *,
        weight: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        _check_options(weight, label_smoothing, ignore_index, reduction)
        self.weight = weight
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `ce_loss` with the module's options."""
        return ce_loss(
            logits,
            target,
            weight=self.weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
