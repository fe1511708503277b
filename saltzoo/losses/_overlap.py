"""What Dice, Jaccard and Tversky losses share: soft overlap of probabilities and masks, and what empty masks give."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._checks import check_choice, check_finite
from ._inputs import any_inputs
from ._reduce import REDUCTIONS, Reduction, by_image, reduce_images

Empty = Literal["mean", "smooth", "skip"]
EMPTY = ("mean", "smooth", "skip")


class Factors(NamedTuple):
    """How much pixels count in an overlap: right / (right + wrong)."""

    hit: float
    false_positive: float
    false_negative: float


def overlap_loss(
    logits: Tensor,
    target: Tensor,
    factors: Factors,
    *,
    smooth: float,
    log: bool,
    per_image: bool,
    empty: Empty,
    ignore_index: int | None,
    reduction: Reduction,
) -> Tensor:
    """1 - right / (right + wrong), or -log(right / (right + wrong)), of each image and class.

    With intersection I, predicted area P and true area T: right = hit I + smooth, wrong = false_positive (P - I) +
    false_negative (T - I). Of an empty mask with "mean", right = V - P + smooth and wrong = P, where V is the number
    of valid pixels.

    Raises:
        TypeError: logits or target are of the wrong dtype.
        ValueError: an option or a shape does not fit.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    check_choice("empty", empty, EMPTY)
    check_finite(smooth=smooth, false_positive=factors.false_positive, false_negative=factors.false_negative)
    if smooth < 0:
        raise ValueError(f"smooth must be 0 or more, got {smooth}")
    if smooth == 0 and (log or empty == "smooth"):
        what = "log=True" if log else "empty='smooth'"
        raise ValueError(f"{what} needs smooth above 0, got 0: without it a mask that is missed, or empty, gives 0/0")
    inputs = any_inputs(logits, target, ignore_index=ignore_index)
    shares, masks = by_image(inputs.shares(), per_image=per_image), by_image(inputs.masks, per_image=per_image)  # M K P

    intersection, predicted, true = (shares * masks).sum(-1), shares.sum(-1), masks.sum(-1)  # M K
    right = factors.hit * intersection + smooth
    wrong = factors.false_positive * (predicted - intersection) + factors.false_negative * (true - intersection)
    counted = None
    pixels: Tensor | int = shares.shape[-1]
    if inputs.valid is not None:
        pixels = by_image(inputs.valid, per_image=per_image).sum(-1).expand(true.shape)
        counted = pixels > 0
    none = true == 0
    if empty == "mean":
        right = torch.where(none, (pixels - predicted).clamp(min=0) + smooth, right)
        wrong = torch.where(none, predicted, wrong)
    elif empty == "skip":
        counted = ~none
    # Where right and wrong are both 0 there is nothing to lose; 0/0 would be NaN.
    loss = torch.log1p(wrong / right) if log else wrong / (right + wrong).clamp(min=torch.finfo(right.dtype).tiny)
    if counted is not None:
        loss = loss.masked_fill(~counted, 0)
    if loss.shape[1] == 1:
        loss, counted = loss[:, 0], None if counted is None else counted[:, 0]
    return reduce_images(loss, counted, reduction)
