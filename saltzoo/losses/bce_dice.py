"""Binary cross-entropy and Dice in one: pixels and overlap."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .._checks import check_choice, check_finite
from ._inputs import mask_inputs
from ._module import LossModule
from ._overlap import Empty
from ._reduce import REDUCTIONS, Reduction, by_image
from .bce import bce_loss
from .dice import dice_loss


def bce_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 1.0,
    smooth: float = 1.0,
    per_image: bool = True,
    empty: Empty = "mean",
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """`bce_loss` + dice_weight * `dice_loss`, in float32 (float64 stays).

    Empty masks: the cross-entropy reaches each of their pixels; what Dice adds is told by `empty`, see `dice_loss`.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or, multilabel, (N, C, H, W); any floating dtype.
        target: a mask of 0 and 1 in the shape of the logits, where one channel may be left out.
        dice_weight: of the Dice loss; a finite number.
        smooth: of the Dice loss.
        per_image: of the Dice loss.
        empty: of the Dice loss; what "skip" leaves out still counts in the cross-entropy.
        ignore_index: pixels of this target value are left out.
        reduction: "none": (M,) of masks, (M, C) of several channels: the mean cross-entropy of an image's valid pixels
            and its Dice loss, where M is N, or 1 if not `per_image`; "sum" of these; or "mean", the cross-entropy over
            valid pixels and the Dice loss over images.

    Returns:
        A scalar, (M,) or (M, C). A batch in which nothing counts gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or the target is of no dtype that holds a mask.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a target beyond 0 to 1.

    Example:
        >>> logits, target = torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)
        >>> round(bce_dice_loss(logits, target, smooth=0).item(), 4)  # log 2 + 1/3
        1.0265
    """
    check_choice("reduction", reduction, REDUCTIONS)
    check_finite(dice_weight=dice_weight)
    dice = partial(
        dice_loss, logits, target, smooth=smooth, per_image=per_image, empty=empty, ignore_index=ignore_index
    )
    if reduction == "mean":
        return bce_loss(logits, target, ignore_index=ignore_index) + dice_weight * dice()
    pixels = bce_loss(logits, target, ignore_index=ignore_index, reduction="none")  # N H W or N C H W
    valid = mask_inputs(logits, target, ignore_index=ignore_index).valid
    valid = torch.ones_like(pixels, dtype=torch.bool) if valid is None else valid
    counts = by_image(valid, per_image=per_image).sum(-1).clamp(min=1)  # M, or M C
    losses = by_image(pixels, per_image=per_image).sum(-1) / counts + dice_weight * dice(reduction="none")
    return losses if reduction == "none" else losses.sum()


class BCEDiceLoss(LossModule, function=bce_dice_loss):
    """`bce_dice_loss` as a module; its options are those of the function."""
