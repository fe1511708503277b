"""Sum of binary cross-entropy and Dice loss: pixels and overlap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._checks import check_finite
from ._classes import chosen
from ._inputs import MaskInputs, mask_inputs
from ._options import Reduction, shown_options
from ._overlap import DICE, Empty, check_overlap_options, overlap_of
from ._reduce import by_image
from .bce import bce_of


def bce_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 1.0,
    smooth: float = 1.0,
    per_image: bool = True,
    empty: Empty = "mean",
    classes: Sequence[int] | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return `bce_loss` + dice_weight * `dice_loss`. It is computed in float32, or in float64 for float64 logits.

    Empty masks: the cross-entropy reaches each of their pixels. `empty` decides what the Dice loss adds, see
    `dice_loss`.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or, multilabel, (N, C, H, W); any floating dtype.
        target: mask of 0 and 1 in the shape of the logits; a single channel may be left out.
        dice_weight: factor of the Dice loss, a finite number.
        smooth: smoothing of the Dice loss, in pixels.
        per_image: whether the Dice loss is computed for each image; otherwise once for the batch.
        empty: treatment of empty masks in the Dice loss. A mask left out by "skip" still counts in the cross-entropy.
        classes: channels that count, a list such as [1, 2]; None for all. The others get no gradient.
        ignore_index: target value of pixels that are left out.
        reduction: "none" gives (M,) for masks and (M, C) for several channels, of which C count: the mean cross-entropy
            over an image's valid pixels plus its Dice loss, where M is N, or 1 if not `per_image`. "sum" adds these.
            "mean" is the cross-entropy's mean over valid pixels plus the Dice loss's mean over images.

    Returns:
        A scalar, (M,) or (M, C). A batch in which nothing counts gives 0 with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, or the target has a dtype that cannot hold a mask.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if the target leaves 0 to 1.

    Example:
        >>> logits, target = torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)
        >>> round(bce_dice_loss(logits, target, smooth=0).item(), 4)  # log 2 + 1/3
        1.0265
    """
    _check_options(dice_weight, smooth, per_image, empty, classes, ignore_index, reduction)
    inputs = mask_inputs(logits, target, ignore_index=ignore_index)
    images: Reduction = "mean" if reduction == "mean" else "none"
    dice = overlap_of(
        inputs.as_channels(),
        DICE,
        smooth=smooth,
        per_image=per_image,
        empty=empty,
        classes=classes,
        reduction=images,
    )  # scalar, M or M C
    inputs = _chosen(inputs, classes)
    if reduction == "mean":
        return bce_of(inputs, reduction="mean") + dice_weight * dice
    pixels = bce_of(inputs, reduction="none")  # N H W or N C H W
    valid = torch.ones_like(pixels, dtype=torch.bool) if inputs.valid is None else inputs.valid
    counts = by_image(valid, per_image=per_image).sum(-1).clamp(min=1)  # M or M C
    losses = by_image(pixels, per_image=per_image).sum(-1) / counts + dice_weight * dice
    return losses if reduction == "none" else losses.sum()


def _chosen(inputs: MaskInputs, classes: Sequence[int] | None) -> MaskInputs:
    """Return the inputs of some channels, or of all."""
    logits, target, valid = inputs
    if logits.ndim == 3 or classes is None:
        return inputs
    return MaskInputs(
        chosen(logits, classes), chosen(target, classes), None if valid is None else chosen(valid, classes)
    )


def _check_options(
    dice_weight: float,
    smooth: float,
    per_image: bool,
    empty: Empty,
    classes: Sequence[int] | None,
    ignore_index: int | None,
    reduction: Reduction,
) -> None:
    check_overlap_options(
        smooth=smooth,
        log=False,
        per_image=per_image,
        empty=empty,
        classes=classes,
        weight=None,
        ignore_index=ignore_index,
        reduction=reduction,
    )
    check_finite(dice_weight=dice_weight)


class BCEDiceLoss(nn.Module):
    """`bce_dice_loss` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(
        self,
        *,
        dice_weight: float = 1.0,
        smooth: float = 1.0,
        per_image: bool = True,
        empty: Empty = "mean",
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        _check_options(dice_weight, smooth, per_image, empty, classes, ignore_index, reduction)
        self.dice_weight = dice_weight
        self.smooth = smooth
        self.per_image = per_image
        self.empty: Empty = empty
        self.classes = classes
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `bce_dice_loss` with the module's options."""
        return bce_dice_loss(
            logits,
            target,
            dice_weight=self.dice_weight,
            smooth=self.smooth,
            per_image=self.per_image,
            empty=self.empty,
            classes=self.classes,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
