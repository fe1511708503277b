"""Soft overlap of probabilities and masks, on which the Dice, Jaccard and Tversky losses rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from .._checks import check_choice, check_class_subset, check_finite, check_flags
from ._classes import by_class, check_weight, chosen
from ._inputs import AnyInputs, any_inputs
from ._options import Reduction, check_common
from ._reduce import by_image, reduce_images

Empty = Literal["mean", "smooth", "skip"]
EMPTY = get_args(Empty)


class Factors(NamedTuple):
    """Weights of pixels in an overlap right / (right + wrong)."""

    hit: float
    false_positive: float
    false_negative: float


DICE = Factors(hit=2, false_positive=1, false_negative=1)
JACCARD = Factors(hit=1, false_positive=1, false_negative=1)


def check_overlap_options(
    *,
    smooth: float,
    log: bool,
    per_image: bool,
    empty: Empty,
    classes: Sequence[int] | None,
    weight: Sequence[float] | None,
    ignore_index: int | None,
    reduction: Reduction,
) -> None:
    """Raise if an option of an overlap loss is unknown or out of its limits.

    Raises:
        TypeError: if an option has another type.
        ValueError: if an option does not fit.
    """
    check_flags(log=log, per_image=per_image)
    check_common(ignore_index, reduction)
    check_choice("empty", empty, EMPTY)
    check_finite(smooth=smooth)
    if smooth < 0:
        raise ValueError(f"smooth must be 0 or more, got {smooth}")
    if smooth == 0 and (log or empty == "smooth"):
        what = "log=True" if log else "empty='smooth'"
        raise ValueError(f"{what} needs smooth above 0, got 0: without it a missed or an empty mask gives 0/0")
    check_class_subset(classes)
    check_weight(weight)


def overlap_loss(
    logits: Tensor,
    target: Tensor,
    factors: Factors,
    *,
    smooth: float,
    log: bool,
    per_image: bool,
    empty: Empty,
    classes: Sequence[int] | None,
    weight: Sequence[float] | None,
    ignore_index: int | None,
    reduction: Reduction,
) -> Tensor:
    """Return the loss of an overlap, with the options and the errors of `dice_loss`."""
    check_overlap_options(
        smooth=smooth,
        log=log,
        per_image=per_image,
        empty=empty,
        classes=classes,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
    )
    return overlap_of(
        any_inputs(logits, target, ignore_index=ignore_index),
        factors,
        smooth=smooth,
        log=log,
        per_image=per_image,
        empty=empty,
        classes=classes,
        weight=weight,
        reduction=reduction,
    )


def overlap_of(
    inputs: AnyInputs,
    factors: Factors,
    *,
    smooth: float,
    log: bool = False,
    per_image: bool,
    empty: Empty,
    classes: Sequence[int] | None = None,
    weight: Sequence[float] | None = None,
    reduction: Reduction,
) -> Tensor:
    """Return 1 - right / (right + wrong), or -log(right / (right + wrong)), for each image and class.

    With intersection I, predicted area P and true area T: right = hit I + smooth, wrong = false_positive (P - I) +
    false_negative (T - I). For an empty mask and "mean", right = V - P + smooth and wrong = P, where V is the number
    of valid pixels.

    Args:
        inputs: logits and masks that are checked already.
        factors: weights of hits, false positives and false negatives.
        smooth: number of pixels added to the numerator and the denominator.
        log: whether to return the negative logarithm.
        per_image: whether each image has its own overlap; otherwise the batch has one.
        empty: treatment of empty masks.
        classes: channels that count, or None for all.
        weight: factor of each channel that counts, or None.
        reduction: "mean", "sum" or "none".
    """
    # M K P
    probabilities = by_image(chosen(inputs.probabilities(), classes), per_image=per_image)
    masks = by_image(chosen(inputs.masks, classes), per_image=per_image)
    # M K
    intersection, predicted, true = (probabilities * masks).sum(-1), probabilities.sum(-1), masks.sum(-1)
    right = factors.hit * intersection + smooth
    wrong = factors.false_positive * (predicted - intersection) + factors.false_negative * (true - intersection)
    counted = None
    pixels: Tensor | int = probabilities.shape[-1]
    if inputs.valid is not None:
        valid = inputs.valid if inputs.exclusive else chosen(inputs.valid, classes)
        pixels = by_image(valid, per_image=per_image).sum(-1).expand(true.shape)
        counted = pixels > 0
    is_empty = true == 0
    if empty == "mean":
        right = torch.where(is_empty, (pixels - predicted).clamp(min=0) + smooth, right)
        wrong = torch.where(is_empty, predicted, wrong)
    elif empty == "skip":
        counted = ~is_empty | predicted.isnan()  # NaN marks a wrong target, and an image of such must not be skipped
    # If right and wrong are both 0 the loss is 0; the clamp avoids 0/0.
    loss = torch.log1p(wrong / right) if log else wrong / (right + wrong).clamp(min=torch.finfo(right.dtype).tiny)
    if counted is not None:
        loss = loss.masked_fill(~counted, 0)
    factor = None if weight is None else by_class("weight", weight, loss.shape[1], loss)
    losses = reduce_images(loss, counted, reduction, weight=factor)
    return losses[:, 0] if reduction == "none" and inputs.logits.shape[1] == 1 else losses
