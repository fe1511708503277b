"""Binary cross-entropy on logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_finite
from ._classes import by_class, check_numbers
from ._inputs import MaskInputs, mask_inputs
from ._options import Reduction, check_common, check_smoothing, shown_options
from ._reduce import reduce_pixels


def bce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    pos_weight: float | Sequence[float] = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the binary cross-entropy of logits, in nats. It is computed in float32, or in float64 for float64 logits.

    An empty mask is treated like any other: each of its pixels gets a gradient.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or, multilabel, (N, C, H, W); any floating dtype.
        target: 0 or 1, or a probability of salt, in the shape of the logits; a single channel may be left out. Bool,
            integer or float.
        pos_weight: factor of the loss of salt pixels; above 1, a miss costs more than a false alarm. A list holds one
            for each channel.
        label_smoothing: share s of the target that is spread evenly over salt and background, 0 to 1: a target y
            becomes (1 - s) y + s/2, as in `ce_loss` with two classes.
        ignore_index: target value of pixels that are left out of the loss and of its mean.
        reduction: "mean" over valid pixels, "sum", or "none": (N, H, W) or (N, C, H, W), 0 at ignored pixels.

    Returns:
        A scalar, or one loss a pixel. A batch without valid pixels gives 0 with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, the target has a dtype that cannot hold a mask, or
            `pos_weight` is neither a number nor a list of numbers.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if the target leaves 0 to 1.

    Example:
        >>> import torch
        >>> round(bce_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)).item(), 4)
        0.6931
    """
    _check_options(pos_weight, label_smoothing, ignore_index, reduction)
    inputs = mask_inputs(logits, target, ignore_index=ignore_index)
    return bce_of(inputs, pos_weight=pos_weight, label_smoothing=label_smoothing, reduction=reduction)


def bce_of(
    inputs: MaskInputs,
    *,
    pos_weight: float | Sequence[float] = 1.0,
    label_smoothing: float = 0.0,
    reduction: Reduction,
) -> Tensor:
    """Return the binary cross-entropy of inputs that are checked already."""
    logits, target, valid = inputs.logits, inputs.target.to(inputs.logits.dtype), inputs.valid
    weight = None
    if isinstance(pos_weight, Sequence):
        weight = by_class("pos_weight", pos_weight, logits.shape[1] if logits.ndim == 4 else 1, logits)[:, None, None]
    elif pos_weight != 1:
        weight = logits.new_full((), pos_weight)
    if label_smoothing > 0:
        target = (1 - label_smoothing) * target + label_smoothing / 2
    if valid is None and logits.numel() > 0:
        return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction=reduction)
    loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")
    return reduce_pixels(loss if valid is None else loss.masked_fill(~valid, 0), valid, reduction)


def _check_options(
    pos_weight: float | Sequence[float], label_smoothing: float, ignore_index: int | None, reduction: Reduction
) -> None:
    check_common(ignore_index, reduction)
    check_smoothing(label_smoothing)
    if isinstance(pos_weight, float | int):
        check_finite(pos_weight=pos_weight)
        least = pos_weight
    else:
        check_numbers("pos_weight", pos_weight)
        least = min(pos_weight)
    if least <= 0:
        raise ValueError(f"pos_weight must be above 0, got {pos_weight}")


class BCELoss(nn.Module):
    """`bce_loss` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(
        self,
        *,
        pos_weight: float | Sequence[float] = 1.0,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        _check_options(pos_weight, label_smoothing, ignore_index, reduction)
        self.pos_weight = pos_weight
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `bce_loss` with the module's options."""
        return bce_loss(
            logits,
            target,
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
